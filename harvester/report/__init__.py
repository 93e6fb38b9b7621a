"""A page that shows what a ledger holds, self-contained, for the person who would rather look."""
