"""Enrols long inputs fast: rows are appended without the index on note ids, which is built after.

In random order the index meets a page of it that is in no cache for each id: at ten million, 56,000
to 86,000 ids a second where appending and then building it does 260,000 (measured with SQLite
alone). Until it is built again, only jobs that stood in it are sure to be no repeats, and only
those are given out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

# So many new ids go straight in, so that there is work for minutes while the rest is read.
BULK_AFTER = 200_000
# With a longer ledger, building the index again costs more than it saves.
_LONGEST = 2_000_000
_NOT_ON = 2**63 - 1
_INDEX = "CREATE UNIQUE INDEX job_by_note ON job (note_id)"


class Bulk:
    """Whether the index is there, kept in the ledger itself; call it within a transaction.

    `last_sure` is the highest sequence number whose job is no repeat of another.
    """

    def __init__(
        self, db: sqlite3.Connection, straight: int = BULK_AFTER, longest: int = _LONGEST
    ) -> None:
        self._db = db
        self._longest = longest
        self._straight = straight
        self._added = 0
        row = db.execute("SELECT value FROM meta WHERE key = 'last_sure'").fetchone()
        self.last_sure: int = row[0] if row else _NOT_ON

    @property
    def is_on(self) -> bool:
        """Whether rows are appended without the index."""
        return self.last_sure != _NOT_ON

    def add(self, keys: Sequence[tuple[bytes | str]]) -> int:
        """Add jobs; gives how many are new, as far as can be told."""
        what = "INSERT INTO job (note_id) VALUES (?)"
        if not self.is_on:
            what += " ON CONFLICT (note_id) DO NOTHING"
        added = self._db.executemany(what, keys).rowcount if keys else 0
        self._added += added
        return added

    def begin(self) -> None:
        """Go without the index from here, if that is worth it."""
        if self.is_on or self._added < self._straight:
            return
        (last,) = self._db.execute("SELECT max(seq) FROM job").fetchone()
        self._added = 0
        if last > self._longest:
            return
        self._db.execute("INSERT INTO meta VALUES ('last_sure', ?)", (last,))
        self._db.execute("DROP INDEX job_by_note")
        self.last_sure = last

    def end(self) -> int:
        """Build the index; gives how many repeats there were, which are gone."""
        repeats = 0
        try:
            self._db.execute(_INDEX)
        except sqlite3.IntegrityError:
            repeats = self._remove_repeats()
            self._db.execute(_INDEX)
        self._db.execute("DELETE FROM meta WHERE key = 'last_sure'")
        self.last_sure = _NOT_ON
        self._added = 0
        return repeats

    def _remove_repeats(self) -> int:
        """Of jobs with the same note id, the first stays: it alone may have been claimed."""
        return self._db.execute(
            "DELETE FROM job WHERE seq IN (SELECT seq FROM (SELECT seq,"
            " note_id = lag(note_id) OVER (ORDER BY note_id, seq) AS is_repeat FROM job)"
            " WHERE is_repeat)"
        ).rowcount
