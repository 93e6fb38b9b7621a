"""Reads a fleet's ledger as one part of it sees it: its own lines, current and older ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harvester.ledger.keys import from_key
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.reader import ExpectedLines, KnownJob, LedgerReader
from harvester.model import State

if TYPE_CHECKING:
    from harvester.ledger.postgres.reading import FleetReader

# In each job, `line_end` and `lines` are those of this part alone.
_JOBS = """
SELECT note_id, job.seq, state, CASE WHEN job.part = {part} THEN job.line_end END,
    CASE WHEN job.part = {part} THEN 1 ELSE 0 END + coalesce(older.lines, 0),
    job.fetched_at, attempts
FROM job LEFT JOIN older ON older.seq = job.seq AND older.part = {part}
WHERE note_id = ANY(?)
"""
_EXPECTED = """
SELECT count(line_end), count(*) - count(line_end), sum(CASE WHEN line_end IS NULL THEN seq END)
FROM job WHERE part = {part} AND lines > 0
"""
_OLDER = "SELECT sum(lines), sum(lines * seq) FROM older WHERE part = {part}"


class PartView(LedgerReader):
    """A reader of one part; `reader` was opened for the part of this UUID.

    A note has only the lines here that this part should hold; those of other parts are not known.
    """

    def __init__(self, reader: FleetReader, uuid: str) -> None:
        super().__init__(reader._db, reader._path)  # noqa: SLF001 - one room, and one snapshot
        self._fleet = reader
        row = self._db.execute("SELECT id FROM part WHERE uuid = ?", (uuid,)).fetchone()
        # Numbers begin with 1: of a part that the ledger does not know, it knows no line.
        self._part = 0 if row is None else int(row[0])

    def require_index(self) -> None:
        """Nothing: the index on note ids is always there."""

    def checkpoint(self) -> Checkpoint:
        """How much of the part the ledger vouches for."""
        return self._fleet.checkpoint()

    def newest_length(self) -> int:
        """How many bytes of the part the ledger vouches for by now, also within a snapshot."""
        return self._fleet.newest_length()

    def job_of(self, note_id: str) -> KnownJob | None:
        """What is known of a note and its lines in this part."""
        return self.jobs_of([note_id]).get(note_id)

    def jobs_of(self, note_ids: Sequence[str]) -> dict[str, KnownJob]:
        """The same of several notes, asked for at once."""
        rows = self._db.execute(_JOBS.format(part=self._part), (list(note_ids),))
        return {
            note_id: KnownJob(
                seq,
                State(state),
                line_end,
                lines,
                None if fetched_at is None else fetched_at / 1000,
                attempts,
            )
            for note_id, seq, state, line_end, lines, fetched_at, attempts in rows
        }

    def expected_lines(self) -> ExpectedLines:
        """How many lines the part should hold."""
        ((current, unplaced, unplaced_sum),) = self._db.execute(_EXPECTED.format(part=self._part))
        ((older, older_sum),) = self._db.execute(_OLDER.format(part=self._part))
        last_seq = self._one("SELECT coalesce(max(seq), 0) FROM job")
        return ExpectedLines(
            current, unplaced + (older or 0), (unplaced_sum or 0) + (older_sum or 0), last_seq
        )

    def placed_lines(self) -> Iterator[tuple[int, str]]:
        """The number and note id of each job whose current line has a known place in this part."""
        for seq, key in self._db.execute(
            f"SELECT seq, note_id FROM job WHERE part = {self._part} AND line_end IS NOT NULL"
            " ORDER BY seq"
        ):
            yield seq, from_key(key)
