"""One transaction of one part: what it asks, what it will write, and its number, done once."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from harvester.ledger.postgres.connection import Connection
from harvester.ledger.protocol import Checkpoint

Row = tuple[Any, ...]
Values = Sequence[object] | Mapping[str, object]
# Nothing is written where another number has come in between: a part's must not be null.
_TURN = (
    "UPDATE part SET op = CASE op WHEN %s THEN %s END, synced = coalesce(%s, synced) WHERE id = %s"
)
# What a statement has `moved`, as states and how many jobs more are in each, is told to the tally.
TALLIED = """
tallied AS (
    INSERT INTO tally_of_run SELECT %(run)s, state, sum(jobs) FROM moved
    GROUP BY state HAVING sum(jobs) <> 0
    ON CONFLICT (run, state) DO UPDATE SET jobs = tally_of_run.jobs + excluded.jobs
)
"""
OutOfTurn = psycopg.errors.NotNullViolation
_UNKEPT = re.compile("[\0\ud800-\udfff]")


class Later:
    """A statement that goes with the commit, and the `rows` it has given by then."""

    def __init__(self, query: str, values: Values) -> None:
        self.query = query
        self.values = values
        self.rows: list[Row] = []


class Transaction:
    """A transaction that begins with its first question and ends with `commit`.

    One that has asked nothing takes a single exchange with the server. `part` and `run` are whose
    it is; its number in the part, `op`, is drawn above the `last` one, so that no two processes
    have the same. What is `synced` (bytes) of the part's file is written with it; `is_again` tells
    that it may have come through before. Raises psycopg.Error, `OutOfTurn` where another one came
    in between.
    """

    synced: int | None = None
    is_again = False

    def __init__(self, db: Connection, part: int, run: int, last: int) -> None:
        self.db = db
        self.part = part
        self.run = run
        self.op = last + 1 + secrets.randbits(32)
        self.has_asked = False
        self._last = last
        self._later: list[Later] = []

    def ask_all(self, *asked: tuple[str, Values]) -> list[psycopg.Cursor[Row]]:
        """Run statements at once, one after the other, in one exchange; gives what came of each."""
        with self.db.pipeline():
            if not self.has_asked:
                self.db.execute("BEGIN")
            self.has_asked = True
            return [self.db.execute(query.encode(), values) for query, values in asked]

    def ask(self, query: str, values: Values = ()) -> list[Row]:
        """Run a statement at once; gives its rows."""
        return rows_of(self.ask_all((query, values))[0])

    def later(self, query: str, values: Values = ()) -> Later:
        """Run a statement with the commit, in one exchange with the server."""
        self._later.append(Later(query, values))
        return self._later[-1]

    def later_rows(self, query: str, rows: Iterable[Row], *before: object) -> None:
        """Run a statement with the commit that takes rows as columns, if there are any."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        if columns:
            self.later(query, (*before, *columns))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Vouch for so much of the part's file."""
        update = "UPDATE part SET length = %s, tail = %s WHERE id = %s"
        self.later(update, (checkpoint.length, checkpoint.tail, self.part))

    def commit(self) -> None:
        """Write what was to be written later, take the turn, and commit."""
        turn = _TURN, (self._last, self.op, self.synced, self.part)
        given = ((later.query, later.values) for later in self._later)
        *done, _, _ = self.ask_all(*given, turn, ("COMMIT", ()))
        for later, cursor in zip(self._later, done, strict=True):
            later.rows = rows_of(cursor)


def rows_of(cursor: psycopg.Cursor[Row]) -> list[Row]:
    """The rows that a statement gave, none where it can give none."""
    return cursor.fetchall() if cursor.description else []


def text_of(text: str) -> str:
    """Text from outside as PostgreSQL can keep it."""
    return _UNKEPT.sub("\ufffd", text)


def lock(name: str) -> str:
    """The query that holds one of the harvest's locks until the transaction ends."""
    return f"SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' {name}', 0))"
