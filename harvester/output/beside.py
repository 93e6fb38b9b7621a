"""The files that a run puts beside OUTPUT: made for their owner alone, through no planted link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harvester.disk import Disk, file_id
from harvester.sides import Side

# What may stand behind the last line: the NUL bytes of a power cut, the ^Z of DOS.
PADDING = b"\0\x1a"
_COPY = 1 << 20


def open_beside(path: str | os.PathLike[str], flags: int) -> int:
    """Open a side file of ours, made if need be; raises OSError.

    Also for a link in its place, or a pipe that nobody reads.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def append_beside(path: Path, disk: Disk, data: bytes) -> None:
    """Append to a side file of ours, all or nothing; raises OSError."""
    with open(path, "ab", 0, opener=open_beside) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        try:
            disk.write_all(fd, memoryview(data))
        except OSError:
            with suppress(OSError):
                disk.truncate(fd, size)
            raise


def keep_cut(output: Path, disk: Disk, piece: bytes) -> None:
    """Keep what is cut off OUTPUT, but for NUL bytes and the padding at its end; raises OSError."""
    text = piece.rstrip(PADDING).replace(b"\0", b"")
    if text:
        append_beside(Side.CUT.of(output), disk, text.rstrip(b"\n") + b"\n")


def moved_to(fd: int) -> Path | None:
    """Where an open file is now that it has another name, where the system tells."""
    try:
        path = Path(f"/proc/self/fd/{fd}").readlink()
    except OSError:
        return None
    return path if file_id(path) == file_id(fd) else None


def leave_link(output: Path, place: Path | None) -> bool:
    """Have a link lead from OUTPUT's name to where it was moved; gives whether there is one.

    Whoever names it as before goes on with what is there, instead of paying for it again.
    """
    try:
        if place is not None:
            output.symlink_to(place)
    except OSError:
        return False
    return place is not None


def keep_whole(fd: int, length: int, output: Path) -> int:
    """Copy an open file that has no name any more beside OUTPUT; gives the copy, open to append.

    Its folder may have gone with it. Raises OSError; never writes over a copy that is there.
    """
    path = Side.KEPT.of(output)
    path.parent.mkdir(parents=True, exist_ok=True)
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


def kept_lines(output: Path) -> Iterator[bytes]:
    """The lines that a run kept when OUTPUT was removed or replaced under it."""
    try:
        file = Side.KEPT.of(output).open("rb")
    except OSError:
        return
    with file:
        yield from file
