"""Counts which paid notes an OUTPUT that was changed still holds, before anything is done to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from msgspec import Struct

from harvester.ledger.reader import LedgerReader
from harvester.output.lines import read_line

_LINES_AT_ONCE = 500


class SeenNotes:
    """Notes seen, by their numbers up to `last`: one bit each; `many` counts them."""

    def __init__(self, last: int) -> None:
        self._bits = bytearray(last // 8 + 1)
        self.many = 0

    def add(self, seq: int) -> None:
        """Take note of one."""
        self.many += seq not in self
        self._bits[seq // 8] |= 1 << seq % 8

    def __contains__(self, seq: int) -> bool:
        return bool(self._bits[seq // 8] >> seq % 8 & 1)


class Census(Struct, frozen=True):
    """Of `done` notes that the ledger knows on a line, `missing` have none in OUTPUT.

    `is_as_it_was` tells that all that must be are there, in the order in which they were written.
    """

    done: int
    missing: int
    is_as_it_was: bool


def take_census(
    lines: Iterable[bytes], beside: Iterable[bytes], reader: LedgerReader, durable: int
) -> Census:
    """Look at the lines of OUTPUT, and at those that an earlier run kept beside it.

    Those that ended within the first `durable` bytes must be there.
    Memory does not grow with OUTPUT, but for one bit a note.
    """
    expected = reader.expected_lines()
    seen, surely = SeenNotes(expected.last_seq), 0
    is_in_order, last = True, 0
    for seq, end in _places(lines, reader):
        surely += seq not in seen and end <= durable
        seen.add(seq)
        is_in_order &= end > last
        last = end
    is_as_it_was = is_in_order and surely == reader.lines_within(durable)
    for seq, _ in _places(beside, reader):
        seen.add(seq)
    return Census(expected.current, expected.current - seen.many, is_as_it_was)


def _places(lines: Iterable[bytes], reader: LedgerReader) -> Iterator[tuple[int, int]]:
    """The number of each note whose current line this is, and where the ledger has that line."""
    heads = (head for line in lines if (head := read_line(line)) is not None)
    while batch := list(islice(heads, _LINES_AT_ONCE)):
        jobs = reader.jobs_of([head.note_id for head in batch])
        for head in batch:
            job = jobs.get(head.note_id)
            if job is not None and job.line_end is not None and job.is_of(head.fetched_at):
                yield job.seq, job.line_end
