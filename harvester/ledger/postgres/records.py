"""Records outcomes in one statement: states, calls by minute, latencies, what is left."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.ledger.postgres.transaction import TALLIED, Later, Transaction, text_of
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.sql import OVERTAKEN, code_of
from harvester.model import Outcome, State
from harvester.rules.latency import bucket_of

# A note saved before has a line already, which is not current any more. Where a save came late,
# nothing is vouched for: its line would be lost to whoever looks for lines to adopt, were this host
# to die before it adopts it. What an earlier try whose answer was lost has recorded is no late one.
# A save whose note was done meanwhile, by a line that another host adopted, is as late: it is
# unanswered until its line is adopted.
_RECORD = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(seq)s::bigint[], %(claim_id)s::bigint[], %(state)s::smallint[],
        %(delay)s::bigint[], %(attempts)s::int[], %(collection)s::int[], %(server)s::int[],
        %(unanswered)s::int[], %(code)s::int[], %(reason)s::text[], %(fetched_at)s::bigint[],
        %(line_end)s::bigint[], %(is_lost)s::boolean[], %(elapsed)s::bigint[],
        %(counted)s::int[], %(bucket)s::int[])
    AS given (seq, claim_id, state, delay, attempts, collection, server, unanswered, code, reason,
        fetched_at, line_end, is_lost, elapsed, counted, bucket)
), held AS MATERIALIZED (
    SELECT given.*, sent_at, job.state = 1 AS is_done FROM claim JOIN given USING (seq, claim_id)
    JOIN job USING (seq) ORDER BY seq FOR UPDATE OF claim, job
), good AS MATERIALIZED (SELECT * FROM held WHERE NOT (is_done AND state = 1)),
moment AS MATERIALIZED (SELECT now_ms() AS ms), gone AS (
    DELETE FROM claim USING held WHERE claim.seq = held.seq
), overtaken AS (
    INSERT INTO unanswered (run, seq, sent_at, how, in_activity)
    SELECT %(run)s, seq, coalesce(sent_at, ms), '{OVERTAKEN}', false
    FROM held, moment WHERE is_done AND state = 1
), written AS (
    INSERT INTO line (seq, fetched_at, part, line_end, is_empty)
    SELECT seq, fetched_at, %(part)s, line_end, code IS NOT NULL FROM good WHERE state = 1
    ON CONFLICT (seq, fetched_at) DO UPDATE SET part = excluded.part, line_end = excluded.line_end,
        is_there = true
), known AS (
    UPDATE job SET state = good.state, attempts = good.attempts, code = good.code,
        reason = good.reason, due = CASE WHEN good.state = 0 THEN ms + delay END,
        run = CASE WHEN good.state <> 1 THEN %(run)s END, failures_collection = collection,
        failures_server = server, failures_unanswered = unanswered,
        fetched_at = coalesce(good.fetched_at, job.fetched_at),
        line_end = coalesce(good.line_end, job.line_end),
        part = CASE WHEN good.state = 1 THEN %(part)s ELSE part END,
        lines = lines + (good.state = 1)::int
    FROM good, moment WHERE job.seq = good.seq AND NOT is_done
), lost AS (
    INSERT INTO unanswered (run, seq, sent_at, how, in_activity)
    SELECT %(run)s, seq, ms - elapsed, reason, true FROM good, moment WHERE is_lost
), moved AS (
    SELECT state, 1 AS jobs FROM good WHERE state <> 0 AND NOT is_done
    UNION ALL SELECT 0, -1 FROM good WHERE state <> 0 AND NOT is_done
), {TALLIED}, counted AS (
    INSERT INTO activity SELECT %(run)s, ms / 60000, counted, count(*), sum(elapsed)::bigint
    FROM good, moment GROUP BY ms, counted
    ON CONFLICT (run, minute, code) DO UPDATE SET calls = activity.calls + excluded.calls,
        elapsed_ms = activity.elapsed_ms + excluded.elapsed_ms
), timed AS (
    INSERT INTO latency SELECT %(run)s, ms / 60000, bucket, count(*)
    FROM good, moment WHERE bucket IS NOT NULL GROUP BY ms, bucket
    ON CONFLICT (run, minute, bucket) DO UPDATE SET calls = latency.calls + excluded.calls
), left_over AS (
    INSERT INTO backlog SELECT %(run)s, ms / 60000, (SELECT jobs FROM tally WHERE state = 0)
        - (SELECT count(*) FROM good WHERE state <> 0 AND NOT is_done)
    FROM moment WHERE EXISTS (SELECT FROM good)
    ON CONFLICT (run, minute) DO UPDATE SET queued = excluded.queued
), vouched AS (
    UPDATE part SET length = %(length)s, tail = %(tail)s WHERE id = %(part)s
    AND (SELECT count(*) FROM given WHERE state = 1) = (SELECT count(*) FROM good WHERE state = 1)
)
SELECT seq, claim_id FROM good
UNION SELECT given.seq, given.claim_id FROM given JOIN job USING (seq)
WHERE %(is_again)s AND job.state = given.state AND job.attempts = given.attempts
AND CASE given.state WHEN 1 THEN part = %(part)s AND job.line_end = given.line_end
    ELSE run = %(run)s END
"""


def record(
    tx: Transaction, outcomes: Sequence[Outcome], ends: Sequence[int], checkpoint: Checkpoint
) -> Later:
    """Commit outcomes whose claims still hold; gives their jobs' numbers and claim ids."""
    end = iter(ends)
    columns = {
        "seq": [o.job.seq for o in outcomes],
        "claim_id": [o.job.claim_id for o in outcomes],
        "state": [int(o.state) for o in outcomes],
        "delay": [round(o.delay * 1000) for o in outcomes],
        "attempts": [o.job.attempts + (o.state is State.DONE or o.attempted) for o in outcomes],
        "collection": [o.failures_by_cause[0] for o in outcomes],
        "server": [o.failures_by_cause[1] for o in outcomes],
        "unanswered": [o.failures_by_cause[2] for o in outcomes],
        "code": [o.code if o.state is not State.DONE or o.is_empty else None for o in outcomes],
        "reason": [None if o.state is State.DONE else text_of(o.reason) for o in outcomes],
        "fetched_at": [
            round(o.fetched_at * 1000) if o.state is State.DONE else None for o in outcomes
        ],
        "line_end": [next(end) if o.state is State.DONE else None for o in outcomes],
        "is_lost": [o.unanswered and o.state is not State.DONE for o in outcomes],
        "elapsed": [round(o.elapsed * 1000) for o in outcomes],
        "counted": [code_of(o) for o in outcomes],
        "bucket": [None if o.code is None else bucket_of(o.elapsed) for o in outcomes],
    }
    known = {"length": checkpoint.length, "tail": checkpoint.tail}
    return tx.later(
        _RECORD, {**columns, **known, "run": tx.run, "part": tx.part, "is_again": tx.is_again}
    )
