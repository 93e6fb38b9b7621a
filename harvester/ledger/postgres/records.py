"""Records outcomes in one transaction: states, calls by minute, latencies, what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harvester.ledger.postgres.claims import held
from harvester.ledger.postgres.transaction import Transaction, text_of
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.schema import code_of
from harvester.model import Outcome, State
from harvester.rules.latency import bucket_of

# A note saved before has a line already, which is older from here on.
_SAVE = """
WITH saved AS (
    SELECT * FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::int[])
    AS saved (seq, attempts, fetched_at, line_end, code)
), displaced AS (
    INSERT INTO older (part, seq, lines, fetched_at, line_end)
    SELECT job.part, job.seq, 1, job.fetched_at, job.line_end FROM job JOIN saved USING (seq)
    WHERE job.lines > 0 AND job.part IS NOT NULL
    ON CONFLICT (seq, part) DO UPDATE
    SET lines = older.lines + 1, fetched_at = excluded.fetched_at, line_end = excluded.line_end
)
UPDATE job SET state = 1, due = NULL, attempts = saved.attempts, run = NULL, code = saved.code,
    reason = NULL, fetched_at = saved.fetched_at, line_end = saved.line_end, lines = lines + 1,
    part = %s
FROM saved WHERE job.seq = saved.seq
"""
_LEAVE = """
UPDATE job SET state = other.state, due = other.due, attempts = other.attempts, run = %s,
    tries_collection = other.collection, tries_server = other.server,
    tries_unanswered = other.unanswered, code = other.code, reason = other.reason
FROM unnest(%s::bigint[], %s::smallint[], %s::bigint[], %s::int[], %s::int[], %s::int[], %s::int[],
    %s::int[], %s::text[])
AS other (seq, state, due, attempts, collection, server, unanswered, code, reason)
WHERE job.seq = other.seq
"""


def record(
    tx: Transaction, outcomes: Sequence[Outcome], ends: Sequence[int], checkpoint: Checkpoint
) -> set[tuple[int, int]]:
    """Commit outcomes whose claims still hold; gives their jobs' numbers and claim ids.

    Where a save came late, nothing is vouched for: its line would be lost to whoever looks for
    lines to adopt, were this host to die before it adopts it.
    """
    end_of = dict(zip((_name(o) for o in outcomes if o.state is State.DONE), ends, strict=True))
    rows = held(tx, [outcome.job for outcome in outcomes])
    seqs, holding = [row[0] for row in rows], {(row[0], row[1]) for row in rows}
    good = [o for o in sorted(outcomes, key=_name) if _name(o) in holding]
    if holding.issuperset(end_of):
        tx.checkpoint(checkpoint)
    if good:
        tx.later("DELETE FROM claim WHERE seq = ANY(%s)", (seqs,))
        _save(tx, [o for o in good if o.state is State.DONE], end_of)
        _leave(tx, [o for o in good if o.state is not State.DONE])
        moves: Counter[State] = Counter(o.state for o in good)
        del moves[State.QUEUED]
        moves[State.QUEUED] = -sum(moves.values())
        tx.shift(moves)
        _count_calls(tx, good)
    return holding


def _name(outcome: Outcome) -> tuple[int, int]:
    """Number and claim id: a job may be claimed anew while a call of an older claim is out."""
    return outcome.job.seq, outcome.job.claim_id


def _save(tx: Transaction, saves: Sequence[Outcome], end_of: Mapping[tuple[int, int], int]) -> None:
    if saves:
        tx.later(
            _SAVE,
            (
                [o.job.seq for o in saves],
                [o.job.attempts + 1 for o in saves],
                [round(o.fetched_at * 1000) for o in saves],
                [end_of[_name(o)] for o in saves],
                [o.code if o.is_empty else None for o in saves],
                tx.part,
            ),
        )


def _leave(tx: Transaction, others: Sequence[Outcome]) -> None:
    """Write what is queued again or given up."""
    if not others:
        return
    now = tx.now
    columns: Iterable[tuple[object, ...]] = (
        (
            o.job.seq,
            int(o.state),
            now + round(o.delay * 1000) if o.state is State.QUEUED else None,
            o.job.attempts + o.attempted,
            *o.failures_by_cause,
            o.code,
            text_of(o.reason),
        )
        for o in others
    )
    tx.later(_LEAVE, (tx.run, *map(list, zip(*columns, strict=True))))
    lost = [o for o in others if o.unanswered]
    if lost:
        tx.later(
            "INSERT INTO unanswered (run, seq, sent_at, how, in_activity)"
            " SELECT %s, seq, sent_at, how, true"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS lost (seq, sent_at, how)",
            (
                tx.run,
                [o.job.seq for o in lost],
                [now - round(o.elapsed * 1000) for o in lost],
                [text_of(o.reason) for o in lost],
            ),
        )


def _count_calls(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    minute = tx.now // 60_000
    calls: Counter[int] = Counter()
    elapsed: Counter[int] = Counter()
    for outcome in outcomes:
        code = code_of(outcome)
        calls[code] += 1
        elapsed[code] += round(outcome.elapsed * 1000)
    add_activity(tx, tx.run, [(minute, code, calls[code], elapsed[code]) for code in calls])
    buckets = Counter(bucket_of(o.elapsed) for o in outcomes if o.code is not None)
    if buckets:
        tx.later(
            "INSERT INTO latency SELECT %s, %s, * FROM unnest(%s::int[], %s::bigint[])"
            " ON CONFLICT (run, minute, bucket) DO UPDATE SET calls = latency.calls"
            " + excluded.calls",
            (tx.run, minute, list(buckets), list(buckets.values())),
        )
    tx.later(
        "INSERT INTO backlog SELECT %s, %s, jobs FROM tally WHERE state = 0"
        " ON CONFLICT (run, minute) DO UPDATE SET queued = excluded.queued",
        (tx.run, minute),
    )


def add_activity(tx: Transaction, run: int, rows: Sequence[tuple[int, int, int, int]]) -> None:
    """Count calls: minute, code, how many, and how long they took in milliseconds."""
    if rows:
        tx.later(
            "INSERT INTO activity SELECT %s, * FROM unnest(%s::bigint[], %s::int[], %s::bigint[],"
            " %s::bigint[]) ON CONFLICT (run, minute, code) DO UPDATE SET"
            " calls = activity.calls + excluded.calls,"
            " elapsed_ms = activity.elapsed_ms + excluded.elapsed_ms",
            (run, *map(list, zip(*rows, strict=True))),
        )
