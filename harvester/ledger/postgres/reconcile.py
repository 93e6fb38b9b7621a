"""Decides what lines found in a part make of their note: its current line, older ones, duplicates.

Pure: no database is asked here.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from harvester.ledger.protocol import FoundLine
from harvester.model import State


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

    `lines` are to be added, `older` are (part, fetched_at, line_end) of lines that are not current,
    `duplicates` are the lines paid for again, `paid` those not counted as charged before, and
    `found_again` how many there are that were.
    """

    note_id: str
    fetched_at: int
    part: int
    line_end: int | None
    attempts: int
    lines: int = 0
    older: list[tuple[int, int, int | None]] = field(default_factory=list)
    duplicates: list[FoundLine] = field(default_factory=list)
    paid: list[FoundLine] = field(default_factory=list)
    found_again: int = 0
    is_new: bool = True
    is_empty: bool = False


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
    first = lines[0]
    reconciled = Reconciled(first.note_id, moment_of(first), part, first.end, first.attempts)
    reconciled.is_empty = first.is_empty
    rest = lines
    if known is None or not known.lines or known.part is None or known.fetched_at is None:
        reconciled.lines, reconciled.paid, rest = 1, [first], lines[1:]
        reconciled.is_new = known is None or known.state is not State.DONE
    else:
        reconciled.fetched_at, reconciled.part, reconciled.line_end = (
            known.fetched_at,
            known.part,
            known.line_end,
        )
        reconciled.is_new, reconciled.is_empty = known.state is not State.DONE, known.is_empty
    is_done = not reconciled.is_new or rest is not lines
    if known is not None:
        reconciled.attempts = max(reconciled.attempts, known.attempts)
    for line in rest:
        _add(reconciled, line, part, is_duplicate=is_done and not is_anew)
        is_done = True
    if known is not None:
        reconciled.found_again = min(known.forgotten, len(reconciled.paid))
        del reconciled.paid[: known.forgotten]
    return reconciled


def _add(reconciled: Reconciled, line: FoundLine, part: int, *, is_duplicate: bool) -> None:
    moment = moment_of(line)
    reconciled.attempts = max(reconciled.attempts, line.attempts)
    # Earlier versions cut moments in lines and rounded them in the ledger.
    if reconciled.fetched_at - moment in (0, 1):
        reconciled.part, reconciled.line_end = part, line.end
        reconciled.is_empty = line.is_empty
        return
    reconciled.lines += 1
    reconciled.paid.append(line)
    if is_duplicate:
        reconciled.duplicates.append(line)
    if moment > reconciled.fetched_at:
        reconciled.older.append((reconciled.part, reconciled.fetched_at, reconciled.line_end))
        reconciled.fetched_at, reconciled.part, reconciled.line_end = moment, part, line.end
        reconciled.is_empty = line.is_empty
    else:
        reconciled.older.append((part, moment, line.end))
