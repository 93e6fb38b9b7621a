"""The door to the files that must outlive a crash."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ZEROS = bytes(1 << 20)
_BUFFER = 1 << 20


class Disk:
    """What is done to OUTPUT and its spool, one system call a method; all raise OSError.

    macOS lacks some of the calls that Linux has; what stands in for them there does the same.
    """

    def write(self, fd: int, data: memoryview) -> int:
        """Write at the file's place, or its end if opened to append; gives how many bytes."""
        return os.write(fd, data)

    def write_all(self, fd: int, data: memoryview) -> None:
        """Write until all is written."""
        while data:
            data = data[self.write(fd, data) :]

    def truncate(self, fd: int, length: int) -> None:
        """Cut a file, or lengthen it with zeros, to a length in bytes."""
        os.ftruncate(fd, length)

    def free(self, folder: Path) -> int:
        """How many bytes there are free for us on the disk of a folder."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def allocate(self, fd: int, length: int) -> None:
        """Make a file so long, its room on the disk taken; what it held may be zeros then."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, length)
            return
        done = 0
        while done < length:
            done += os.pwrite(fd, _ZEROS[: length - done], done)

    def sync(self, fd: int, *, is_full: bool = False) -> None:
        """Make what a file holds durable; `is_full` also empties the cache of a macOS drive."""
        if is_full and hasattr(fcntl, "F_FULLFSYNC"):
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def replacing(self, path: Path, mode: int) -> AbstractContextManager[BinaryIO]:
        """A new file that takes a path's place: see `replacing`."""
        return replacing(path, mode)


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A new file that takes a path's place whole at the end, or not at all.

    It is its owner's alone, if `mode` says nothing else. Raises OSError.
    """
    # With the name itself in it, it could be too long for a name.
    known = f".{zlib.crc32(os.fsencode(path.name)):08x}-"
    fresh = path.with_name(f"{known}{os.urandom(8).hex()}.tmp")

    def make(name: str, _flags: int) -> int:
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    try:
        with open(fresh, "wb", _BUFFER, opener=make) as file:
            # Held until it is in place, so that a copy which nobody holds is a crash's. A file
            # system without locks keeps them.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
                _remove_left(path.parent, known)
            yield file
            file.flush()
            os.fsync(file.fileno())
            fresh.replace(path)
        _sync_folder(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _remove_left(folder: Path, known: str) -> None:
    """Remove what a crash left of earlier copies: they may hold what is to be erased."""
    for left in folder.glob(f"{known}*.tmp"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a new name durable, not only the bytes it names."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_id(place: str | os.PathLike[str] | int) -> tuple[int, int] | None:
    """What tells the file at a path, or an open one, from all others; None where there is none."""
    try:
        found = os.stat(place)  # noqa: PTH116 - of a descriptor, too
    except OSError:
        return None
    return found.st_dev, found.st_ino


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return os.strerror(error.errno) if error.errno else str(error)


def boot_id() -> str:
    """Which start of the system this is; empty where it does not say.

    What was written before another start may have been lost with the power, unless synced.
    """
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
