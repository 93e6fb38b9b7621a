"""Claims of a fleet: taking jobs under a lease, sending them, giving them back, losing them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from harvester.ledger.postgres.transaction import Later, Row, Transaction, lock, text_of
from harvester.ledger.protocol import Claimed, Sent
from harvester.ledger.sql import IS_CHARGED, JOB_COLUMNS, LOST, job_of
from harvester.model import Job
from harvester.rules.budget import Limits, Spent, is_reached
from harvester.rules.turns import Allotted, Turn, Turns

# In seconds: while others hold claims, and while a job is locked by another's transaction.
_ASK_AGAIN, _SOON = 1.0, 0.05
_UNLIMITED = Limits()
_COLUMNS = f"{JOB_COLUMNS}, job.due"
# By its key: where there were no claims of late, a join of all with all is thought to be cheap.
_IS_FREE = "(SELECT true FROM claim WHERE claim.seq = job.seq) IS NULL"
# One statement, so that a call is counted either as claimed or as used.
_USED = f"""
WITH session AS (SELECT id FROM run WHERE session = (SELECT session FROM run WHERE id = %(run)s)),
calls AS (
    SELECT coalesce(sum(calls) FILTER (WHERE {IS_CHARGED}), 0)::bigint AS charged,
        coalesce(sum(calls), 0)::bigint AS recorded
    FROM activity WHERE run IN (SELECT id FROM session)
), lost AS (
    SELECT count(*) AS calls, count(*) FILTER (WHERE NOT in_activity) AS unrecorded
    FROM unanswered WHERE run IN (SELECT id FROM session) AND how <> '{LOST}'
)
SELECT (SELECT count(*) FROM claim) AS outstanding, calls.charged,
    calls.recorded + lost.unrecorded AS calls, lost.calls AS lost,
    (SELECT coalesce(sum(calls), 0)::bigint FROM activity
        WHERE {IS_CHARGED} AND minute >= %(minute)s)
    + (SELECT count(*) FROM unanswered WHERE sent_at >= %(moment)s AND how <> '{LOST}') AS today
FROM calls, lost
"""
# A call in flight may yet be charged: it counts as rules/budget.py has it.
_ROOM = f"""
SELECT charged, calls, lost, today, greatest(0, least(%(limit)s,
    %(max_notes)s::bigint - charged - outstanding,
    %(max_calls)s::bigint - calls - outstanding,
    %(max_charged)s::bigint - charged - lost - outstanding,
    %(max_charged_daily)s::bigint - today - outstanding)) AS jobs
FROM ({_USED}) AS used
"""
_NO_CAPS = "SELECT 0, 0, 0, 0, %(limit)s::bigint AS jobs"
# What another host claimed and committed while jobs were looked for is found by the conflict. Where
# the answer of an earlier try was lost, what that one took is given, too.
_TAKE = f"""
WITH room AS MATERIALIZED ({{room}}), before AS MATERIALIZED (
    SELECT {_COLUMNS} FROM claim JOIN job USING (seq) WHERE claim.claim_id = %(claim_id)s
), wanted AS MATERIALIZED (
    SELECT greatest(0, jobs - (SELECT count(*) FROM before)) AS jobs FROM room
), due AS MATERIALIZED (
    SELECT {_COLUMNS} FROM job
    WHERE state = 0 AND due <= (SELECT now_ms()) AND {_IS_FREE}
    ORDER BY due, seq LIMIT (SELECT jobs FROM wanted) FOR UPDATE OF job SKIP LOCKED
), new AS MATERIALIZED (
    SELECT {_COLUMNS} FROM job WHERE state = 0 AND due IS NULL AND seq > %(frontier)s AND {_IS_FREE}
    ORDER BY seq LIMIT (SELECT jobs FROM wanted) - (SELECT count(*) FROM due)
    FOR UPDATE OF job SKIP LOCKED
), found AS (SELECT * FROM due UNION ALL SELECT * FROM new), taken AS (
    INSERT INTO claim (seq, claim_id, until, run)
    SELECT seq, %(claim_id)s, now_ms() + %(lease)s, %(run)s FROM found
    ON CONFLICT (seq) DO NOTHING RETURNING seq
)
SELECT room.*, claimed.* FROM (
    SELECT found.* FROM found JOIN taken USING (seq) UNION ALL SELECT * FROM before
) AS claimed RIGHT JOIN room ON true ORDER BY due NULLS LAST, seq
"""
# When to ask again, in seconds.
_NEXT = f"""
SELECT least(
    (SELECT greatest({_SOON}, (due - now_ms()) / 1000.0) FROM job
        WHERE state = 0 AND due IS NOT NULL AND {_IS_FREE} ORDER BY due LIMIT 1),
    CASE WHEN EXISTS (SELECT FROM claim WHERE run <> %s) THEN {_ASK_AGAIN} END,
    CASE WHEN EXISTS (SELECT FROM job WHERE state = 0 AND due IS NULL AND {_IS_FREE})
        THEN {_SOON} END
)::float8
"""
_NAMED = "unnest(%(seqs)s::bigint[], %(ids)s::bigint[]) AS named (seq, claim_id)"
_IS_NAMED = f"(seq, claim_id) IN (SELECT seq, claim_id FROM {_NAMED})"
# Claims that nobody will record; those that were sent are unanswered.
_LOSE = """
WITH lost AS MATERIALIZED (
    SELECT seq, run, {sent_at} AS sent_at FROM claim WHERE {where} ORDER BY seq FOR UPDATE {skip}
), gone AS (
    DELETE FROM claim USING lost WHERE claim.seq = lost.seq
), back AS (
    UPDATE job SET due = (SELECT now_ms()), attempts = attempts + (lost.sent_at IS NOT NULL)::int
    FROM lost WHERE job.seq = lost.seq
), unanswered AS (
    INSERT INTO unanswered (run, seq, sent_at, how, in_activity)
    SELECT run, seq, sent_at, %(how)s, false FROM lost WHERE sent_at IS NOT NULL
)
SELECT count(sent_at) FROM lost
"""
_EXTEND = f"UPDATE claim SET until = now_ms() + %(lease)s WHERE {_IS_NAMED}"
# In this session, a stop is recorded for all, or for each of the tokens named.
IS_STOPPED = """
EXISTS (SELECT FROM standing WHERE standing.session = {session}
    AND token_fp = ANY(%(tokens)s::text[] || ARRAY[''])
    HAVING bool_or(token_fp = '') OR count(*) = greatest(1, cardinality(%(tokens)s::text[])))
"""
# Nothing is sent after that. The first of the claims that hold get the turns there are; the others
# are not sent, also where an earlier try of which the answer was lost had sent them. Moments are an
# interval apart, and no turn has one before it is free.
_SEND = f"""
WITH held AS MATERIALIZED (
    SELECT seq FROM claim WHERE {_IS_NAMED}
    AND NOT {IS_STOPPED.format(session="(SELECT session FROM run WHERE id = %(run)s)")}
    ORDER BY seq FOR UPDATE
), known AS MATERIALIZED (
    SELECT greatest(next, now_ms() + %(lead)s) AS first, now_ms() + %(ahead)s AS latest,
        CASE cardinality(turns) WHEN %(calls)s THEN turns
            ELSE array_fill(0::float8, ARRAY[%(calls)s::int]) END AS turns
    FROM pace WHERE token_fp = %(token)s AND rate = %(rate)s
), kept AS MATERIALIZED (
    SELECT kept.n, coalesce(used.free, kept.free) AS free
    FROM known, unnest(turns) WITH ORDINALITY AS kept (free, n)
    LEFT JOIN unnest(%(numbers)s::int[], %(latest)s::float8[], %(free)s::float8[])
        AS used (n, latest, free) ON used.n = kept.n
        AND abs(latest + %(period)s - kept.free) < 1
), turn AS MATERIALIZED (
    SELECT n, nth, nth * %(interval)s + max(greatest(free - nth * %(interval)s, first))
        OVER (ORDER BY nth) AS at
    FROM known, (SELECT n, free, row_number() OVER (ORDER BY free, n) - 1 AS nth FROM kept)
        AS ordered
), going AS MATERIALIZED (
    SELECT seq, n, at
    FROM (SELECT seq, row_number() OVER (ORDER BY seq) - 1 AS nth FROM held) AS numbered
    JOIN turn USING (nth) WHERE at <= (SELECT latest FROM known)
), paced AS (
    UPDATE pace SET next = coalesce((SELECT max(at) FROM going) + %(interval)s, next), turns = (
        SELECT array_agg(coalesce(at + %(period)s + %(late)s, free) ORDER BY n)
        FROM kept LEFT JOIN going USING (n))
    WHERE token_fp = %(token)s AND rate = %(rate)s
), sent AS (
    UPDATE claim SET sent_at = CASE WHEN n IS NOT NULL THEN now_ms() END,
        until = CASE WHEN n IS NULL THEN until ELSE now_ms() + %(lease)s END
    FROM held LEFT JOIN going USING (seq) WHERE claim.seq = held.seq
)
SELECT held.seq, going.n, going.at, coalesce(
    (SELECT min(at) FROM turn WHERE nth >= (SELECT count(*) FROM going)),
    (SELECT max(at) + %(interval)s FROM going))
FROM held LEFT JOIN going USING (seq) ORDER BY held.seq
"""


class Caps(Struct, frozen=True):
    """What the fleet's session must not use more of; `day_began` gives Unix seconds."""

    limits: Limits = _UNLIMITED
    day_began: Callable[[], float] = lambda: 0.0

    @property
    def is_set(self) -> bool:
        """Whether there is any limit on calls."""
        return self.limits != _UNLIMITED


class Want(Struct, frozen=True):
    """A claim to be made, named by `claim_id`; new jobs are looked for behind `frontier`."""

    limit: int
    lease: float
    claim_id: int
    held: Collection[Job]
    frontier: int
    caps: Caps


def claim(tx: Transaction, want: Want) -> tuple[Later, Later]:
    """Claim jobs; what leases have lapsed are lost, but those of jobs still worked on renewed.

    Gives what was taken, and when to ask again, for `claimed_of`.
    """
    moment = round(want.caps.day_began() * 1000)
    values = {
        **_named(want.held),
        **asdict(want.caps.limits),
        "run": tx.run,
        "claim_id": want.claim_id,
        "lease": round(want.lease * 1000),
        "limit": want.limit,
        "frontier": want.frontier,
        "minute": moment // 60_000,
        "moment": moment,
        "how": "its lease lapsed",
    }
    if want.caps.is_set:
        tx.later(lock("caps"))
    has_lapsed = "until <= (SELECT now_ms())"
    if want.held:
        tx.later(f"{_EXTEND} AND {has_lapsed}", values)
    tx.later(lose(f"{has_lapsed} AND NOT {_IS_NAMED}", skip="SKIP LOCKED"), values)
    room = _ROOM if want.caps.is_set else _NO_CAPS
    taken = tx.later(_TAKE.format(room=room), values)
    return taken, tx.later(_NEXT, (tx.run,))


def claimed_of(
    want: Want, run: int, taken: Sequence[Row], asked: Sequence[Row]
) -> tuple[Claimed, int]:
    """What came of a claim, and behind what number new jobs are looked for next.

    Of a cap that is used up, the name is told. Holes are looked for at the end.
    """
    charged, calls, lost, today, room = taken[0][:5]
    rows = [row[5:] for row in taken if row[5] is not None]
    delay, frontier = asked[0][0], 0
    if len(rows) >= want.limit:
        new = (row[0] for row in rows if row[-1] is None)
        delay, frontier = 0.0, max(new, default=want.frontier)
    elif len(rows) >= room:
        delay = _ASK_AGAIN
    reached = is_reached(want.caps.limits, Spent(charged, calls, charged, lost, today))
    jobs = [job_of(row[:-1], want.claim_id, run) for row in rows]
    return Claimed(jobs, delay, reached), frontier


def extend(tx: Transaction, jobs: Sequence[Job], lease: float) -> None:
    """Hold claims for so many seconds from now."""
    tx.later(_EXTEND, {**_named(jobs), "lease": round(lease * 1000)})


def lose(where: str, *, sent_at: str = "sent_at", skip: str = "") -> str:
    """A statement that ends claims nobody will record, as `how`; gives how many were sent.

    Those are unanswered. `sent_at` is SQL for when each was, `skip` for what to do of locked ones.
    """
    return _LOSE.format(where=where, sent_at=sent_at, skip=skip)


def _named(jobs: Iterable[Job]) -> dict[str, object]:
    """Numbers and claim ids in the order in which all lock them."""
    ordered = sorted((job.seq, job.claim_id) for job in jobs)
    return {"seqs": [name[0] for name in ordered], "ids": [name[1] for name in ordered]}


def mark_sent(tx: Transaction, jobs: Sequence[Job], lease: float, turns: Turns) -> Later:
    """Send claimed jobs, as far as there are turns, unless a stop is recorded."""
    times = ("period", "interval", "lead", "ahead", "late")
    values = {
        **_named(jobs),
        **asdict(turns),
        **{name: getattr(turns, name) * 1000 for name in times},
        "run": tx.run,
        "lease": round(lease * 1000),
        "tokens": [turns.token],
        "numbers": [turn.number for turn, _ in turns.used],
        "latest": [turn.latest * 1000 for turn, _ in turns.used],
        "free": [free * 1000 for _, free in turns.used],
    }
    # In a statement of its own: what comes after it sees what was committed meanwhile.
    tx.later("SELECT FROM pace WHERE token_fp = %(token)s FOR UPDATE", values)
    return tx.later(_SEND, values)


def sent_of(rows: Sequence[Row], jobs: Sequence[Job], turns: Turns) -> Sent:
    """What came of sending jobs."""
    given = {seq: Turn(n, at / 1000, at / 1000 + turns.late) for seq, n, at, _ in rows if n}
    kept = {seq for seq, *_ in rows} - given.keys()
    free_at = next((free / 1000 for *_, free in rows if free is not None), None)
    return Sent(
        [job for job in jobs if job.seq in given],
        [job for job in jobs if job.seq in kept],
        Allotted(list(given.values()), free_at),
    )


def release(tx: Transaction, jobs: Sequence[Job]) -> None:
    """Give claimed jobs back unsent."""
    tx.later(lose(_IS_NAMED, sent_at="NULL::bigint"), {**_named(jobs), "how": ""})


def abandon(tx: Transaction, jobs: Sequence[Job], how: str) -> None:
    """Give sent jobs back whose answers will not be awaited."""
    tx.later(lose(_IS_NAMED), {**_named(jobs), "how": text_of(how)})
