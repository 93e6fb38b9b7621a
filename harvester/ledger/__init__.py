"""The ledger: what is known of every job; the protocol, and its embedded SQLite backend."""
