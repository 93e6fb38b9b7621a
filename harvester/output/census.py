"""Counts which paid notes an OUTPUT that was changed still holds, before anything is done to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from msgspec import Struct

from harvester.ledger.reader import LedgerReader
from harvester.output.lines import read_line

_LINES_AT_ONCE = 500


class Census(Struct, frozen=True):
    """Of `done` notes that the ledger knows on a line, `missing` have none in OUTPUT.

    `is_as_it_was` tells that all are there, in the order in which they were written.
    """

    done: int
    missing: int
    is_as_it_was: bool


def take_census(lines: Iterable[bytes], beside: Iterable[bytes], reader: LedgerReader) -> Census:
    """Look at the lines of OUTPUT, and at those that an earlier run kept beside it.

    Memory does not grow with OUTPUT, but for one bit a note.
    """
    expected = reader.expected_lines()
    seen = bytearray(expected.last_seq // 8 + 1)
    found = 0
    is_in_order, last = True, 0
    for seq, end in _places(lines, reader):
        found += not seen[seq // 8] >> seq % 8 & 1
        seen[seq // 8] |= 1 << seq % 8
        is_in_order &= end > last
        last = end
    is_as_it_was = is_in_order and found == expected.current
    for seq, _ in _places(beside, reader):
        found += not seen[seq // 8] >> seq % 8 & 1
        seen[seq // 8] |= 1 << seq % 8
    return Census(expected.current, expected.current - found, is_as_it_was)


def _places(lines: Iterable[bytes], reader: LedgerReader) -> Iterator[tuple[int, int]]:
    """The number of each note whose current line this is, and where the ledger has that line."""
    heads = (head for line in lines if (head := read_line(line)) is not None)
    while batch := list(islice(heads, _LINES_AT_ONCE)):
        jobs = reader.jobs_of([head.note_id for head in batch])
        for head in batch:
            job = jobs.get(head.note_id)
            if job is not None and job.line_end is not None and job.is_of(head.fetched_at):
                yield job.seq, job.line_end
