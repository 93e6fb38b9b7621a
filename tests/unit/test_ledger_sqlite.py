"""What the embedded ledger does when clocks are wrong, and when other programs hold its file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.errors import LocalIOError
from harvester.ledger.protocol import Extent
from harvester.ledger.sqlite import SqliteLedger
from harvester.model import Outcome, State

NOW = 1_795_363_200.0
FIVE_YEARS = 5 * 365 * 86_400.0


def save_and_lose(path: Path, now: float) -> None:
    """A run at a moment: one note is charged, one call unanswered."""
    with closing(SqliteLedger(path, lambda: now)) as ledger:
        ledger.begin_run(120)
        ledger.enrol([f"{now:.0f}-{n}" for n in range(2)], None)
        saved, lost = ledger.claim(2, 100).jobs
        ledger.depart([saved, lost], 100)
        outcome = Outcome(saved, State.DONE, 0, "ok", line=b"{}\n", fetched_at=now)
        ledger.record([outcome], [3], Extent(3))
        ledger.abandon([lost], "stopped at once")


def test_what_a_clock_years_ahead_wrote_counts_on_no_day_before(tmp_path: Path) -> None:
    path = tmp_path / "out.ledger"
    save_and_lose(path, NOW + FIVE_YEARS)
    save_and_lose(path, NOW)
    with closing(SqliteLedger(path, lambda: NOW + 60)) as ledger:
        assert ledger.charged_since(NOW) == 2


def test_a_ledger_that_another_program_locks_is_called_locked_and_is_written_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.ledger"
    with (
        closing(SqliteLedger(path, lambda: NOW, busy_seconds=0.05)) as ledger,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LocalIOError, match="locked by another program") as raised:
            ledger.enrol(["a"], None)
        assert "free space" not in str(raised.value)
        other.execute("ROLLBACK")
        assert ledger.enrol(["a"], None).added == 1
