"""File descriptors: as many as the system lets a process have, and how many calls they are for."""

from __future__ import annotations

import resource
from contextlib import suppress

# More than any run needs; some systems refuse to go beyond.
_ENOUGH = 8192
# What is open beside connections: OUTPUT, ledger, logs, streams, the event loop's own.
_OTHERS = 40


def raise_limit() -> int:
    """Let this process have as many descriptors as it may; gives how many connections they bear."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(1, (_ENOUGH if soft == resource.RLIM_INFINITY else soft) - _OTHERS)


def few_descriptors(calls: int) -> str:
    """What is said where calls at once are fewer for want of descriptors."""
    return f"this process may have few open files (ulimit -n): at most {calls} calls at once"
