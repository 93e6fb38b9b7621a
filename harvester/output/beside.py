"""The files that a run puts beside OUTPUT: made for their owner alone, through no planted link."""

from __future__ import annotations

import os
from pathlib import Path

from harvester.disk import Disk

# What may stand behind the last line: the NUL bytes of a power cut, the ^Z of DOS.
PADDING = b"\0\x1a"
_COPY = 1 << 20
_SUFFIXES = (".ledger-reserve", ".kept", ".cut")


def reserve_path(output: Path) -> Path:
    """Where the room is that is kept free for answers that OUTPUT does not take."""
    return output.with_name(output.name + _SUFFIXES[0])


def kept_path(output: Path) -> Path:
    """Where a run keeps its OUTPUT if that was removed or replaced under it."""
    return output.with_name(output.name + _SUFFIXES[1])


def cut_path(output: Path) -> Path:
    """Where what was cut off OUTPUT is kept."""
    return output.with_name(output.name + _SUFFIXES[2])


def open_beside(path: Path, flags: int) -> int:
    """Open a side file of ours, made if need be; raises OSError, also for a link in its place."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


class Cuttings:
    """What was cut off OUTPUT, one piece after another."""

    def __init__(self, output: Path) -> None:
        self._path = cut_path(output)

    def keep(self, disk: Disk, piece: bytes) -> None:
        """Append a piece, its NUL bytes and the padding at its end left out; raises OSError."""
        text = piece.rstrip(PADDING).replace(b"\0", b"")
        if not text:
            return
        fd = open_beside(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            data = memoryview(text.rstrip(b"\n") + b"\n")
            while data:
                data = data[disk.write(fd, data) :]
        finally:
            os.close(fd)


def moved_to(fd: int) -> Path | None:
    """Where an open file is now that it has another name, where the system tells."""
    try:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        found, held = path.stat(), os.fstat(fd)
    except OSError:
        return None
    return path if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) else None


def keep_whole(fd: int, length: int, output: Path) -> int:
    """Copy an open file that has no name any more beside OUTPUT; gives the copy, open to append.

    Raises OSError; never writes over a copy that is there.
    """
    path = kept_path(output)
    copy = open_beside(path, os.O_RDWR | os.O_APPEND | os.O_EXCL)
    try:
        done = 0
        while done < length and (chunk := os.pread(fd, min(_COPY, length - done), done)):
            done += os.write(copy, chunk)
        os.fsync(copy)
    except BaseException:
        os.close(copy)
        path.unlink(missing_ok=True)
        raise
    return copy
