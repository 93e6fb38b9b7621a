"""Merges parts into one file: the newest line of each note, unchanged, in the parts' order."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from msgspec import Struct

from harvester.disk import replacing
from harvester.errors import LocalIOError, UsageError
from harvester.output.ending import LONGEST
from harvester.output.lines import head_endpoint, may_be_torn, read_head, read_line
from harvester.sanitize import sanitize
from harvester.sides import Side

_GZIP = b"\x1f\x8b"
_SHOWN = 60
_BUFFER = 1 << 20
_LINES_AT_ONCE = 10_000
# What lies beside an OUTPUT that runs go on with.
_COMPANIONS = (Side.LEDGER, Side.PART_MARKER)


class NewestLines(Protocol):
    """Where lines are put, numbered from 0, to be told which have a newer one of their note."""

    def add(self, lines: Iterable[tuple[str, int]]) -> None:
        """Add lines: the note id of each, and when it was fetched in Unix milliseconds."""

    def older(self) -> Iterator[int]:
        """The numbers of the lines whose note has a newer one, or a later one as new, in order."""


class Part(Struct, frozen=True):
    """A part as it was at the start: what is written to it later is not looked at."""

    path: Path
    device: int
    inode: int
    size: int
    is_gzip: bool


class Merged(Struct, frozen=True):
    """What came of it: `older` lines of the parts' `lines` were left out."""

    lines: int
    older: int

    @property
    def notes(self) -> int:
        """Notes, each with one line."""
        return self.lines - self.older


class _Kind(Struct, frozen=True):
    """What a line holds: answers of one endpoint, simulated or real; and the file it is in."""

    endpoint: str
    simulated: bool
    path: Path

    def __str__(self) -> str:
        kind = "simulated" if self.simulated else "real"
        return f"{kind} notes of {sanitize(self.endpoint)}"


def parts_of(paths: Sequence[Path]) -> list[Part]:
    """Look at the files to be merged; raises UsageError, LocalIOError."""
    parts: list[Part] = []
    for path in paths:
        part = _part_of(path)
        for other in parts:
            if (part.device, part.inode) == (other.device, other.inode):
                raise UsageError(f"{path} is named twice (also as {other.path}): name it once.")
        parts.append(part)
    return parts


def _part_of(path: Path) -> Part:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(
                f"{path} is not a regular file, and parts are read twice: save it as one first."
            )
        with path.open("rb") as file:
            is_gzip = file.read(len(_GZIP)) == _GZIP
    except FileNotFoundError as error:
        raise UsageError(f"there is no part {path}: name files that `run -o` wrote.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return Part(path, found.st_dev, found.st_ino, found.st_size, is_gzip)


def check_place(place: Path, parts: Sequence[Part]) -> None:
    """Raise UsageError unless the merged file may be written there: over an earlier one at most."""
    whole = place.resolve()
    for companion in _COMPANIONS:
        if companion.of(whole).exists():
            raise UsageError(
                f"{place} is an OUTPUT that runs go on with ({whole.name}{companion} is beside "
                "it): name another file with -o."
            )
    if not whole.parent.is_dir():
        raise UsageError(f"there is no folder {place.parent}: make it, or name another file.")
    if whole.exists():
        _check_replaceable(place, parts)


def _check_replaceable(place: Path, parts: Sequence[Part]) -> None:
    try:
        found = place.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(
                f"{place} is not a regular file: name another with -o, or -o - to write to "
                "standard output."
            )
        if any((part.device, part.inode) == (found.st_dev, found.st_ino) for part in parts):
            raise UsageError(
                f"{place} is one of the parts: name another file with -o, or leave it out of them."
            )
        with place.open("rb") as file:
            first = file.readline(LONGEST)
    except OSError as error:
        raise _unreadable(place, error) from error
    if first and read_head(first, 0) is None:
        raise UsageError(
            f"{place} is there and holds no notes: name another file with -o, or move that one "
            "away."
        )


@contextmanager
def merging_into(place: Path) -> Iterator[BinaryIO]:
    """A file that takes its place whole at the end, or not at all; raises LocalIOError."""
    try:
        with replacing(place.resolve()) as file:
            yield file
    except OSError as error:
        raise LocalIOError(
            f"{place} cannot be written ({_reason(error)}): make room, check the permissions of "
            "its folder, or name another file with -o."
        ) from error


class Merge:
    """Two passes over the parts: `read` finds the newest lines, `copy` writes them.

    Memory does not grow with the parts. Both raise UsageError for what is no line of ours, or of
    another kind than the rest; LocalIOError where reading fails or a part changed in between.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        newest: NewestLines,
        on_torn: Callable[[Path, int], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_torn` is told the part and the length in bytes of a last line left out as torn.

        `check` is asked at each line, and may raise to end the work.
        """
        self._parts = parts
        self._newest = newest
        self._on_torn = on_torn
        self._check = check
        self._kind: _Kind | None = None
        self._lines: list[int] = []

    def read(self) -> None:
        """Check all lines, and find each note's newest."""
        for part in self._parts:
            heads = self._heads(part)
            many = 0
            while batch := list(islice(heads, _LINES_AT_ONCE)):
                self._newest.add(batch)
                many += len(batch)
            self._lines.append(many)

    def _heads(self, part: Part) -> Iterator[tuple[str, int]]:
        for number, line in enumerate(_lines(part, self._on_torn), 1):
            self._check()
            head, kind = read_line(line), head_endpoint(line)
            if head is None or kind is None:
                raise _foreign(part, number, line)
            self._check_kind(_Kind(*kind, part.path), number)
            yield head.note_id, round(head.fetched_at * 1000)

    def _check_kind(self, kind: _Kind, number: int) -> None:
        first = self._kind = self._kind or kind
        if (kind.endpoint, kind.simulated) != (first.endpoint, first.simulated):
            raise UsageError(
                f"{kind.path}:{number} holds {kind}, but {first.path} holds {first}: they must not "
                "mix; merge them into files of their own."
            )

    def copy(self, target: BinaryIO) -> Merged:
        """Write the newest lines, as they are, in the order of the parts and their lines."""
        older = self._newest.older()
        skipped = next(older, None)
        number = left_out = 0
        for part, expected in zip(self._parts, self._lines, strict=True):
            begin = number
            for line in _lines(part):
                self._check()
                if number == skipped:
                    skipped = next(older, None)
                    left_out += 1
                else:
                    target.write(line)
                number += 1
            if number - begin != expected:
                raise _changed(part)
        return Merged(number, left_out)


def _lines(part: Part, on_torn: Callable[[Path, int], None] | None = None) -> Iterator[bytes]:
    """The whole lines that the part had at the start, newline and all."""
    left = sys.maxsize if part.is_gzip else part.size
    try:
        with _opened(part) as file:
            while line := file.readline(min(left, LONGEST)):
                left -= len(line)
                if line.endswith(b"\n") or len(line) >= LONGEST or not may_be_torn(line):
                    yield line
                elif on_torn is not None:
                    on_torn(part.path, len(line))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(
            f"{part.path} holds broken gzip data ({sanitize(str(error))}): fetch or pack it again."
        ) from error
    except OSError as error:
        raise _unreadable(part.path, error) from error
    if left > 0 and not part.is_gzip:
        raise _changed(part)


@contextmanager
def _opened(part: Part) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(part.path.open("rb", buffering=_BUFFER))
        found = os.fstat(file.fileno())
        if (found.st_dev, found.st_ino) != (part.device, part.inode):
            raise _changed(part)
        if part.is_gzip:
            file = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=file)))
        yield file


def _foreign(part: Part, number: int, line: bytes) -> UsageError:
    shown = sanitize(line[:_SHOWN].decode("utf-8", "replace").rstrip("\r\n"))
    return UsageError(
        f"{part.path}:{number} is not a good line of harvester's: {shown or '(empty)'}: is it a "
        "file that `run -o` wrote? `harvester verify` tells what is wrong with one and what mends "
        "it."
    )


def _changed(part: Part) -> LocalIOError:
    return LocalIOError(
        f"{part.path} was changed while it was being merged: leave the parts alone, but for runs "
        "that append to them, and try again."
    )


def _unreadable(path: Path, error: OSError) -> LocalIOError:
    return LocalIOError(
        f"cannot read {path}: {_reason(error)}: check the file and its permissions, then try again."
    )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
