"""The line itself: read, claim, pace, fetch, judge, write, commit, on one TaskGroup."""
