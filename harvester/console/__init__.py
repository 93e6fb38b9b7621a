"""What a person sees in a terminal: progress, summaries, the status, what failed."""
