"""Records outcomes: the jobs they move on, the calls by minute, the latencies, what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harvester.ledger.sql import code_of
from harvester.ledger.sqlite.store import Store
from harvester.model import Outcome, State
from harvester.rules.latency import bucket_of


def write_saves(store: Store, outcomes: Sequence[Outcome], end_of: dict[int, int]) -> None:
    """Make the saves among them done; `end_of` are where their lines end, by job."""
    store.db.executemany(
        "UPDATE job SET state = 1, due = NULL, attempts = ?, run = NULL, code = ?,"
        " reason = NULL, fetched_at = ?, line_end = ?, lines = lines + 1 WHERE seq = ?",
        (
            (
                o.job.attempts + 1,
                o.code if o.is_empty else None,
                round(o.fetched_at * 1000),
                end_of[o.job.seq],
                o.job.seq,
            )
            for o in outcomes
            if o.state is State.DONE
        ),
    )


def write_others(store: Store, outcomes: Sequence[Outcome]) -> None:
    """Requeue or give up what was not saved, and keep the calls that may be charged."""
    now = store.now()
    store.db.executemany(
        "UPDATE job SET state = ?, due = ?, attempts = ?, run = ?, failures_collection = ?,"
        " failures_server = ?, failures_unanswered = ?, code = ?, reason = ? WHERE seq = ?",
        (
            (
                o.state,
                now + round(o.delay * 1000) if o.state is State.QUEUED else None,
                o.job.attempts + o.attempted,
                store.run,
                *o.failures_by_cause,
                o.code,
                o.reason,
                o.job.seq,
            )
            for o in outcomes
            if o.state is not State.DONE
        ),
    )
    store.db.executemany(
        "INSERT INTO unanswered (run, seq, sent_at, how) VALUES (?, ?, ?, ?)",
        (
            (store.run, o.job.seq, now - round(o.elapsed * 1000), o.reason)
            for o in outcomes
            if o.unanswered
        ),
    )


def count_calls(store: Store, outcomes: Sequence[Outcome]) -> None:
    """Count answers by code and by latency, and what is left, all in the minute that it is."""
    minute = store.now() // 60_000
    calls: Counter[int] = Counter()
    elapsed: Counter[int] = Counter()
    for outcome in outcomes:
        code = code_of(outcome)
        calls[code] += 1
        elapsed[code] += round(outcome.elapsed * 1000)
    add_activity(store, ((store.run, minute, code, calls[code], elapsed[code]) for code in calls))
    buckets = Counter(bucket_of(o.elapsed) for o in outcomes if o.code is not None)
    store.db.executemany(
        "INSERT INTO latency VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET calls = calls + excluded.calls",
        ((store.run, minute, bucket, many) for bucket, many in buckets.items()),
    )
    store.db.execute(
        "INSERT OR REPLACE INTO backlog SELECT ?, ?, jobs FROM tally WHERE state = 0",
        (store.run, minute),
    )


def add_activity(store: Store, rows: Iterator[tuple[int, int, int, int, int]]) -> None:
    """Count calls: run, minute, code, how many, and how long they took in milliseconds."""
    store.db.executemany(
        "INSERT INTO activity VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " calls = calls + excluded.calls, elapsed_ms = elapsed_ms + excluded.elapsed_ms",
        rows,
    )
