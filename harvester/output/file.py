"""OUTPUT as an open file: locked for one run, appended to, measured, cut."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from harvester.disk import Disk
from harvester.errors import LocalIOError, OutputLockedError, UsageError
from harvester.ledger.protocol import Extent

_TAIL = 64
_CHUNK = 1 << 20


class OutputFile:
    """OUTPUT, held for this run alone.

    The lock is on the file itself: it needs no file of its own, and ends with the process however
    that ends. Raises OutputLockedError, LocalIOError, or UsageError for what is no regular file.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        if path.exists() and not path.is_file():
            raise UsageError(f"--output {path} is not a regular file: name a file to append to.")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _failed(path, error) from error
        self._lock()
        self.length = os.fstat(self._fd).st_size

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise OutputLockedError(
                f"another run holds {self.path}: wait for it to end, or choose another --output."
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise _failed(self.path, error) from error

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Append whole lines and hand them to the system; gives where each ends.

        All or nothing: on an error OUTPUT is cut back to what it was, and LocalIOError raised.
        """
        data = memoryview(b"".join(lines))
        written = 0
        try:
            while written < len(data):
                written += self._disk.write(self._fd, data[written:])
        except OSError as error:
            self._cut_quietly()
            raise _failed(self.path, error) from error
        ends = list(accumulate(map(len, lines), initial=self.length))[1:]
        self.length += len(data)
        return ends

    def _cut_quietly(self) -> None:
        """Take a half-written group back; if even that fails, the next run cuts the torn line."""
        try:
            self._disk.truncate(self._fd, self.length)
        except OSError:
            return

    def extent(self, last_line: bytes = b"") -> Extent:
        """The length of OUTPUT and its last bytes; `last_line` saves reading them back."""
        if len(last_line) >= _TAIL:
            return Extent(self.length, last_line[-_TAIL:])
        return self.extent_at(self.length)

    def extent_at(self, length: int) -> Extent:
        """OUTPUT up to a place, and the bytes before it."""
        start = max(0, length - _TAIL)
        return Extent(length, os.pread(self._fd, length - start, start))

    def holds(self, extent: Extent) -> bool:
        """Whether OUTPUT still has the bytes that an extent ends with, where it ends."""
        start = extent.length - len(extent.tail)
        return os.pread(self._fd, len(extent.tail), start) == extent.tail

    def cut(self, length: int) -> None:
        """Cut OUTPUT to a length in bytes."""
        try:
            self._disk.truncate(self._fd, length)
        except OSError as error:
            raise _failed(self.path, error) from error
        self.length = length

    def sync(self) -> int:
        """Make OUTPUT durable; gives the length that now is."""
        length = self.length
        try:
            self._disk.sync(self._fd)
        except OSError as error:
            raise _failed(self.path, error) from error
        return length

    def pieces(self, start: int) -> Iterator[tuple[bytes, int]]:
        """Lines from a place on, each with where it ends; the last may lack its newline."""
        rest = b""
        place = start
        while chunk := os.pread(self._fd, _CHUNK, start):
            start += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                place += len(line) + 1
                yield line + b"\n", place
        if rest:
            yield rest, place + len(rest)

    def close(self) -> None:
        """Let go of OUTPUT and its lock."""
        os.close(self._fd)


def _failed(path: Path, error: OSError) -> LocalIOError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = {
        errno.ENOSPC: "make room on the disk",
        errno.EDQUOT: "make room in your disk quota",
        errno.EFBIG: "raise the file size limit (ulimit -f)",
        errno.EACCES: "check the permissions of the file and its folder",
        errno.EROFS: "choose an --output on a writable disk",
        errno.ENOENT: "create its folder",
    }.get(error.errno or 0, "check the disk")
    return LocalIOError(f"cannot write {path}: {reason}. What to do: {advice}, then run again.")
