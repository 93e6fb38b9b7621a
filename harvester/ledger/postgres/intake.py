"""What puts jobs into the queue: an input's pages, a refresh, failed ones tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harvester.ledger.postgres.transaction import Transaction, lock, text_of
from harvester.ledger.protocol import Enrolled
from harvester.ledger.sql import IS_EMPTY, NO_CODE
from harvester.model import State

_ROOM = (
    'CREATE TEMP TABLE IF NOT EXISTS named (n bigint, note_id text COLLATE "C", extra_fields text)'
    " ON COMMIT DELETE ROWS"
)
_REFRESH = (
    "UPDATE job SET state = 0, due = %s FROM named WHERE job.note_id = named.note_id"
    " AND job.state = 1 AND job.fetched_at < %s"
)
# Only who holds the lock adds jobs, so numbers follow the input, and known ones use none up.
_ADD = """
INSERT INTO job (seq, note_id, extra_fields)
SELECT last.seq + n, note_id, extra_fields
FROM named, (SELECT coalesce(max(seq), 0) AS seq FROM job) AS last
ORDER BY n ON CONFLICT (note_id) DO NOTHING
"""
_FILL = (
    "UPDATE job SET extra_fields = named.extra_fields FROM named WHERE job.note_id = named.note_id"
    " AND job.state = 0 AND named.extra_fields IS NOT NULL"
    " AND job.extra_fields IS DISTINCT FROM named.extra_fields"
)
_FILL_OTHERWISE = f"{_FILL} AND job.extra_fields IS NOT NULL"
_REQUEUE = """
WITH picked AS MATERIALIZED (
    SELECT seq, state FROM job WHERE {} ORDER BY seq FOR UPDATE
), moved AS (
    UPDATE job SET state = 0, due = %s, run = NULL FROM picked WHERE job.seq = picked.seq
    RETURNING picked.state
)
SELECT state, count(*) FROM moved GROUP BY state
"""


def enrol(
    tx: Transaction,
    ids: Sequence[str],
    refresh_before: float | None,
    extra_fields: Mapping[str, str],
) -> Enrolled:
    """Add note ids; see `Ledger.enrol`."""
    refreshed = 0
    tx.do(_ROOM)
    with (
        tx.db.cursor() as cursor,
        cursor.copy("COPY named (n, note_id, extra_fields) FROM STDIN") as copy,
    ):
        for n, note_id in enumerate(ids, 1):
            text = extra_fields.get(note_id)
            copy.write_row((n, note_id, None if text is None else text_of(text)))
    tx.ask(lock("jobs"))
    if refresh_before is not None:
        refreshed = tx.do(_REFRESH, (tx.now, round(refresh_before * 1000)))
    added = tx.do(_ADD)
    differed = 0
    if extra_fields:
        differed = tx.do(_FILL_OTHERWISE)
        tx.later(_FILL)
    tx.shift(Counter({State.QUEUED: added + refreshed, State.DONE: -refreshed}))
    return Enrolled(added, refreshed, differed)


def refresh(tx: Transaction, before: float) -> int:
    """Queue again all that is done and older; gives how many."""
    many = tx.do(
        "UPDATE job SET state = 0, due = %s WHERE state = 1 AND fetched_at < %s",
        (tx.now, round(before * 1000)),
    )
    tx.shift(Counter({State.QUEUED: many, State.DONE: -many}))
    return many


def retry(
    tx: Transaction, states: Sequence[State], codes: Sequence[int], ids: Sequence[str]
) -> int:
    """Queue failed jobs again; empty `codes` or `ids` mean any. Gives how many."""
    where = [IS_EMPTY if State.DONE in states else "state >= 2", "state = ANY(%s)"]
    values: list[object] = [[int(state) for state in states]]
    if codes:
        where.append(f"coalesce(code, {NO_CODE}) = ANY(%s)")
        values.append(list(codes))
    if ids:
        where.append("note_id = ANY(%s)")
        values.append(list(ids))
    return _requeue(tx, " AND ".join(where), values)


def requeue(tx: Transaction, seqs: Sequence[int]) -> int:
    """Queue failed jobs again, by their numbers; gives how many."""
    return _requeue(tx, "state >= 2 AND seq = ANY(%s)", [list(seqs)])


def _requeue(tx: Transaction, where: str, values: Sequence[object]) -> int:
    rows = tx.ask(_REQUEUE.format(where), (*values, tx.now))
    moves = Counter({State(state): -many for state, many in rows})
    total = -sum(moves.values())
    moves[State.QUEUED] = total
    tx.shift(moves)
    return total
