"""Holds OUTPUT against its ledger: every done note on one good line, every line known."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from enum import Enum
from functools import reduce
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from harvester.formatting import count
from harvester.ledger.protocol import Checkpoint, Identity
from harvester.ledger.reader import KnownJob, LedgerReader
from harvester.output.beside import PADDING
from harvester.output.census import SeenNotes
from harvester.output.ending import check_stored, holds, line_before
from harvester.output.lines import (
    Head,
    lines_of,
    may_be_torn,
    read_head,
    read_line,
    shown,
    unreadable,
)
from harvester.rules.envelope import is_json
from harvester.sanitize import sanitize

_NAMED = 10
_CHUNK = 1 << 20
# Notes are looked up together, which a ledger on another machine needs.
_LINES_AT_ONCE = 500
# So many bytes in all are gone through to tell the numbers of lines that are elsewhere.
_MOST_COUNTED = 1 << 30


class Remedy(Enum):
    """What mends a damage; `run` is the command that goes on, `rebuild` the same told to."""

    RUN = (
        "`{run}` mends it by itself: what is torn is cut off and its note fetched again, what is "
        "not recorded is adopted, since it is paid for"
    )
    TAKE_OUT = "take these lines out (below), then `{rebuild}`, which fetches what is missing"
    REBUILD = "put a good copy of OUTPUT back, or take what is there as the truth: `{rebuild}`"
    PAY = "put a good copy of OUTPUT back; or `{rebuild}` fetches, and pays for, what is missing"
    NAME_PARTS = "name these parts too, copied here from where `{run}` writes them"
    REBUILD_EACH = "`{rebuild}` on each host, which takes the lines that are there as the truth"


class Damage(Struct, frozen=True):
    """One thing wrong: what mends it, its name, the line (from 1; 0 is all of OUTPUT), what it is.

    `moved` is how many bytes further on a line stands that is only elsewhere.
    """

    remedy: Remedy
    name: str
    line: int
    text: str = ""
    moved: int = 0


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
        known = reader.checkpoint()
        if "forgetting" in reader.meta():
            text = "was cut short: lines of notes to be forgotten may be there"
            yield Damage(Remedy.RUN, "forgetting", 0, text)
            return
        try:
            check_stored(path)
            with path.open("rb") as file:
                yield from _told(_Verifier(file, reader, known, checked).damages())
        except FileNotFoundError:
            if known.length:
                text = f"the ledger knows {known.length} bytes of it"
                yield Damage(Remedy.PAY, "output missing", 0, text)
        except OSError as error:
            raise unreadable(path, error) from error


def _told(damages: Iterator[Damage]) -> Iterator[Damage]:
    """Damages with lines that all stand as far from where they were told as one."""
    for by, alike in groupby(damages, lambda damage: damage.moved):
        if not by:
            yield from alike
            continue
        first, last = reduce(lambda ends, one: (ends[0] or one.line, one.line), alike, (0, 0))
        where = "further on" if by > 0 else "further up"
        until = f", and so do the lines up to {last}" if last > first else ""
        text = f"ends {abs(by)} bytes {where} than the ledger knows{until}"
        yield Damage(Remedy.REBUILD, "moved", first, text)


class _Line(Struct, frozen=True):
    number: int
    text: bytes
    begin: int
    end: int


class _Verifier:
    """One pass over OUTPUT; `_shift` is how far the lines stand from where the ledger has them."""

    def __init__(
        self, file: BinaryIO, reader: LedgerReader, known: Checkpoint, checked: Checked
    ) -> None:
        self._file, self._reader, self._known, self._checked = file, reader, known, checked
        self._fd = file.fileno()
        self._expected = reader.expected_lines()
        self._endpoint = reader.meta().get("endpoint")
        self._identity: Identity | None = None
        self._seen = SeenNotes(self._expected.last_seq)
        self._shift = self._good_end = self._counted = 0
        self._older = self._older_sum = 0

    def damages(self) -> Iterator[Damage]:
        """Everything wrong, each line that is only elsewhere by itself."""
        size = os.fstat(self._fd).st_size
        # Only the last newline may be missing, which a run puts back.
        is_whole = size > 0 and read_line(line_before(self._fd, size)) is not None
        if size < self._known.length - is_whole:
            text = f"{size} bytes are there, the ledger knows {self._known.length}"
            yield Damage(Remedy.PAY, "shorter", 0, text)
        tail: tuple[int, int] | None = None
        for line, head, job in self._known_lines():
            is_past = self._is_past(line, head, job)
            if is_past:
                tail = tail or self._look_at_tail()
                if line.end > tail[0]:
                    break
            self._checked.lines += 1
            if not (is_past and tail and line.end <= tail[1]):
                yield from self._judge(line, head, job, is_past=is_past)
        yield from self._of_all(size)

    def _known_lines(self) -> Iterator[tuple[_Line, Head | None, KnownJob | None]]:
        """The lines, what they say, and what is known of their notes."""
        lines = self._lines()
        while batch := list(_together(lines, self._known.length)):
            heads = [read_head(line.text, line.end) for line in batch]
            jobs = self._reader.jobs_of([head.note_id for head in heads if head is not None])
            for line, head in zip(batch, heads, strict=True):
                yield line, head, None if head is None else jobs.get(head.note_id)

    def _lines(self) -> Iterator[_Line]:
        begin = 0
        for number, (text, end) in enumerate(lines_of(self._file), 1):
            yield _Line(number, text, begin, end)
            begin = end

    def _is_past(self, line: _Line, head: Head | None, job: KnownJob | None) -> bool:
        """Whether a line is past what the ledger vouches for, and was not only pushed there."""
        if line.begin < self._known.length:
            return False
        if head is None or job is None or job.line_end is None or not job.is_of(head.fetched_at):
            return True
        is_in_line = self._shift != 0 and line.end == job.line_end + self._shift
        return not is_in_line and self._has_line(head.note_id, job.line_end)

    def _look_at_tail(self) -> tuple[int, int]:
        """Up to where lines past what is vouched for are looked at, and are recorded by now.

        In this order: if no run is on after the size was taken, the length is final.
        """
        size = os.fstat(self._fd).st_size
        self._checked.is_run_on = _is_held(self._fd)
        return 0 if self._checked.is_run_on else size, self._reader.newest_length()

    def _judge(
        self, line: _Line, head: Head | None, job: KnownJob | None, *, is_past: bool
    ) -> Iterator[Damage]:
        damage = self._of_text(line, head, is_past=is_past)
        if damage is None and head is not None:
            damage = self._of_kind(line, head.of)
        if damage is not None:
            yield damage
        elif head is not None:
            yield from self._of_place(line, head, job, is_past=is_past)

    def _of_text(self, line: _Line, head: Head | None, *, is_past: bool) -> Damage | None:
        """What is wrong with a line whatever the ledger knows."""
        text, said = line.text, shown(line.text)
        if not text.strip():
            return None
        if is_past and not text.strip(PADDING):
            return Damage(Remedy.RUN, "torn", line.number, f"{len(text)} bytes of NUL or ^Z")
        if b"\0" in text:
            said = f"holds NUL bytes: {said}"
        elif head is not None:
            if is_json(text):
                return None
        elif not may_be_torn(text):
            return Damage(Remedy.TAKE_OUT, "foreign", line.number, said)
        elif not text.endswith(b"\n"):
            said = f"breaks off: {said}"
            if is_past:
                return Damage(Remedy.RUN, "torn", line.number, said)
        # A run cuts off only what is past what the ledger vouches for.
        return Damage(Remedy.TAKE_OUT, "garbled", line.number, said)

    def _of_kind(self, line: _Line, held: Identity) -> Damage | None:
        """What is wrong with a line of another kind than the first line and the ledger say."""
        if self._endpoint is None:
            return None
        self._identity = self._identity or Identity(str(self._endpoint), held.simulated)
        if held == self._identity:
            return None
        text = f"is one of the {held}, the ledger's are {self._identity}"
        return Damage(Remedy.TAKE_OUT, "mixed", line.number, text)

    def _of_place(
        self, line: _Line, head: Head, job: KnownJob | None, *, is_past: bool
    ) -> Iterator[Damage]:
        """What is wrong with a good line, going by what the ledger knows of its note."""
        name, number = sanitize(head.note_id), line.number
        if is_past:
            yield Damage(Remedy.RUN, "unknown", number, f"{name} is not recorded yet")
            return
        if job is None or not job.lines:
            text = f"the ledger knows no line of {name}"
            yield Damage(Remedy.REBUILD, "inserted", number, text)
            return
        place = job.line_end
        if place is None or (job.lines > 1 and line.end < place + self._shift):
            self._older += 1
            self._older_sum += job.seq
            if place is not None and job.is_of(head.fetched_at):
                yield _duplicate(line, head, job, self._number_of(place + self._shift, line))
            return
        shifted = place + self._shift
        is_longer = False
        if line.end not in (place, shifted):
            other = self._other_line(line, head.note_id, job.seq, place)
            if other is not None:
                yield _duplicate(line, head, job, other)
                return
            is_longer = line.end > shifted > line.begin == self._good_end
        self._seen.add(job.seq)
        self._checked.current = self._seen.many
        self._good_end, self._shift = line.end, line.end - place
        if is_longer:
            text = f"{name}: {line.end - shifted} bytes longer than it was"
            yield Damage(Remedy.REBUILD, "edited", number, text)
            return
        if self._shift:
            yield Damage(Remedy.REBUILD, "moved", number, moved=self._shift)
        yield from _edited(line, head, job)

    def _other_line(self, line: _Line, note_id: str, seq: int, place: int) -> str | None:
        """Where a note's current line is, if it is not this one, in words."""
        shifted = place + self._shift
        for other in {place, shifted, shifted + len(line.text)} - {line.end}:
            if self._has_line(note_id, other):
                return self._number_of(other, line)
        return " further up" if seq in self._seen else None

    def _number_of(self, end: int, line: _Line) -> str:
        """Which line ends at a place, counted from this one, if that is cheap to say."""
        start, stop = sorted((end, line.begin))
        self._counted += stop - start
        if self._counted > _MOST_COUNTED:
            return ""
        many = 0
        while start < stop and (chunk := os.pread(self._fd, min(_CHUNK, stop - start), start)):
            start += len(chunk)
            many += chunk.count(b"\n")
        return f", line {line.number - 1 + (many if end > line.begin else -many)}"

    def _has_line(self, note_id: str, end: int) -> bool:
        """Whether a good line of a note ends at a place."""
        line = line_before(self._fd, end) if end > 0 else b""
        head = read_line(line)
        return head is not None and head.note_id == note_id and line.endswith(b"\n")

    def _of_all(self, size: int) -> Iterator[Damage]:
        """What is wrong with OUTPUT as a whole."""
        if self._known.length <= size and not holds(self._fd, self._known):
            text = f"the bytes before byte {self._known.length} are not those the ledger knows"
            if self._checked.current:
                yield Damage(Remedy.REBUILD, "end differs", 0, text)
            else:
                yield Damage(Remedy.PAY, "replaced", 0, text)
        if (self._older, self._older_sum) != (self._expected.older, self._expected.older_sum):
            text = (
                f"{self._older} older lines of notes fetched again are there, the ledger knows "
                f"{self._expected.older}, or of other notes"
            )
            yield Damage(Remedy.REBUILD, "older lines", 0, text)
        if missing := self._expected.current - self._checked.current:
            yield Damage(Remedy.PAY, "missing", 0, self._missing(missing))

    def _missing(self, many: int) -> str:
        placed = self._reader.placed_lines()
        unseen = (sanitize(note_id) for seq, note_id in placed if seq not in self._seen)
        names = ", ".join(islice(unseen, _NAMED)) + (", …" if many > _NAMED else "")
        return f"{count(many, 'done note has', 'done notes have')} no good line: {names}"


def _duplicate(line: _Line, head: Head, job: KnownJob, other: str) -> Damage:
    """A line of a note that has another one; the same line again is of no use to anybody."""
    remedy = Remedy.TAKE_OUT if job.is_of(head.fetched_at) else Remedy.REBUILD
    text = f"{sanitize(head.note_id)} has another line{other}"
    return Damage(remedy, "duplicate", line.number, text)


def _edited(line: _Line, head: Head, job: KnownJob) -> Iterator[Damage]:
    """A line whose head says other than the ledger."""
    if not job.is_of(head.fetched_at):
        text = f"its fetchedAt is not the ledger's: {shown(line.text)}"
    # Fewer is no sign: calls that came to nothing are counted too, after a line was written.
    elif head.attempts > job.attempts:
        text = f"says {head.attempts} attempts, the ledger knows {job.attempts}"
    else:
        return
    yield Damage(Remedy.REBUILD, "edited", line.number, text)


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
