"""Room kept free beside OUTPUT, so that paid answers can be saved when OUTPUT takes none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from harvester.disk import Disk
from harvester.output.beside import append_beside, open_beside
from harvester.output.unread import is_unread
from harvester.results import writing
from harvester.sides import Side

# Never more than this part of what is free.
_PART = 4
# How long a line is taken to be, in bytes: at least; where none tells; and where none tells and the
# disk is short, since the first calls are sent before their answers tell.
_LEAST, _LINE, _LONG_LINE = 4 << 10, 16 << 10, 128 << 10
# What a line is taken to be counts as so many lines; of those seen, so many last ones count.
_TAKEN, _REMEMBERED = 8, 64


class EmergencySpool:
    """A file whose blocks are taken beforehand; all it does is done as well as can be."""

    def __init__(self, output: Path, disk: Disk) -> None:
        self.path = Side.SPOOL.of(output)
        self._output = output
        self._disk = disk
        self._fd: int | None = None
        self._used = 0
        self._room = 0
        self._wanted = 0
        self._line = _LINE
        self._longest = 0
        self._is_short = False
        self._seen = _TAKEN

    @property
    def calls(self) -> int:
        """How many calls may be in flight, if all their answers are to find room here.

        Where the disk is short, each may be as long as any that was seen. At least one, or nothing
        could ever be fetched; none where there is no room for that.
        """
        longest = self._longest if self._is_short else 0
        if self._room < longest:
            return 0
        return max(1, self._room // max(longest, 2 * self._line))

    def prepare(self, calls: int, average: int = 0, longest: int = 0) -> str:
        """Take room for the answers of so many calls, whose lines are so long on average, or most.

        Gives what to say where none could be taken, else nothing.
        """
        self._wanted = calls
        self._longest = longest
        self._line = max(_LEAST, average) if average else _LINE
        try:
            self._take(calls * 2 * self._line + longest)
        except OSError as error:
            return f"no room could be kept free beside OUTPUT ({error.strerror})"
        finally:
            if not average and self.calls < calls:
                self._line = _LONG_LINE
        return ""

    def see(self, lines: Sequence[bytes]) -> None:
        """Learn from lines that came how long they are; longer ones need more room."""
        for line in lines:
            self._seen = min(self._seen + 1, _REMEMBERED)
            self._line = max(_LEAST, self._line + (len(line) - self._line) // self._seen)
            self._longest = max(self._longest, len(line))
        if self.calls < self._wanted and not self._used:
            # Somewhat more, so that not every line asks for its own.
            with suppress(OSError):
                self._take(self._wanted * 2 * self._line * 5 // 4 + self._longest)

    def _take(self, size: int) -> None:
        """Take room up to a size in bytes, as far as the disk has it."""
        room = min(size, (self._disk.free(self.path.parent) + self._room) // _PART)
        self._is_short = room < size
        if self._room and room <= self._room:
            return
        self._disk.allocate(self._opened(), room)
        self._room = room

    def _opened(self) -> int:
        """The file itself, which stays beside OUTPUT though their folder is moved."""
        if self._fd is None or not os.fstat(self._fd).st_nlink:
            self._let_go()
            self._fd = open_beside(self.path, os.O_RDWR)
            self._used = sum(map(len, self._lines()))
        return self._fd

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def save(self, lines: Sequence[bytes]) -> bool:
        """Write lines behind those saved before, into the room taken; gives whether all are there.

        Zeros stand behind them, so what a kill breaks off is known by its missing newline.
        """
        data = memoryview(b"".join(lines))
        try:
            fd = self._opened()
            os.lseek(fd, self._used, os.SEEK_SET)
            self._disk.write_all(fd, data)
            self._disk.sync(fd)
        except OSError:
            return False
        self._used += len(data)
        return True

    @property
    def is_used(self) -> bool:
        """Whether lines were saved here that wait to be put where they belong."""
        return next(self._lines(), None) is not None

    def saved(self) -> Iterator[bytes]:
        """The whole lines that were saved here for OUTPUT."""
        return (line for line in self._lines() if not is_unread(line))

    def _lines(self) -> Iterator[bytes]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        with open(fd, "rb") as file:  # noqa: PTH123 - opened so that no link is followed
            while file.peek(1)[:1] not in (b"", b"\0") and (line := file.readline()).endswith(
                b"\n"
            ):
                yield line

    def return_unread(self) -> None:
        """Put the answers that could not be read where they belong; raises LocalIOError."""
        for line in filter(is_unread, self._lines()):
            self.keep_unread([line])

    def keep_unread(self, lines: Sequence[bytes]) -> None:
        """Keep answers that could not be read beside OUTPUT, all or none; raises LocalIOError."""
        path = Side.UNREAD.of(self._output)
        with writing(path):
            append_beside(path, self._disk, b"".join(lines))

    def close(self) -> None:
        """Give the room back, unless something waits in it."""
        if not self.is_used:
            self.remove()
        self._let_go()

    def remove(self) -> None:
        """Give the room back, as far as its folder allows it."""
        self._let_go()
        with suppress(OSError):
            self._disk.remove(self.path)
