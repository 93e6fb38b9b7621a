"""Merges parts into one file: the newest line of each note, unchanged, in the parts' order."""

from __future__ import annotations

import gzip
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from msgspec import Struct

from harvester.disk import file_id
from harvester.errors import LocalIOError, UsageError
from harvester.halt import Look, go_on
from harvester.ledger.protocol import Identity
from harvester.output.lines import lines_of, may_be_torn, read_head, read_line, shown, unreadable
from harvester.paths import check_no_output
from harvester.results import check_earlier, check_folder
from harvester.rules.envelope import is_json
from harvester.sanitize import sanitize

_NOTHING = b"\0 \t\r\n"
_GZIP = b"\x1f\x8b"
_BUFFER = 1 << 20
_LINES_AT_ONCE = 10_000


class NewestLines(Protocol):
    """Where lines are put, numbered from 0, to be told which have a newer one of their note."""

    def add(self, lines: Iterable[tuple[str, int, int]]) -> None:
        """Add lines: the note id of each, when it was fetched in Unix milliseconds, its place."""

    def older(self) -> Iterator[int]:
        """The numbers of the lines whose note has a newer one, or a later one as new, in order."""


class Part(Struct, frozen=True):
    """A part as it was at the start: what is written to it later is not looked at."""

    path: Path
    file: tuple[int, int] | None
    size: int
    is_gzip: bool

    def open(self, buffer: int = -1) -> BinaryIO:
        """The same file as at the start, to be read; raises LocalIOError."""
        try:
            file = self.path.open("rb", buffering=buffer)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if file_id(file.fileno()) != self.file:
            file.close()
            raise changed(self)
        return file


class Merged(Struct, frozen=True):
    """What came of it: `older` lines of the parts' `lines` were left out."""

    lines: int
    older: int

    @property
    def notes(self) -> int:
        """Notes, each with one line."""
        return self.lines - self.older


def parts_of(paths: Sequence[Path]) -> list[Part]:
    """Look at the files to be merged; raises UsageError, LocalIOError."""
    parts: dict[tuple[int, int] | None, Part] = {}
    for path in paths:
        part = _part_of(path)
        other = parts.setdefault(part.file, part)
        if other is not part:
            raise UsageError(f"{path} is named twice (also as {other.path}): name it once.")
    return list(parts.values())


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
        raise UsageError(f"there is no file {path}: name files that `run -o` wrote.") from error
    except OSError as error:
        raise unreadable(path, error) from error
    return Part(path, file_id(path), found.st_size, is_gzip)


def check_place(place: Path, parts: Sequence[Part]) -> None:
    """Raise UsageError unless the merged file may be written there: over an earlier one at most."""
    whole = place.resolve()
    check_no_output(place)
    check_folder(place)
    if whole.exists() and file_id(whole) in {part.file for part in parts}:
        raise UsageError(
            f"{place} is one of the parts: name another file with -o, or leave it out of them."
        )
    check_earlier(place, "file of notes", _holds_notes)


def _holds_notes(place: Path) -> bool:
    with place.open("rb") as file:
        first, _ = next(lines_of(file))
    return read_head(first) is not None


class Merge(Struct):
    """Two passes over the parts: `read` finds the newest lines, `copy` writes them.

    `on_torn` is told the part and the length in bytes of a last line left out as torn; `check` says
    of each line whether it is JSON, for whoever wants to see them all.

    Memory does not grow with the parts. Both raise UsageError for what is no line of ours, or of
    another kind than the rest; LocalIOError where reading fails or a part changed in between.
    """

    parts: Sequence[Part]
    index: NewestLines
    on_torn: Callable[[Path, int], None]
    look: Look = go_on
    check: Callable[[bytes], bool] = is_json
    kind: tuple[Identity, Path] | None = None
    lines: list[int] = []

    def read(self) -> None:
        """Check all lines, and find each note's newest."""
        before = 0
        for part in self.parts:
            heads = self._heads(part, before)
            many = 0
            while batch := list(islice(heads, _LINES_AT_ONCE)):
                self.index.add(batch)
                many += len(batch)
            self.lines.append(many)
            before += part.size

    def _heads(self, part: Part, before: int) -> Iterator[tuple[str, int, int]]:
        """What tells of each line; its place is where it begins, counted through all parts."""
        place = before
        for number, line in enumerate(self._lines_of(part, self.on_torn), 1):
            begin, place = place, place + len(line)
            if not _holds(line):
                continue
            head = read_head(line)
            if head is None or not self.check(line):
                raise UsageError(
                    f"{part.path}:{number} is not a good line of harvester's: "
                    f"{shown(line)}: is it a file that `run -o` wrote? `harvester "
                    "verify` tells what is wrong with one and what mends it."
                )
            first, path = self.kind = self.kind or (head.of, part.path)
            if head.of != first:
                raise UsageError(
                    f"{part.path}:{number} holds {head.of}, but {path} holds {first}: they must "
                    "not mix; take those of each kind by themselves."
                )
            yield head.note_id, round(head.fetched_at * 1000), begin

    def copy(self, target: BinaryIO) -> Merged:
        """Write the newest lines, as they are, in the order of the parts and their lines."""
        notes = 0
        for line in self.newest():
            target.write(line)
            notes += 1
        lines = sum(self.lines)
        return Merged(lines, lines - notes)

    def newest(self) -> Iterator[bytes]:
        """The newest line of each note, in the order of the parts and their lines."""
        older = self.index.older()
        skipped = next(older, None)
        number = 0
        for part, expected in zip(self.parts, self.lines, strict=True):
            begin = number
            for line in filter(_holds, self._lines_of(part)):
                if number == skipped:
                    skipped = next(older, None)
                else:
                    yield line
                number += 1
            if number - begin != expected:
                raise changed(part)

    def _lines_of(
        self, part: Part, on_torn: Callable[[Path, int], None] = lambda _path, _size: None
    ) -> Iterator[bytes]:
        """The whole lines that the part had at the start, newline and all."""
        size = sys.maxsize if part.is_gzip else part.size
        end = 0
        try:
            with part.open(_BUFFER) as file:
                # What it reads is buffered, and closed with the file beneath it.
                unpacked = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if part.is_gzip else file
                for text, end in lines_of(unpacked):
                    self.look()
                    line = text if end <= size else text[: size - end]
                    if not line.endswith(b"\n") and read_line(line):
                        line += b"\n"
                    if line.endswith(b"\n") or not may_be_torn(line):
                        yield line
                    elif line:
                        on_torn(part.path, len(line))
                    if end >= size:
                        return
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UsageError(
                f"{part.path} holds broken gzip data ({sanitize(str(error))}): fetch or pack it "
                "again."
            ) from error
        except OSError as error:
            raise unreadable(part.path, error) from error
        if not part.is_gzip and end < size:
            raise changed(part)


def _holds(line: bytes) -> bool:
    """Whether a line holds anything; a power cut may leave NUL bytes, an editor blank lines."""
    # Most begin with a sign, and no copy of them is needed.
    return line[:1] not in _NOTHING or bool(line.strip(_NOTHING))


def changed(part: Part) -> LocalIOError:
    """What is said of a part that is not as it was."""
    return LocalIOError(
        f"{part.path} was changed while it was read: leave the parts alone, but for runs "
        "that append to them, and try again."
    )
