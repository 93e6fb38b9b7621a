"""Holds OUTPUT against its ledger: every done note on one good line, every line known."""

from __future__ import annotations

import fcntl
import os
from bisect import bisect
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct, field

from harvester.errors import LocalIOError
from harvester.ledger.protocol import Extent, FoundLine
from harvester.ledger.reader import KnownJob, LedgerReader
from harvester.output.beside import PADDING
from harvester.output.ending import LONGEST, holds, line_before
from harvester.output.lines import head_endpoint, may_be_torn, read_head, read_line
from harvester.rules.envelope import is_json
from harvester.sanitize import sanitize

_SHOWN = 60
_NAMED = 10
_CHUNK = 1 << 20
# Notes are looked up together, which a ledger on another machine needs.
_LINES_AT_ONCE = 500
# Marks of where lines begin; from the nearest one lines are counted, but not further than this.
_MOST_MARKS = 4096
_FAR = 256 << 20
# So many duplicates are told the number of the other line, which takes reading a part of OUTPUT.
_MOST_NUMBERS = 100


class Kind(Enum):
    """What can be wrong; the value is the name shown."""

    GONE = "output missing"
    SHORTER = "shorter"
    REPLACED = "replaced"
    END = "end differs"
    TORN = "torn"
    UNKNOWN = "unknown"
    GARBLED = "garbled"
    FOREIGN = "foreign"
    MIXED = "mixed"
    INSERTED = "inserted"
    DUPLICATE = "duplicate"
    EDITED = "edited"
    MOVED = "moved"
    OLDER = "older lines"
    MISSING = "missing"
    ABSENT = "part missing"
    NOWHERE = "nowhere"


# What `run` does by itself, what only a person can, and what `run --rebuild` does when told to.
_RUN = "`{run}` mends it by itself"
_TAKE_OUT = "take these lines out (below), then `{rebuild}`, which fetches what is missing"
_REBUILD = "put a good copy of OUTPUT back, or take what is there as the truth: `{rebuild}`"
_PAY = "put a good copy of OUTPUT back; or `{rebuild}` fetches, and pays for, what is missing"
MENDING = {
    Kind.GONE: _PAY,
    Kind.SHORTER: _PAY,
    Kind.REPLACED: _PAY,
    Kind.END: _REBUILD,
    Kind.TORN: _RUN + ": it is cut off, its note fetched again",
    Kind.UNKNOWN: _RUN + ": it is adopted, since it is paid for",
    Kind.GARBLED: _TAKE_OUT,
    Kind.FOREIGN: _TAKE_OUT,
    Kind.MIXED: _TAKE_OUT,
    Kind.INSERTED: _REBUILD,
    Kind.DUPLICATE: _REBUILD,
    Kind.EDITED: _REBUILD,
    Kind.MOVED: _REBUILD,
    Kind.OLDER: _REBUILD,
    Kind.MISSING: _PAY,
    Kind.ABSENT: "name these parts too, copied here from where `{run}` writes them",
    Kind.NOWHERE: "`{rebuild}` on each host, which takes the lines that are there as the truth",
}
TO_TAKE_OUT = frozenset(kind for kind, mending in MENDING.items() if mending == _TAKE_OUT)


class Damage(Struct, frozen=True):
    """One thing wrong: its kind, the line it is on (1-based, 0 for all of OUTPUT), what it is."""

    kind: Kind
    line: int
    text: str


class Checked(Struct):
    """What was looked at: all lines, and those that are a note's current one.

    `is_run_on` tells that a run is writing, so that what it wrote last was not judged.
    """

    lines: int = 0
    current: int = 0
    is_run_on: bool = False


def verify(path: Path, reader: LedgerReader, checked: Checked) -> Iterator[Damage]:
    """Everything that is wrong, in the order of OUTPUT; fills `checked` as it goes.

    Memory does not grow with OUTPUT, but for one bit a note. Raises LocalIOError.
    """
    reader.require_index()
    with reader.snapshot():
        known = reader.extent()
        try:
            file = path.open("rb")
        except FileNotFoundError:
            if known.length:
                yield Damage(Kind.GONE, 0, f"the ledger knows {known.length} bytes of it")
            return
        except OSError as error:
            raise _unreadable(path, error) from error
        with file:
            try:
                yield from _Verifier(file, reader, known, checked).damages()
            except OSError as error:
                raise _unreadable(path, error) from error


def verify_whole(
    absent: Sequence[tuple[str, int]], nowhere: int, first: Sequence[str]
) -> Iterator[Damage]:
    """What is wrong with the parts of a fleet's harvest taken together.

    `absent` are the parts that were not verified, each with how many notes' current lines it holds;
    `nowhere` is how many done notes have no line in any part, `first` the ids of some.
    """
    for name, notes in absent:
        held = "note has its" if notes == 1 else "notes have their"
        yield Damage(Kind.ABSENT, 0, f"{sanitize(name)}: {notes:,} {held} current line there")
    if nowhere:
        names = ", ".join(map(sanitize, first)) + (", …" if nowhere > len(first) else "")
        has = "note has" if nowhere == 1 else "notes have"
        yield Damage(Kind.NOWHERE, 0, f"{nowhere:,} done {has} no line in any part: {names}")


def _unreadable(path: Path, error: OSError) -> LocalIOError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LocalIOError(f"cannot read {path}: {reason}: check the file, then try again.")


class _Line(Struct, frozen=True):
    number: int
    text: bytes
    begin: int
    end: int

    @property
    def shown(self) -> str:
        return sanitize(self.text[:_SHOWN].decode("utf-8", "replace").rstrip("\r\n"))


class _Tail(Struct, frozen=True):
    """What is past the length the ledger vouched for: up to `size`, some of it known by now."""

    size: int
    known: int
    is_run_on: bool


class _Moved(Struct):
    """Lines one after another that all stand as far from where the ledger knows them."""

    first: int
    last: int
    by: int

    def damage(self) -> Damage:
        where = "further on" if self.by > 0 else "further up"
        until = f", and so do the lines up to {self.last}" if self.last > self.first else ""
        text = f"ends {abs(self.by)} bytes {where} than the ledger knows{until}"
        return Damage(Kind.MOVED, self.first, text)


class _Verifier:
    """One pass over OUTPUT; `_shift` is how far the lines stand from where the ledger has them."""

    def __init__(
        self, file: BinaryIO, reader: LedgerReader, known: Extent, checked: Checked
    ) -> None:
        self._file, self._reader, self._known, self._checked = file, reader, known, checked
        self._expected = reader.expected_lines()
        meta = reader.meta()
        self._endpoint = meta.get("endpoint")
        self._is_simulated: bool | None = None
        self._seen = bytearray(self._expected.last_seq // 8 + 1)
        self._places = _Places(file.fileno())
        self._tail: _Tail | None = None
        self._moved: _Moved | None = None
        self._shift = 0
        self._good_end = 0
        self._in_place = 0
        self._older = self._older_sum = 0

    def damages(self) -> Iterator[Damage]:
        """See `verify`."""
        size = os.fstat(self._file.fileno()).st_size
        # Only the last newline may be missing, which a run puts back.
        is_whole = size > 0 and read_line(line_before(self._file.fileno(), size)) is not None
        if size < self._known.length - is_whole:
            text = f"{size} bytes are there, the ledger knows {self._known.length}"
            yield Damage(Kind.SHORTER, 0, text)
        for line, head, job in self._known_lines():
            self._places.add(line.number, line.begin)
            if self._is_past(line, head, job):
                tail = self._look_at_tail()
                if tail.is_run_on or line.end > tail.size:
                    break
                if line.end <= tail.known:
                    self._checked.lines += 1
                    continue
            self._checked.lines += 1
            yield from self._judge(line, head, job)
        yield from self._flush()
        yield from self._of_all(size)

    def _known_lines(self) -> Iterator[tuple[_Line, FoundLine | None, KnownJob | None]]:
        """The lines, what they say, and what is known of their notes."""
        lines = _lines(self._file)
        while batch := list(_together(lines, self._known.length)):
            heads = [read_head(line.text, line.end) for line in batch]
            jobs = self._reader.jobs_of([head.note_id for head in heads if head is not None])
            for line, head in zip(batch, heads, strict=True):
                yield line, head, None if head is None else jobs.get(head.note_id)

    def _is_past(self, line: _Line, head: FoundLine | None, job: KnownJob | None) -> bool:
        """Whether a line is past what the ledger vouches for, and was not only pushed there."""
        if line.begin < self._known.length:
            return False
        if head is None or job is None or job.line_end is None or not job.is_of(head.fetched_at):
            return True
        is_in_line = self._shift != 0 and line.end == job.line_end + self._shift
        return not is_in_line and self._places.holds(head.note_id, job.line_end)

    def _look_at_tail(self) -> _Tail:
        """Look in this order: if no run is on after the size was taken, the length is final."""
        if self._tail is None:
            size = os.fstat(self._file.fileno()).st_size
            is_run_on = _is_held(self._file.fileno())
            self._tail = _Tail(size, self._reader.newest_length(), is_run_on)
            self._checked.is_run_on = is_run_on
        return self._tail

    def _judge(self, line: _Line, head: FoundLine | None, job: KnownJob | None) -> Iterator[Damage]:
        before = self._moved
        damage = self._of_text(line, head) if line.text.strip() else None
        if damage is None and head is not None:
            damage = self._of_place(line, head, job)
            damage = self._of_kind(line) or damage
        if before is not None and self._moved is not before:
            yield before.damage()
        elif damage is not None or self._shift == 0:
            yield from self._flush()
        if damage is not None:
            yield damage

    def _flush(self) -> Iterator[Damage]:
        if self._moved is not None:
            yield self._moved.damage()
            self._moved = None

    def _of_text(self, line: _Line, head: FoundLine | None) -> Damage | None:
        """What is wrong with a line whatever the ledger knows."""
        text = line.text
        is_past = line.begin >= self._known.length
        if is_past and not text.strip(PADDING):
            return Damage(Kind.TORN, line.number, f"{len(text)} bytes of NUL or ^Z")
        if b"\0" in text:
            return Damage(Kind.GARBLED, line.number, f"holds NUL bytes: {line.shown}")
        if head is not None:
            return None if is_json(text) else Damage(Kind.GARBLED, line.number, line.shown)
        if not may_be_torn(text):
            return Damage(Kind.FOREIGN, line.number, line.shown)
        if text.endswith(b"\n"):
            return Damage(Kind.GARBLED, line.number, line.shown)
        # A run cuts off only what is past what the ledger vouches for.
        kind = Kind.TORN if is_past else Kind.GARBLED
        return Damage(kind, line.number, f"breaks off: {line.shown}")

    def _of_kind(self, line: _Line) -> Damage | None:
        """What is wrong with a line of another kind than the first line and the ledger say."""
        held = head_endpoint(line.text)
        if held is None or self._endpoint is None:
            return None
        if self._is_simulated is None:
            self._is_simulated = held[1]
        identity = (str(self._endpoint), self._is_simulated)
        if held == identity:
            return None
        of, other = (f"{name} ({'simulated' if s else 'real'})" for name, s in (held, identity))
        return Damage(Kind.MIXED, line.number, f"is of {sanitize(of)}, the ledger's are of {other}")

    def _of_place(self, line: _Line, head: FoundLine, job: KnownJob | None) -> Damage | None:
        """What is wrong with a good line, going by what the ledger knows of its note."""
        name = sanitize(head.note_id)
        if self._is_past(line, head, job):
            return Damage(Kind.UNKNOWN, line.number, f"{name} is not recorded yet")
        if job is None or not job.lines:
            return Damage(Kind.INSERTED, line.number, f"the ledger knows no line of {name}")
        place = job.line_end
        if place is None or (job.lines > 1 and line.end < place + self._shift):
            self._older += 1
            self._older_sum += job.seq
            return None
        if line.end in (place, place + self._shift):
            return self._in_known_place(line, head, job, place)
        return self._elsewhere(line, head, job, place)

    def _in_known_place(
        self, line: _Line, head: FoundLine, job: KnownJob, place: int
    ) -> Damage | None:
        self._see(job)
        self._good_end = line.end
        self._shift = line.end - place
        if not self._shift:
            self._in_place += 1
        elif self._moved is None:
            self._moved = _Moved(line.number, line.number, self._shift)
        else:
            self._moved.last = line.number
        return _edited(line, head, job)

    def _elsewhere(self, line: _Line, head: FoundLine, job: KnownJob, place: int) -> Damage | None:
        name = sanitize(head.note_id)
        shifted = place + self._shift
        for other in {place, shifted, shifted + len(line.text)} - {line.end}:
            if self._places.holds(head.note_id, other):
                where = self._places.words(other)
                return Damage(Kind.DUPLICATE, line.number, f"{name} has another line{where}")
        if self._has_seen(job):
            return Damage(Kind.DUPLICATE, line.number, f"{name} has another line further up")
        grown = line.end - shifted
        is_longer = line.end > shifted > line.begin == self._good_end
        self._see(job)
        self._shift = line.end - place
        self._good_end = line.end
        if is_longer:
            return Damage(Kind.EDITED, line.number, f"{name}: {grown} bytes longer than it was")
        self._moved = _Moved(line.number, line.number, self._shift)
        return None

    def _see(self, job: KnownJob) -> None:
        self._checked.current += not self._has_seen(job)
        self._seen[job.seq // 8] |= 1 << job.seq % 8

    def _has_seen(self, job: KnownJob) -> bool:
        return bool(self._seen[job.seq // 8] >> job.seq % 8 & 1)

    def _of_all(self, size: int) -> Iterator[Damage]:
        """What is wrong with OUTPUT as a whole."""
        if self._known.length <= size and not holds(self._file.fileno(), self._known):
            kind = Kind.END if self._in_place else Kind.REPLACED
            text = f"the bytes before byte {self._known.length} are not those the ledger knows"
            yield Damage(kind, 0, text)
        if (self._older, self._older_sum) != (self._expected.older, self._expected.older_sum):
            yield Damage(
                Kind.OLDER,
                0,
                f"{self._older} older lines of notes fetched again are there, the ledger knows "
                f"{self._expected.older}, or of other notes",
            )
        if missing := self._expected.current - self._checked.current:
            yield Damage(Kind.MISSING, 0, self._missing(missing))

    def _missing(self, many: int) -> str:
        unseen = (
            note_id
            for seq, note_id in self._reader.placed_lines()
            if not self._seen[seq // 8] >> seq % 8 & 1
        )
        names = ", ".join(sanitize(note_id) for note_id in islice(unseen, _NAMED))
        more = ", …" if many > _NAMED else ""
        return (
            f"{many} done {'note has' if many == 1 else 'notes have'} no good line: {names}{more}"
        )


def _edited(line: _Line, head: FoundLine, job: KnownJob) -> Damage | None:
    """A line in its place whose head says other than the ledger."""
    if not job.is_of(head.fetched_at):
        return Damage(Kind.EDITED, line.number, f"its fetchedAt is not the ledger's: {line.shown}")
    # Fewer is no sign: calls that came to nothing are counted too, after a line was written.
    if head.attempts > job.attempts:
        text = f"says {head.attempts} attempts, the ledger knows {job.attempts}"
        return Damage(Kind.EDITED, line.number, text)
    return None


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """The lines of OUTPUT; of one longer than any line can be, only its beginning is kept."""
    number = end = 0
    while text := file.readline(LONGEST):
        begin, number = end, number + 1
        end += len(text)
        more = text
        while len(more) == LONGEST and not more.endswith(b"\n"):
            more = file.readline(LONGEST)
            end += len(more)
        yield _Line(number, text, begin, end)


def _together(lines: Iterator[_Line], length: int) -> Iterator[_Line]:
    """A few of the next lines; past what is vouched for, one, since a run may be writing there."""
    size = 0
    for line in islice(lines, _LINES_AT_ONCE):
        yield line
        size += len(line.text)
        if line.end >= length or size >= _CHUNK:
            break


def _is_held(fd: int) -> bool:
    """Whether a run holds OUTPUT; asks for its lock, and gives it back at once."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


class _Places(Struct):
    """Finds lines by where they end, from a few thousand marks however long OUTPUT is."""

    _fd: int
    _begins: list[int] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _stride: int = 1
    _asked: int = 0

    def add(self, number: int, begin: int) -> None:
        """Mark where a line begins, if it is time for another mark."""
        if (number - 1) % self._stride:
            return
        self._begins.append(begin)
        self._numbers.append(number)
        if len(self._begins) == _MOST_MARKS:
            del self._begins[1::2], self._numbers[1::2]
            self._stride *= 2

    def words(self, end: int) -> str:
        """Which line ends at a place, if that is cheap to say."""
        mark = bisect(self._begins, end - 1) - 1
        start, number = self._begins[mark], self._numbers[mark]
        self._asked += 1
        if self._asked > _MOST_NUMBERS or end - start > _FAR:
            return ""
        while start < end and (chunk := os.pread(self._fd, min(_CHUNK, end - start), start)):
            start += len(chunk)
            number += chunk.count(b"\n")
        return f", line {number - 1}"

    def holds(self, note_id: str, end: int) -> bool:
        """Whether a good line of a note ends at a place."""
        line = line_before(self._fd, end) if end > 0 else b""
        head = read_line(line)
        return head is not None and head.note_id == note_id and line.endswith(b"\n")
