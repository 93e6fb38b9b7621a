"""Tells whether a run holds OUTPUT, without touching its lock: a look must not keep a run out."""

from __future__ import annotations

from pathlib import Path

_LOCKS = Path("/proc/locks")


def is_held(output: Path, locks: Path = _LOCKS) -> bool | None:
    """Whether a process holds the lock on OUTPUT; None where the system does not tell.

    `locks` is Linux's list of the locks of all processes. It may leave out those of other
    containers, so False is no proof there.
    """
    try:
        inode = str(output.stat().st_ino)
        listed = locks.read_text("ascii", errors="replace")
    except OSError:
        return None
    return any(_is_exclusive_on(line.split(), inode) for line in listed.splitlines())


def _is_exclusive_on(words: list[str], inode: str) -> bool:
    """Read such as `1: FLOCK  ADVISORY  WRITE 1234 fd:01:131 0 EOF`.

    The device is not compared: layered file systems show another one here.
    """
    match words:
        case [_, "FLOCK", _, "WRITE", _, place, *_]:
            return place.rpartition(":")[2] == inode
    return False
