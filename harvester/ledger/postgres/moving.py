"""Brings the ledger of an OUTPUT into a fleet's as a part, and lets a fleet's harvest leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg.types.json import Jsonb

from harvester.errors import UsageError
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.moving import HISTORY, NOTES, Moving
from harvester.ledger.postgres.adoption import forget_lines
from harvester.ledger.postgres.connection import session
from harvester.ledger.postgres.runs import refuse_left
from harvester.ledger.postgres.transaction import TALLIED, Row, Transaction, lock, text_of

_ROOM = """
CREATE TEMP TABLE moved (LIKE job INCLUDING DEFAULTS, PRIMARY KEY (note_id), UNIQUE (seq))
ON COMMIT DROP
"""
# What was paid for here is called for nowhere else any more, unless a call is out.
_OVERTAKE = """
DELETE FROM claim USING job JOIN moved USING (note_id)
WHERE claim.seq = job.seq AND moved.lines > 0 AND sent_at IS NULL
"""
# What nobody here has tried yet is as far as it has come there.
_MEET = """
UPDATE job SET state = moved.state, due = moved.due, code = moved.code, reason = moved.reason
FROM moved WHERE job.note_id = moved.note_id AND job.state <> 1 AND (moved.lines > 0
    OR job.attempts = 0 AND NOT EXISTS (SELECT FROM claim WHERE claim.seq = job.seq))
"""
_FILL = """
UPDATE job SET attempts = greatest(job.attempts, moved.attempts),
    extra_fields = coalesce(job.extra_fields, moved.extra_fields)
FROM moved WHERE job.note_id = moved.note_id
"""
_ADD = """
INSERT INTO job (seq, note_id) SELECT last.seq + row_number() OVER (ORDER BY moved.seq), note_id
FROM moved, (SELECT coalesce(max(seq), 0) AS seq FROM job) AS last
ON CONFLICT (note_id) DO NOTHING
"""
# Their calls are counted as charged, their lines are yet to be read.
_OWE = """
INSERT INTO line (seq, part, is_there)
SELECT job.seq, %(part)s, false FROM moved JOIN job USING (note_id), generate_series(1, moved.lines)
"""
_TALLY = f"""
WITH moved AS (
    SELECT state, count(*) AS jobs FROM job GROUP BY state
    UNION ALL SELECT state, -jobs FROM tally
), {TALLIED}
SELECT FROM moved
"""
PROGRESS = """
SELECT (SELECT count(*) FROM member WHERE alive_until > now_ms()), (SELECT sum(op) FROM part),
    (SELECT jsonb_object_agg(state, jobs) FROM tally)
"""
_RENUMBER = """
UPDATE unanswered SET seq = job.seq FROM moved JOIN job USING (note_id)
WHERE unanswered.run BETWEEN %s AND %s AND unanswered.seq = moved.seq
"""


def bring_in(tx: Transaction, moving: Moving) -> None:
    """Take in all that a ledger of its own held of the part, but for its lines.

    Those are to be read anew. Its runs are numbered below all others, since they were before them.
    """
    refuse_left(tx)
    tx.ask(lock("jobs"))
    tx.ask(_ROOM)
    _copy(tx, "moved", NOTES, moving.notes())
    for step in (_OVERTAKE, _ADD, _MEET, _FILL, _OWE, _TALLY):
        tx.ask(step, {"part": tx.part, "run": tx.run})
    _add_history(tx, moving)
    forget_lines(tx)


def _add_history(tx: Transaction, moving: Moving) -> None:
    first, last = moving.runs()
    ((lowest,),) = tx.ask("SELECT least(min(id), 1) FROM run")
    down = lowest - 1 - last
    for table, columns in HISTORY.items():
        more: dict[str, dict[str, object]] = {
            "run": {"part": tx.part, "session": 0},
            "unanswered": {"in_activity": True},
        }
        also = more.get(table, {})
        rows = ((run + down, *rest, *also.values()) for run, *rest in moving.history(table))
        _copy(tx, table, ", ".join((columns, *also)), rows)
    tx.ask("UPDATE run SET session = id WHERE part = %s", (tx.part,))
    tx.ask(_RENUMBER, (first + down, last + down))


def _copy(tx: Transaction, table: str, columns: str, rows: Iterable[Row]) -> None:
    query = f"COPY {table} ({columns}) FROM STDIN"
    with tx.db.cursor() as cursor, cursor.copy(query.encode()) as copy:
        for row in rows:
            copy.write_row([text_of(cell) if isinstance(cell, str) else cell for cell in row])


def progress_of(rows: Iterator[Row], harvest: str) -> Row:
    """How far a harvest has come, of what `PROGRESS` asks; if it is the same, nothing has changed.

    Raises UsageError while hosts are at it.
    """
    alive, *rest = next(rows)
    if alive:
        raise UsageError(
            f"the harvest {harvest} goes on: end the runs of all its hosts ({alive} live), fetch "
            "their parts, and try again."
        )
    return tuple(rest)


def leave_fleet(fleet: FleetAddress, progress: Row, place: str) -> None:
    """Let a harvest go on at a place from now on, if it is as it was at `progress`.

    Raises UsageError, LedgerError, LocalIOError.
    """
    with session(fleet, "harvester leave") as db, db.transaction():
        db.execute(lock("session").encode())
        if progress_of(db.execute(PROGRESS.encode()), fleet.harvest) != progress:
            raise UsageError(f"the harvest {fleet.harvest} has gone on meanwhile: try again.")
        db.execute(
            "INSERT INTO meta VALUES ('left', %s) ON CONFLICT (key) DO UPDATE"
            " SET value = excluded.value",
            (Jsonb(place),),
        )
