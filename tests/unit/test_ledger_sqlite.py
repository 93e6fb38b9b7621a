"""What the embedded ledger does when other programs hold its file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.errors import HaltedError, LocalIOError
from harvester.halt import Halt
from harvester.ledger.protocol import Checkpoint, FoundLine
from harvester.ledger.sqlite import store
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.model import Outcome, State

NOW = 1_795_363_200.0


def test_a_statement_that_takes_long_leaves_off_and_what_it_was_part_of_is_undone(
    tmp_path: Path,
) -> None:
    halt = Halt()
    halt.ask()
    lines = [FoundLine(f"{n:024x}", 1, NOW, n + 1) for n in range(10_000)]
    with closing(SqliteLedger(tmp_path / "out.ledger", lambda: NOW)) as ledger:
        ledger.adopt(lines, Checkpoint(10_000, b"{}\n"))
        with pytest.raises(HaltedError), ledger.as_one(halt.look):
            ledger.forget_lines()
        assert (ledger.checkpoint().length, ledger.counts().done) == (10_000, 10_000)
        ledger.forget_lines()
        assert ledger.counts().done == 0


def test_a_ledger_that_another_program_locks_is_called_locked_and_is_written_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.ledger"
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.05)
    with (
        closing(SqliteLedger(path, lambda: NOW)) as ledger,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LocalIOError, match="locked by another program") as raised:
            ledger.enrol(["a"], None)
        assert "free space" not in str(raised.value)
        other.execute("ROLLBACK")
        assert ledger.enrol(["a"], None).added == 1


def test_a_refresh_that_was_lost_with_its_run_is_told_though_output_is_read_anew(
    tmp_path: Path,
) -> None:
    path, line = tmp_path / "out.ledger", FoundLine("a", 1, NOW - 60, 3)
    with closing(SqliteLedger(path, lambda: NOW)) as ledger:
        ledger.adopt([line], Checkpoint(3, b"{}\n"))
        ledger.begin_run(100)
        ledger.refresh(NOW)
        ledger.mark_sent(ledger.claim(1, 100).jobs, 100)
    with closing(SqliteLedger(path, lambda: NOW)) as ledger:
        ledger.forget_lines()
        ledger.adopt([line], Checkpoint(3, b"{}\n"))
        ledger.end_reading()
        assert ledger.begin_run(100).found_unanswered == 1
        assert ledger.charged_since(0) == 2


def test_what_a_wrong_clock_put_ahead_counts_for_no_cap_whoever_asks(tmp_path: Path) -> None:
    path, clock = tmp_path / "out.ledger", [NOW + 3 * 86_400]
    with closing(SqliteLedger(path, lambda: clock[0])) as ledger:
        ledger.begin_run(100)
        ledger.enrol(["a"], None)
        (job,) = ledger.claim(1, 100).jobs
        done = Outcome(job, State.DONE, 0, "saved", line=b"{}\n", fetched_at=clock[0])
        ledger.record([done], [3], Checkpoint(3, b"{}\n"))
        clock[0] = NOW
        with reading(path) as reader:
            assert (ledger.charged_since(NOW), reader.used(NOW, NOW)) == (0, 0)
            assert reader.used(NOW, NOW + 2 * 86_400) == 1
