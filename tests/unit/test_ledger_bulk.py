"""Long inputs: what is given out before the index is built, repeats, and what they cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harvester.ledger.protocol import Checkpoint, Enrolled, FoundLine
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import Counts, State

IDS = [f"67f32a94000000001d02eb{n:02x}" for n in range(20)]
INDEXES = "SELECT name FROM sqlite_schema WHERE name = 'job_by_note'"


def now() -> float:
    return 1_795_363_200.0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], SqliteLedger]]:
    """Opens the ledger anew each time; what is still open is as if killed."""
    ledgers: list[SqliteLedger] = []

    def open_again() -> SqliteLedger:
        ledger = SqliteLedger(tmp_path / "ledger", now, bulk_after=4)
        ledger.begin_run(100)
        ledgers.append(ledger)
        return ledger

    yield open_again
    for ledger in ledgers:
        ledger.close()


def is_indexed(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "ledger")) as db:
        return bool(db.execute(INDEXES).fetchall())


def claimed(ledger: SqliteLedger, limit: int) -> list[str]:
    return [job.note_id for job in ledger.claim(limit, 100).jobs]


def test_only_ids_that_are_no_repeats_are_given_out(
    opened: Callable[[], SqliteLedger], tmp_path: Path
) -> None:
    ledger = opened()
    ledger.enrol(IDS[:4], None)
    assert not is_indexed(tmp_path)
    assert ledger.enrol([IDS[0], *IDS[4:8], IDS[5]], None) == Enrolled(6, 0)
    assert claimed(ledger, 3) == IDS[:3]
    assert claimed(ledger, 3) == [IDS[3]]
    assert not is_indexed(tmp_path)
    # Nothing sure is left: now the index is needed.
    assert claimed(ledger, 9) == IDS[4:8]
    assert is_indexed(tmp_path)
    assert ledger.end_input() == 2
    assert ledger.counts() == Counts(queued=8, claimed=8)


def test_the_end_of_the_input_tells_how_many_were_repeats(
    opened: Callable[[], SqliteLedger], tmp_path: Path
) -> None:
    ledger = opened()
    ledger.enrol(IDS[:4], None)
    ledger.enrol(IDS[2:9], None)
    assert ledger.end_input() == 2
    assert ledger.end_input() == 0
    assert is_indexed(tmp_path)
    assert ledger.counts().queued == 9
    assert ledger.enrol(IDS[:10], None) == Enrolled(1, 0)


def test_a_short_input_never_goes_without_the_index(
    opened: Callable[[], SqliteLedger], tmp_path: Path
) -> None:
    ledger = opened()
    ledger.enrol(IDS[:3], None)
    assert is_indexed(tmp_path)
    assert ledger.end_input() == 0


def test_a_refresh_always_has_the_index(opened: Callable[[], SqliteLedger], tmp_path: Path) -> None:
    ledger = opened()
    ledger.enrol(IDS, now() - 60)
    assert is_indexed(tmp_path)


def test_a_line_is_adopted_also_while_the_index_is_gone(
    opened: Callable[[], SqliteLedger], tmp_path: Path
) -> None:
    ledger = opened()
    ledger.enrol(["a", "b", "c", "d"], None)
    ledger.enrol(["e"], None)
    assert not is_indexed(tmp_path)
    assert ledger.adopt([FoundLine("a", 1, now(), 3)], Checkpoint(3, b"{}\n")) == 1
    assert ledger.counts().done == 1


def test_after_a_crash_in_between_the_next_opening_builds_the_index(
    opened: Callable[[], SqliteLedger], tmp_path: Path
) -> None:
    ledger = opened()
    ledger.enrol(IDS[:4], None)
    ledger.enrol(IDS[:9], None)
    assert claimed(ledger, 2) == IDS[:2]
    again = opened()
    assert is_indexed(tmp_path)
    assert again.counts().queued == 9
    assert sorted(claimed(again, 20)) == sorted(IDS[:9])


class Counting(sqlite3.Connection):
    """Counts SQLite's steps, a hundred at a time."""

    steps = 0

    def count(self) -> None:
        type(self).steps += 1


@pytest.mark.parametrize("place", ["new", "waiting"])
def test_going_on_costs_no_more_with_a_longer_ledger(tmp_path: Path, place: str) -> None:
    steps = []
    for many in (500, 20_000):

        class Connection(Counting):
            def __init__(self, *args: Any, **how: Any) -> None:  # noqa: ANN401 - sqlite3's own
                super().__init__(*args, **how)
                self.set_progress_handler(self.count, 100)

        path = tmp_path / str(many)
        with closing(SqliteLedger(path, now)) as ledger:
            ledger.begin_run(100)
            ledger.enrol([f"{n:024x}" for n in range(many)], None)
            ledger.end_input()
            if place == "waiting":
                ledger.release(ledger.claim(many // 2, 100).jobs)
        with closing(SqliteLedger(path, now, connection=Connection)) as ledger:
            ledger.begin_run(100)
            ledger.retry([State.EXHAUSTED])
            assert len(ledger.claim(100, 100).jobs) == 100
        steps.append(Connection.steps)
    assert steps[1] < 2 * steps[0] + 10
