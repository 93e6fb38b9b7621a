"""Whether all is in place for a night: each check by itself, with the way out of what is not."""
