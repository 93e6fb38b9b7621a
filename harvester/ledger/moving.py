"""A harvest on its way from one ledger to another: its notes, its runs, and what they did.

No note goes along as done by a line at its place: lines are read anew where they come to, and until
they are, their notes are done, and their calls counted as charged.
"""

from __future__ import annotations

from collections.abc import Iterator

from harvester.ledger.keys import from_key
from harvester.ledger.reader import LedgerReader, Row

# Those that name a run do so first. A claim that nobody will record was sent, or is none.
_HISTORY = {
    "run": "SELECT id, started_at, finished_at, reason, exit_code, rate, daily_cap, bad_lines,"
    " balances, bad_example FROM run ORDER BY id",
    "activity": "SELECT run, minute, code, calls, elapsed_ms FROM activity",
    "latency": "SELECT run, minute, bucket, calls FROM latency",
    "backlog": "SELECT run, minute, queued FROM backlog",
    "unanswered": "SELECT run, seq, sent_at, how FROM unanswered UNION ALL"
    " SELECT claim_id >> 32, seq, sent_at, 'the run ended' FROM claim WHERE sent_at IS NOT NULL",
}
HISTORY = {
    table: query.removeprefix("SELECT ").partition(" FROM ")[0] for table, query in _HISTORY.items()
}
NOTES = "seq, note_id, state, due, attempts, code, reason, extra_fields, lines"
_NOTES = """
SELECT job.seq, note_id, CASE WHEN lines > 0 THEN 1 ELSE state END,
    CASE WHEN lines > 0 OR state <> 0 THEN NULL ELSE due END,
    attempts + CASE WHEN sent_at IS NULL THEN 0 ELSE 1 END, code, reason, extra_fields, lines
FROM job LEFT JOIN claim ON claim.seq = job.seq ORDER BY job.seq
"""
_IDENTITY = ("endpoint", "simulated")


class Moving:
    """All that is moved out of a ledger, as rows; those of one ledger fit into any other."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self.identity = {key: value for key, value in reader.meta().items() if key in _IDENTITY}

    def has_forgotten(self) -> bool:
        """Whether an OUTPUT's own ledger knows of notes that are never to be fetched again."""
        return any(self._reader.ask("SELECT 1 FROM forgotten LIMIT 1"))

    def notes(self) -> Iterator[Row]:
        """Rows of `NOTES`, in the order of the input."""
        for seq, key, *rest in self._reader.through(_NOTES):
            yield seq, from_key(key), *rest

    def history(self, table: str) -> Iterator[Row]:
        """Rows of one of the tables of `HISTORY`."""
        yield from self._reader.ask(_HISTORY[table])

    def runs(self) -> tuple[int, int]:
        """The numbers of the first and of the last run; no run, no numbers between them."""
        query = "SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM run"
        ((first, last),) = self._reader.ask(query)
        return first, last


def missing(reader: LedgerReader) -> int:
    """How many notes were paid for, and have no line in what was read anew."""
    return reader.one("SELECT count(*) FROM job WHERE state = 1 AND lines = 0")
