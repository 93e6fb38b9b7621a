"""A ledger of an older harvester becomes one of this, whole or not at all, and its run goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

import harvester
from harvester.errors import LedgerError
from harvester.ledger.keys import from_key, to_key
from harvester.ledger.protocol import Checkpoint, FoundLine
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.ledger.sqlite.schema import _MIGRATIONS, NEWEST, migrate
from harvester.model import State

STARTED = 1_795_395_720_000
ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
DONE, NEW, WAITING, REJECTED, EXHAUSTED, FLYING = (
    f"67f32a94000000001d02eb{n:02x}" for n in range(6)
)
OF_SCHEMA_1 = ("meta", "job", "tally", "claim", "run", "activity", "unanswered", "output")
RENAMED = {
    "tries_collection": "failures_collection",
    "tries_server": "failures_server",
    "tries_unanswered": "failures_unanswered",
    "token": "claim_id",
}
LINE = (
    json.dumps(
        {
            "noteId": DONE,
            "fetchedAt": "2026-11-23T01:02:03.456Z",
            "attempts": 1,
            "endpoint": ENDPOINT,
            "recordTime": None,
            "requestId": "simulated-1",
            "data": {"noteId": DONE},
        },
        separators=(",", ":"),
    ).encode()
    + b"\n"
)
# Dies for good before one of the statements of a migration; without such a number, migrates.
DYING = """
import os, signal, sqlite3, sys
from harvester.ledger.sqlite.ledger import SqliteLedger

class Dying(sqlite3.Connection):
    def executescript(self, script):
        statement, many = "", 0
        for part in filter(str.strip, script.split(";")):
            statement += part + ";"
            if sqlite3.complete_statement(statement):
                if many == int(sys.argv[2]):
                    os.kill(os.getpid(), signal.SIGKILL)
                many += 1
                self.execute(statement)
                statement = ""
        return self.cursor()

from pathlib import Path
SqliteLedger(Path(sys.argv[1]), lambda: 1795395800.0, connection=Dying).close()
"""
STATEMENTS = _MIGRATIONS[1].count(";") + len(("BEGIN", "PRAGMA user_version", "COMMIT"))


def insert(db: sqlite3.Connection, table: str, *rows: dict[str, object]) -> None:
    for row in rows:
        names = ", ".join(row)
        holes = ", ".join("?" * len(row))
        db.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})", list(row.values()))


def jobs() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"state": 1, "attempts": 1, "fetched_at": STARTED + 3456, "line_end": len(LINE)},
        {"state": 0},
        {"state": 0, "due": STARTED + 60_000, "attempts": 2, "run": 2, "code": 301, "reason": "x"},
        {"state": 2, "attempts": 1, "run": 1, "code": 404, "reason": "not found"},
        {"state": 3, "attempts": 6, "run": 1, "code": 301, "reason": "collection failed"},
        {"state": 0, "attempts": 1, "tries_server": 1},
    ]
    ids = (DONE, NEW, WAITING, REJECTED, EXHAUSTED, FLYING)
    keyed = [{"seq": n, "note_id": to_key(note_id)} for n, note_id in enumerate(ids, 1)]
    rows[0]["lines"] = 1
    return [{**key, **row} for key, row in zip(keyed, rows, strict=True)]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """OUTPUT of one line and its ledger of schema 1, as a run that was killed left them."""
    path = tmp_path / "notes.jsonl"
    path.write_bytes(LINE)
    with closing(sqlite3.connect(ledger_of(path), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN;{_MIGRATIONS[0]};PRAGMA user_version = 1;COMMIT;")
        insert(db, "meta", {"key": "endpoint", "value": ENDPOINT}, {"key": "simulated", "value": 1})
        insert(db, "meta", {"key": "frontier", "value": 1})
        insert(db, "job", *jobs())
        db.executemany(
            "UPDATE tally SET jobs = ? WHERE state = ?", [(3, 0), (1, 1), (1, 2), (1, 3)]
        )
        insert(db, "claim", {"seq": 6, "token": (2 << 32) + 1, "until": 0, "sent_at": STARTED})
        finished = {"finished_at": STARTED - 1, "reason": "some failed", "exit_code": 1}
        insert(db, "run", {"started_at": STARTED - 60_000, **finished}, {"started_at": STARTED})
        calls = {"run": 1, "minute": STARTED // 60_000, "elapsed_ms": 900}
        insert(db, "activity", {**calls, "code": 0, "calls": 1}, {**calls, "code": 301, "calls": 7})
        insert(db, "unanswered", {"run": 1, "seq": 5, "sent_at": STARTED, "how": "timeout"})
        db.execute("UPDATE output SET length = ?, tail = ?", (len(LINE), LINE[-64:]))
    return path


def ledger_of(output: Path) -> Path:
    return output.with_name(output.name + ".ledger")


def version_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def shape(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """All tables and indexes with their columns, whatever way they came to be."""
    names = db.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()
    return [(name, str(db.execute(f"PRAGMA table_xinfo({name})").fetchall())) for (name,) in names]


def rows_of(db: sqlite3.Connection, columns: dict[str, list[str]]) -> dict[str, list[object]]:
    return {
        table: db.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY 1, 2").fetchall()
        for table, names in columns.items()
    }


def columns_of(db: sqlite3.Connection, tables: Sequence[str]) -> dict[str, list[str]]:
    return {
        table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables
    }


def test_every_row_is_kept_and_the_shape_is_that_of_a_new_ledger(
    output: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(ledger_of(output))) as db:
        columns = columns_of(db, OF_SCHEMA_1)
        before = rows_of(db, columns)
    assert all(before.values())
    SqliteLedger(ledger_of(output), lambda: STARTED / 1000).close()
    columns = {table: [RENAMED.get(n, n) for n in names] for table, names in columns.items()}
    with (
        closing(sqlite3.connect(ledger_of(output))) as db,
        closing(sqlite3.connect(tmp_path / "new")) as new,
    ):
        migrate(new, "new")
        assert version_of(db) == NEWEST
        assert rows_of(db, columns) == before
        assert shape(db) == shape(new)
        assert db.execute("SELECT extra_fields FROM job").fetchall() == [(None,)] * 6
        assert db.execute("SELECT rate, daily_cap FROM run").fetchall() == [(None, None)] * 2


def test_the_rate_that_an_older_run_found_is_begun_with(output: Path) -> None:
    with closing(sqlite3.connect(ledger_of(output))) as db:
        db.execute("INSERT INTO meta VALUES ('borne', 4.5)")
        db.commit()
    with closing(SqliteLedger(ledger_of(output), lambda: STARTED / 1000)) as ledger:
        assert ledger.start_rate() == 4.5


def test_a_run_goes_on_where_the_older_one_was_killed(output: Path) -> None:
    options = {"simulate": True, "rate": "1000/s", "backoff_base": 0.001, "backoff_cap": 0.01}
    summary = asyncio.run(harvester.harvest((), output, **options))  # type: ignore[arg-type] # as from JSON
    assert (summary.done, summary.queued, summary.rejected) == (5, 0, 1)
    assert summary.found_unanswered == 1
    lines = output.read_bytes().splitlines(keepends=True)
    assert lines[0] == LINE
    assert sorted(json.loads(line)["noteId"] for line in lines) == [
        DONE,
        NEW,
        WAITING,
        EXHAUSTED,
        FLYING,
    ]
    with reading(ledger_of(output)) as reader:
        assert reader.unanswered() == 2
        assert [run.reason for run in reader.runs()] == ["some failed", None, summary.reason]
        (failed,) = reader.failures()
        assert (failed.note_id, failed.state) == (REJECTED, State.REJECTED)
        assert reader.checkpoint().length == output.stat().st_size


def test_a_rebuild_that_an_older_one_began_counts_no_call_twice(output: Path) -> None:
    with closing(sqlite3.connect(ledger_of(output))) as db:
        db.execute("INSERT INTO meta VALUES ('rebuilding', 1)")
        db.execute("UPDATE job SET state = 0, lines = 0, line_end = NULL WHERE state = 1")
        db.commit()
    lines = [FoundLine(DONE, 1, STARTED / 1000 + 3.456, 3), FoundLine(NEW, 1, STARTED / 1000, 6)]
    with closing(SqliteLedger(ledger_of(output), lambda: STARTED / 1000)) as ledger:
        before = ledger.charged_since(0)
        ledger.adopt(lines, Checkpoint(6))
        assert ledger.charged_since(0) == before + 1


@pytest.mark.parametrize("statement", [*range(STATEMENTS), -1])
def test_a_process_killed_in_the_middle_leaves_one_schema_or_the_other(
    output: Path, statement: int
) -> None:
    place = ledger_of(output)
    command = [sys.executable, "-c", DYING, str(place), str(statement)]
    died = subprocess.run(
        command, cwd=Path(harvester.__file__).parents[1], check=False, capture_output=True
    )
    is_whole = statement < 0
    assert died.returncode == (0 if is_whole else -signal.SIGKILL), died.stderr
    with closing(sqlite3.connect(place)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        assert version_of(db) == (NEWEST if is_whole else 1)
        assert ("latency" in tables, "backlog" in tables) == (is_whole, is_whole)
        assert ("extra_fields" in columns_of(db, ["job"])["job"]) is is_whole
        assert ("rate" in columns_of(db, ["run"])["run"]) is is_whole
        assert [from_key(key) for (key,) in db.execute("SELECT note_id FROM job ORDER BY seq")] == [
            DONE,
            NEW,
            WAITING,
            REJECTED,
            EXHAUSTED,
            FLYING,
        ]
    SqliteLedger(place, lambda: STARTED / 1000).close()
    with closing(sqlite3.connect(place)) as db:
        assert version_of(db) == NEWEST


def test_readers_ask_for_a_run_that_brings_it_up_to_date(output: Path) -> None:
    with (
        pytest.raises(LedgerError, match=r"older harvester.*start a run"),
        reading(ledger_of(output)),
    ):
        pass
    with reading(ledger_of(output), allow_older=True) as reader:
        assert reader.checkpoint().length == len(LINE)
    with closing(sqlite3.connect(ledger_of(output))) as db:
        assert version_of(db) == 1


def test_a_newer_ledger_is_refused_and_left_as_it_is(output: Path) -> None:
    place = ledger_of(output)
    with closing(sqlite3.connect(place)) as db:
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    with pytest.raises(LedgerError, match=r"newer harvester.*upgrade"):
        SqliteLedger(place, lambda: STARTED / 1000)
    with pytest.raises(LedgerError, match=r"newer harvester.*upgrade"), reading(place):
        pass
    with closing(sqlite3.connect(place)) as db:
        assert version_of(db) == NEWEST + 1
        assert "extra_fields" not in columns_of(db, ["job"])["job"]


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "notes.jsonl.ledger"
    with closing(sqlite3.connect(place)) as db:
        db.execute("CREATE TABLE theirs (a)")
    theirs = place.read_bytes()
    with pytest.raises(LedgerError, match="another program"):
        SqliteLedger(place, lambda: STARTED / 1000)
    assert place.read_bytes() == theirs
