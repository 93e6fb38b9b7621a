"""The ledger keeps when calls started, and what a run that died could not keep counts as now."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from harvester.ledger.protocol import ANY_MARK, Checkpoint
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import Outcome, State

NOW = 1_795_363_200.0


def test_what_a_dead_run_did_not_keep_counts_as_started_when_the_next_begins(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.ledger"
    with closing(SqliteLedger(path, lambda: NOW)) as ledger:
        ledger.begin_run(120)
        ledger.enrol(["a", "b", "c", "d"], None)
        a, b, c, _ = ledger.claim(4, 100).jobs
        ledger.remember_starts(1, {"ab": [NOW - 1]})
        ledger.mark_sent([a, b, c], 100)
        saves = [Outcome(j, State.DONE, 0, "ok", line=b"{}", fetched_at=NOW) for j in (a, b)]
        ledger.record(saves, [3, 6], Checkpoint(6))
    with closing(SqliteLedger(path, lambda: NOW + 30)) as ledger:
        ledger.begin_run(120)
        unkept = [NOW + 30, NOW + 30]
        assert ledger.starts() == {"ab": [NOW - 1, *unkept], ANY_MARK: unkept}


def test_after_a_run_that_ended_only_what_it_kept_counts(tmp_path: Path) -> None:
    path = tmp_path / "out.ledger"
    with closing(SqliteLedger(path, lambda: NOW)) as ledger:
        ledger.begin_run(120)
        ledger.remember_starts(2, {"ab": [NOW], "cd": [NOW - 2]})
        ledger.finish_run("done", 0)
    with closing(SqliteLedger(path, lambda: NOW + 30)) as ledger:
        ledger.begin_run(120)
        assert ledger.starts() == {"ab": [NOW], "cd": [NOW - 2]}


def test_what_a_token_started_is_kept_while_others_are_used_for_a_day(tmp_path: Path) -> None:
    clock = [NOW]
    with closing(SqliteLedger(tmp_path / "out.ledger", lambda: clock[0])) as ledger:
        ledger.remember_starts(1, {"ab": [NOW]})
        clock[0] += 3600
        ledger.remember_starts(2, {"cd": [NOW + 3600]})
        assert ledger.starts() == {"ab": [NOW], "cd": [NOW + 3600]}
        clock[0] += 86_000
        ledger.remember_starts(3, {})
        assert ledger.starts() == {"cd": [NOW + 3600]}


def test_no_start_is_kept_that_lies_ahead(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "out.ledger", lambda: NOW)) as ledger:
        ledger.remember_starts(1, {"ab": [NOW + 1e6]})
        assert ledger.starts() == {"ab": [NOW]}
