"""The embedded ledger on SQLite: one file beside OUTPUT, for one run at a time."""
