"""File descriptors: as many as the system lets a process have, and how many calls they are for."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

# More than any run needs; some systems refuse to go beyond.
_ENOUGH = 8192
# What is opened later, for a moment each: side files, a metrics file, what a host name is asked of.
_SPARE = 10
# Where the system does not tell what is open: streams, OUTPUT, ledger, logs, the event loop's own.
_OPEN = 20
# What a call takes: its connection, and a copy that tells what became of a request on it.
_A_CALL = 2
# What the system's own look-up takes: its configuration, and its sockets to a few servers.
_A_NAME = 4


def raise_limit() -> int:
    """Let this process have as many descriptors as it may; gives how many calls they bear."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    left = (_ENOUGH if soft == resource.RLIM_INFINITY else soft) - _opened() - _SPARE
    return max(1, left // _A_CALL)


def _opened() -> int:
    """How many are open now."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return _OPEN


def has_none_for_a_name() -> bool:
    """Whether there are not descriptors enough to look a host name up with."""
    taken: list[int] = []
    try:
        taken.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_A_NAME))
    except OSError:
        return True
    finally:
        for fd in taken:
            os.close(fd)
    return False


def few_descriptors(calls: int) -> str:
    """What is said where calls at once are fewer for want of descriptors."""
    return f"this process may have few open files (ulimit -n): at most {calls} calls at once"
