"""What a ledger holds, as data that is shown elsewhere."""
