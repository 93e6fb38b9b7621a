"""What machines see of a run: its log and its metrics."""
