"""Decides what lines found in a part make of their note: its current line, older ones, duplicates.

Pure: no database is asked here.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from harvester.ledger.protocol import FoundLine
from harvester.model import State

# Its part, its moment in Unix milliseconds, and where it ends, if that is known.
Line = tuple[int, int, int | None]


class Known(Struct, frozen=True):
    """What the ledger knows of a note; times are Unix milliseconds.

    `forgotten` lines of the part were counted as charged, and were not found again yet. With
    `is_empty` there is nothing in the data of its current line.
    """

    seq: int
    state: State
    fetched_at: int | None
    part: int | None
    line_end: int | None
    attempts: int
    lines: int
    forgotten: int = 0
    is_empty: bool = False


class Reconciled(Struct):
    """What becomes of a note.

    `current` is its line, `older` are those that are not current. So many `lines` are new,
    `duplicates` are those paid for again, `paid` those not counted as charged before, and
    `found_again` how many there are that were.
    """

    note_id: str
    current: Line | None
    attempts: int
    is_new: bool
    is_empty: bool
    lines: int = 0
    older: list[Line] = field(default_factory=list)
    duplicates: list[FoundLine] = field(default_factory=list)
    paid: list[FoundLine] = field(default_factory=list)
    found_again: int = 0


def moment_of(line: FoundLine) -> int:
    """When a line was fetched, in Unix milliseconds."""
    return round(line.fetched_at * 1000)


def reconcile(
    known: Known | None, lines: Sequence[FoundLine], part: int, *, is_anew: bool
) -> Reconciled:
    """Take the lines of one note, in the order of the part.

    A note that is done already was paid for again, unless the part is read anew from its beginning:
    then its older lines are those of refreshes. A line with the very moment of the current one is
    that line.
    """
    if known is None:
        known = Known(0, State.QUEUED, None, None, None, 0, 0)
    current: Line | None = None
    if known.lines and known.part is not None and known.fetched_at is not None:
        current = known.part, known.fetched_at, known.line_end
    is_done = known.state is State.DONE
    note = Reconciled(lines[0].note_id, current, known.attempts, not is_done, known.is_empty)
    for line in lines:
        _add(note, line, part, is_again=is_done and not is_anew)
        is_done = True
    note.found_again = min(known.forgotten, len(note.paid))
    del note.paid[: known.forgotten]
    return note


def _add(note: Reconciled, line: FoundLine, part: int, *, is_again: bool) -> None:
    note.attempts = max(note.attempts, line.attempts)
    before, found = note.current, (part, moment_of(line), line.end)
    # Earlier versions cut moments in lines and rounded them in the ledger.
    if before is not None and before[1] - found[1] in (0, 1):
        note.current, note.is_empty = (part, before[1], line.end), line.is_empty
        return
    note.lines += 1
    note.paid.append(line)
    if before is not None and is_again:
        note.duplicates.append(line)
    older: Line | None = found
    if before is None or found[1] > before[1]:
        note.current, note.is_empty, older = found, line.is_empty, before
    if older is not None:
        note.older.append(older)
