"""Room kept free beside OUTPUT, so that paid answers can be saved when OUTPUT takes none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harvester.disk import Disk
from harvester.output.beside import open_beside, reserve_path

# Never more than this part of what is free.
_PART = 4
_MIB = 1 << 20


class Reserve:
    """A file whose blocks are taken beforehand; all it does is done as well as can be."""

    def __init__(self, output: Path, disk: Disk) -> None:
        self.path = reserve_path(output)
        self._disk = disk
        self._used = 0

    def prepare(self, size: int) -> str:
        """Take room of a size in bytes; gives what to say if the disk has less, else nothing."""
        try:
            free = os.statvfs(self.path.parent)
            room = min(size, free.f_bavail * free.f_frsize // _PART)
            fd = open_beside(self.path, os.O_RDWR | os.O_TRUNC)
        except OSError as error:
            return f"no room could be kept free beside OUTPUT ({error.strerror})"
        try:
            self._disk.allocate(fd, room)
        except OSError as error:
            return f"no room could be kept free beside OUTPUT ({error.strerror})"
        finally:
            os.close(fd)
        if room == size:
            return ""
        return (
            f"the disk is nearly full: {room / _MIB:,.1f} MiB are kept free for answers in flight, "
            f"which may be {size / _MIB:,.1f} MiB; if it fills up, some could be lost: make room"
        )

    def save(self, lines: Sequence[bytes]) -> bool:
        """Write lines behind those saved before, into the room taken; gives whether all are there.

        Zeros stand behind them, so what a kill breaks off is known by its missing newline.
        """
        data = memoryview(b"".join(lines))
        try:
            fd = open_beside(self.path, os.O_RDWR)
        except OSError:
            return False
        try:
            os.lseek(fd, self._used, os.SEEK_SET)
            written = 0
            while written < len(data):
                written += self._disk.write(fd, data[written:])
            self._disk.sync(fd)
        except OSError:
            return False
        finally:
            os.close(fd)
        self._used += len(data)
        return True

    @property
    def is_used(self) -> bool:
        """Whether lines were saved here that wait to be put into OUTPUT."""
        return next(self.saved(), None) is not None

    def saved(self) -> Iterator[bytes]:
        """The whole lines that were saved here."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        with open(fd, "rb") as file:  # noqa: PTH123 - opened so that no link is followed
            while file.peek(1)[:1] not in (b"", b"\0") and (line := file.readline()).endswith(
                b"\n"
            ):
                yield line

    def remove(self) -> None:
        """Give the room back."""
        self._disk.remove(self.path)
