"""Room kept free beside OUTPUT, so that paid answers can be saved when the disk is full."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harvester.disk import Disk

# A thousand answers of 3 KB are in flight at most; large ones have to hope for room.
_SIZE = 4 << 20
# Never more than this part of what is free.
_PART = 16


class Reserve:
    """A file whose blocks are taken beforehand; all it does is done as well as can be."""

    def __init__(self, output: Path, disk: Disk) -> None:
        self.path = output.with_name(output.name + ".ledger-reserve")
        self._disk = disk

    def prepare(self) -> None:
        """Take the room; a disk without any is met soon enough."""
        try:
            free = os.statvfs(self.path.parent)
            size = min(_SIZE, free.f_bavail * free.f_frsize // _PART)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            self._disk.allocate(fd, size)
        except OSError:
            return
        finally:
            os.close(fd)

    def save(self, lines: Sequence[bytes]) -> bool:
        """Write lines into the room taken; gives whether all are there."""
        data = b"".join(lines)
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            written = 0
            while written < len(data):
                written += self._disk.write(fd, memoryview(data)[written:])
            self._disk.truncate(fd, len(data))
            self._disk.sync(fd)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def saved(self) -> bytes:
        """What was saved here and waits to be put into OUTPUT: whole lines, or nothing."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return b""
        return data[: data.rfind(b"\n") + 1]

    def remove(self) -> None:
        """Give the room back."""
        self._disk.remove(self.path)
