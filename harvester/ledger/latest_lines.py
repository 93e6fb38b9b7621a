"""Finds the newest of the lines of each note among more lines than memory would hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import count

from harvester.errors import LocalIOError
from harvester.ledger.keys import to_key

_CACHE_KIB = 16_000
# In the order of notes a sort is enough; an index would meet another page of it for each line.
_NOT_NEWEST = """
SELECT line FROM (
    SELECT line, row_number() OVER (PARTITION BY note_id ORDER BY fetched_at DESC, line DESC) AS age
    FROM found
) WHERE age > 1 ORDER BY line
"""
_OLDEST_FIRST = "SELECT place, place FROM found ORDER BY fetched_at, line"
_FIRST_AND_NEWEST = """
SELECT first, place FROM (
    SELECT line, place, row_number() OVER newest AS age, last_value(place) OVER newest AS first
    FROM found WINDOW newest AS (
        PARTITION BY note_id ORDER BY fetched_at DESC, line DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
) WHERE age = 1 ORDER BY line
"""


class LatestLineIndex:
    """Lines numbered from 0 in the order they are added; open one with `latest_line_index`.

    It lies in nameless files of the system's folder for temporary ones, some 60 bytes a line, which
    are gone however the process ends.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._numbers = count()

    def add(self, lines: Iterable[tuple[str, int, int]]) -> None:
        """Add lines: the note id of each, when it was fetched in Unix milliseconds, its place."""
        self._db.executemany(
            "INSERT INTO found VALUES (?, ?, ?, ?)",
            # Lines first: what is taken before the other has ended is lost.
            (
                (number, to_key(note_id), fetched_at, place)
                for (note_id, fetched_at, place), number in zip(lines, self._numbers, strict=False)
            ),
        )

    def older(self) -> Iterator[int]:
        """The numbers of the lines whose note has a newer one, in order.

        Of those fetched at the same moment, the last one counts as the newest.
        """
        return (line for (line,) in self._db.execute(_NOT_NEWEST))

    def oldest_first(self) -> Iterator[tuple[int, int]]:
        """The place of each line, twice, in the order in which they were fetched."""
        return self._db.execute(_OLDEST_FIRST)

    def first_and_newest(self) -> Iterator[tuple[int, int]]:
        """The places of each note's first and newest line, in the order of the newest."""
        return self._db.execute(_FIRST_AND_NEWEST)


@contextmanager
def latest_line_index() -> Iterator[LatestLineIndex]:
    """A place to put lines in; raises LocalIOError where the disk fails."""
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            db.execute("CREATE TABLE found (line INTEGER PRIMARY KEY, note_id, fetched_at, place)")
            db.execute("BEGIN")
            yield LatestLineIndex(db)
    except sqlite3.Error as error:
        raise LocalIOError(
            f"no index of the lines can be kept in the folder for temporary files ({error}): make "
            "room there, or name another one in the environment variable TMPDIR, then try again."
        ) from error
