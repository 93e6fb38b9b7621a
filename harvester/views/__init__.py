"""What people and programs see of a run and of a ledger; all of it only reads."""
