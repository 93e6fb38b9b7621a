"""Reads a ledger for people and programs, also while a run is writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harvester.errors import LedgerError, UsageError
from harvester.ledger.keys import from_key, to_key
from harvester.ledger.schema import NEWEST
from harvester.ledger.sqlite import NO_CODE
from harvester.model import Counts, State


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as the ledger knows it; times are Unix seconds, `by_code` None is no answer."""

    started_at: float
    finished_at: float | None
    reason: str | None
    exit_code: int | None
    by_code: dict[int | None, int]


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that was given up."""

    note_id: str
    state: State
    code: int | None
    reason: str
    attempts: int


class LedgerReader:
    """Read-only queries; open one with `reading`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def meta(self) -> dict[str, str | int]:
        """What the ledger was told of itself: endpoint, simulated."""
        return dict(self._db.execute("SELECT key, value FROM meta"))

    def counts(self, now: float) -> Counts:
        """Jobs by state; waiting for a moment after `now` (Unix seconds)."""
        jobs = dict(self._db.execute("SELECT state, jobs FROM tally"))
        moment = round(now * 1000)
        waiting = self._one("SELECT count(*) FROM job WHERE state = 0 AND due > ?", moment)
        claimed = self._one("SELECT count(*) FROM claim")
        return Counts(jobs[0], waiting, claimed, jobs[1], jobs[2], jobs[3])

    def next_due(self, now: float) -> float | None:
        """When the next waiting job is due, in Unix seconds."""
        row = self._db.execute(
            "SELECT min(due) FROM job WHERE state = 0 AND due > ?", (round(now * 1000),)
        ).fetchone()
        return None if row[0] is None else row[0] / 1000

    def charged(self, since: float = 0) -> int:
        """Calls charged since a moment in Unix seconds."""
        return self._one(
            "SELECT coalesce(sum(calls), 0) FROM activity WHERE code = 0 AND minute >= ?",
            int(since) // 60,
        )

    def unanswered(self) -> int:
        """Calls that may have been charged without an answer, in all runs."""
        return self._one("SELECT count(*) FROM unanswered")

    def _one(self, query: str, *values: int) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        by_code: dict[int, dict[int | None, int]] = {}
        for run, code, calls in self._db.execute(
            "SELECT run, code, sum(calls) FROM activity GROUP BY run, code ORDER BY code"
        ):
            by_code.setdefault(run, {})[None if code == NO_CODE else code] = calls
        return [
            RunRow(started / 1000, finished and finished / 1000, reason, code, by_code.get(run, {}))
            for run, started, finished, reason, code in self._db.execute(
                "SELECT id, started_at, finished_at, reason, exit_code FROM run ORDER BY id"
            )
        ]

    def failures(self) -> Iterator[FailedJob]:
        """All jobs that were given up, in input order."""
        for key, state, code, reason, attempts in self._db.execute(
            "SELECT note_id, state, code, reason, attempts FROM job WHERE state >= 2 ORDER BY seq"
        ):
            yield FailedJob(from_key(key), State(state), code, reason or "", attempts)

    def line_of(self, note_id: str) -> tuple[State, int | None, int] | None:
        """A job's state, where its current line ends in OUTPUT, and how many lines it has."""
        row = self._db.execute(
            "SELECT state, line_end, lines FROM job WHERE note_id = ?", (to_key(note_id),)
        ).fetchone()
        return None if row is None else (State(row[0]), row[1], row[2])

    def length(self) -> int:
        """How many bytes of OUTPUT the ledger vouches for."""
        return self._one("SELECT length FROM output")

    def expected_lines(self) -> tuple[int, int]:
        """How many jobs have a line in OUTPUT, and how many lines there should be."""
        row = self._db.execute(
            "SELECT count(*), coalesce(sum(lines), 0) FROM job WHERE lines > 0"
        ).fetchone()
        return row[0], row[1]

    def known(self, note_ids: list[str]) -> dict[str, State]:
        """The states of those note ids that the ledger knows."""
        found = {}
        for note_id in note_ids:
            row = self.line_of(note_id)
            if row is not None:
                found[note_id] = row[0]
        return found


@contextmanager
def reading(path: Path) -> Iterator[LedgerReader]:
    """A reader of the ledger at a path; raises UsageError, LedgerError."""
    if not path.exists():
        raise UsageError(
            f"there is no ledger {path}: name the OUTPUT of an earlier run, in the right folder."
        )
    try:
        uri = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != NEWEST:
                raise LedgerError(
                    f"{path} has schema {version}, this harvester reads {NEWEST}: "
                    "upgrade harvester, or start a run to bring an older ledger up to date."
                )
            yield LedgerReader(db)
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error}.") from error
