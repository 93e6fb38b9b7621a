"""What puts jobs into the queue: an input's pages, a refresh, failed ones tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harvester.ledger.postgres.transaction import Transaction, lock, text_of
from harvester.ledger.protocol import Enrolled
from harvester.ledger.sql import IS_EMPTY, NO_CODE
from harvester.model import State

_NAMED = (
    "unnest(%(ids)s::text[], %(texts)s::text[]) WITH ORDINALITY AS named (note_id, extra_fields, n)"
)
_REFRESH = (
    f"UPDATE job SET state = 0, due = now_ms() FROM {_NAMED} WHERE job.note_id = named.note_id"
    " AND job.state = 1 AND job.fetched_at < %(before)s"
)
# Only who holds the lock adds jobs, so numbers follow the input, and known ones use none up.
_ADD = f"""
INSERT INTO job (seq, note_id, extra_fields)
SELECT last.seq + n, note_id, extra_fields
FROM {_NAMED}, (SELECT coalesce(max(seq), 0) AS seq FROM job) AS last
ORDER BY n ON CONFLICT (note_id) DO NOTHING
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
_REQUEUE = """
WITH picked AS MATERIALIZED (
    SELECT seq, state FROM job WHERE {} ORDER BY seq FOR UPDATE
), moved AS (
    UPDATE job SET state = 0, due = now_ms(), run = NULL FROM picked WHERE job.seq = picked.seq
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
    values: dict[str, object] = {
        "ids": list(ids),
        "texts": [text and text_of(text) for text in map(extra_fields.get, ids)],
        "before": refresh_before and round(refresh_before * 1000),
    }
    steps = ((query, values) for query in (_REFRESH, _ADD, _FILL))
    _, refreshed, added, filled = tx.ask_all((lock("jobs"), ()), *steps)
    moves = {State.QUEUED: added.rowcount + refreshed.rowcount, State.DONE: -refreshed.rowcount}
    tx.shift(Counter(moves))
    return Enrolled(added.rowcount, refreshed.rowcount, filled.fetchall()[0][0])


def refresh(tx: Transaction, before: float) -> int:
    """Queue again all that is done and older; gives how many."""
    return _requeue(tx, "state = 1 AND fetched_at < %s", [round(before * 1000)])


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
    rows = tx.ask(_REQUEUE.format(where), values)
    moves = Counter({State(state): -many for state, many in rows})
    total = -sum(moves.values())
    moves[State.QUEUED] = total
    tx.shift(moves)
    return total
