"""What puts jobs into the queue: an input's pages, a refresh, failed ones tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harvester.ledger.postgres.transaction import TALLIED, Transaction, lock, text_of
from harvester.ledger.protocol import Enrolled
from harvester.ledger.sql import IS_EMPTY, NO_CODE
from harvester.model import State

_NAMED = (
    "unnest(%(ids)s::text[], %(texts)s::text[]) WITH ORDINALITY AS named (note_id, extra_fields, n)"
)
_IS_OLDER = "state = 1 AND fetched_at < %(before)s"
# Only who holds the lock adds jobs, so numbers follow the input, and known ones use none up.
_ADD = f"""
WITH added AS (
    INSERT INTO job (seq, note_id, extra_fields)
    SELECT last.seq + n, note_id, extra_fields
    FROM {_NAMED}, (SELECT coalesce(max(seq), 0) AS seq FROM job) AS last
    ORDER BY n ON CONFLICT (note_id) DO NOTHING RETURNING seq
), moved AS (SELECT 0 AS state, count(*) AS jobs FROM added), {TALLIED}
SELECT count(*) FROM added
"""
# Gives how many were queued with others.
_FILL = f"""
WITH filled AS MATERIALIZED (
    SELECT seq, job.extra_fields AS before, named.extra_fields
    FROM job JOIN {_NAMED} USING (note_id)
    WHERE state = 0 AND job.extra_fields IS DISTINCT FROM named.extra_fields
    AND named.extra_fields IS NOT NULL ORDER BY seq FOR UPDATE OF job
), written AS (
    UPDATE job SET extra_fields = filled.extra_fields FROM filled WHERE job.seq = filled.seq
)
SELECT count(before) FROM filled
"""
_REQUEUE = f"""
WITH picked AS MATERIALIZED (
    SELECT seq, state FROM job WHERE {{}} ORDER BY seq FOR UPDATE
), written AS (
    UPDATE job SET state = 0, due = now_ms(), run = NULL FROM picked WHERE job.seq = picked.seq
), moved AS (
    SELECT state, -1 AS jobs FROM picked UNION ALL SELECT 0, 1 FROM picked
), {TALLIED}
SELECT count(*) FROM picked
"""


def enrol(
    tx: Transaction,
    ids: Sequence[str],
    refresh_before: float | None,
    extra_fields: Mapping[str, str],
) -> Enrolled:
    """Add note ids; see `Ledger.enrol`."""
    values: dict[str, object] = {
        "run": tx.run,
        "ids": list(ids),
        "texts": [text and text_of(text) for text in map(extra_fields.get, ids)],
        "before": refresh_before and round(refresh_before * 1000),
    }
    again = _REQUEUE.format(f"{_IS_OLDER} AND note_id = ANY(%(ids)s)")
    steps = ((query, values) for query in (again, _ADD, _FILL))
    _, *counted = tx.ask_all((lock("jobs"), ()), *steps)
    ((refreshed,),), ((added,),), ((differed,),) = (cursor.fetchall() for cursor in counted)
    return Enrolled(added, refreshed, differed)


def refresh(tx: Transaction, before: float) -> int:
    """Queue again all that is done and older; gives how many."""
    return _requeue(tx, _IS_OLDER, before=round(before * 1000))


def retry(
    tx: Transaction, states: Sequence[State], codes: Sequence[int], ids: Sequence[str]
) -> int:
    """Queue failed jobs again; empty `codes` or `ids` mean any. Gives how many."""
    where = [IS_EMPTY if State.DONE in states else "state >= 2", "state = ANY(%(states)s)"]
    if codes:
        where.append(f"coalesce(code, {NO_CODE}) = ANY(%(codes)s)")
    if ids:
        where.append("note_id = ANY(%(ids)s)")
    named = {"states": [int(state) for state in states], "codes": list(codes), "ids": list(ids)}
    return _requeue(tx, " AND ".join(where), **named)


def requeue(tx: Transaction, seqs: Sequence[int]) -> int:
    """Queue failed jobs again, by their numbers; gives how many."""
    return _requeue(tx, "state >= 2 AND seq = ANY(%(seqs)s)", seqs=list(seqs))


def _requeue(tx: Transaction, where: str, **values: object) -> int:
    _, picked = tx.ask_all((lock("jobs"), ()), (_REQUEUE.format(where), {"run": tx.run, **values}))
    return int(picked.fetchall()[0][0])
