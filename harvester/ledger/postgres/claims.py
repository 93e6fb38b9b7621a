"""Claims of a fleet: taking jobs under a lease, sending them, giving them back, losing them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from harvester.ledger.postgres.transaction import Row, Transaction, lock, text_of
from harvester.ledger.schema import IS_CHARGED, LOST
from harvester.model import Job
from harvester.rules.budget import Limits, Spent, calls_allowed, is_reached

# In seconds: while others hold claims, and while a job is locked by another's transaction.
_ASK_AGAIN, _SOON = 1.0, 0.05
_UNLIMITED = Limits()
_COLUMNS = (
    "job.seq, job.note_id, job.attempts, job.run, job.tries_collection, job.tries_server,"
    " job.tries_unanswered, job.carried, job.due"
)
_IS_FREE = "NOT EXISTS (SELECT FROM claim WHERE claim.seq = job.seq)"
_FIND = f"""
WITH due AS (
    SELECT {_COLUMNS} FROM job WHERE state = 0 AND due <= %(now)s AND {_IS_FREE}
    ORDER BY due, seq LIMIT %(limit)s FOR UPDATE OF job SKIP LOCKED
), new AS (
    SELECT {_COLUMNS} FROM job WHERE state = 0 AND due IS NULL AND seq > %(frontier)s AND {_IS_FREE}
    ORDER BY seq LIMIT %(limit)s - (SELECT count(*) FROM due) FOR UPDATE OF job SKIP LOCKED
)
SELECT * FROM due UNION ALL SELECT * FROM new ORDER BY due NULLS LAST, seq
"""
# What another host claimed and committed while jobs were looked for is found by the conflict.
_CLAIM = (
    "INSERT INTO claim (seq, token, until, run) SELECT seq, %s, %s, %s"
    " FROM unnest(%s::bigint[]) AS found (seq) ON CONFLICT (seq) DO NOTHING RETURNING seq"
)
_NEXT = f"""
SELECT (SELECT due FROM job WHERE state = 0 AND due IS NOT NULL AND {_IS_FREE}
        ORDER BY due LIMIT 1),
    EXISTS (SELECT FROM claim WHERE run <> %s),
    EXISTS (SELECT FROM job WHERE state = 0 AND due IS NULL AND {_IS_FREE})
"""
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
SELECT (SELECT count(*) FROM claim), calls.charged, calls.recorded, lost.calls, lost.unrecorded,
    (SELECT coalesce(sum(calls), 0)::bigint FROM activity
        WHERE {IS_CHARGED} AND minute >= %(minute)s)
    + (SELECT count(*) FROM unanswered WHERE sent_at >= %(moment)s AND how <> '{LOST}')
FROM calls, lost
"""
_LAPSED = (
    "SELECT seq, token, run, sent_at FROM claim WHERE until <= (SELECT now_ms())"
    " ORDER BY seq FOR UPDATE SKIP LOCKED"
)
_NAMED = "unnest(%s::bigint[], %s::bigint[]) AS named (seq, token)"
_HELD = (
    f"SELECT claim.seq, claim.token, claim.run, claim.sent_at FROM claim JOIN {_NAMED}"
    " USING (seq, token) ORDER BY claim.seq FOR UPDATE OF claim"
)


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


def claim(tx: Transaction, want: Want) -> tuple[list[Row], float | None, str | None]:
    """Claim jobs; gives their rows, when to ask again, and the name of a cap that is used up."""
    if want.caps.is_set:
        tx.ask(lock("caps"))
    _lapse(tx, want)
    room, reached = _room(tx, want)
    rows = _take(tx, replace(want, limit=room)) if room else []
    return rows, _delay(tx, want, len(rows), room), reached


def _lapse(tx: Transaction, want: Want) -> None:
    """Lose the claims whose leases have lapsed, but renew those of jobs still worked on."""
    rows = tx.ask(_LAPSED)
    if not rows:
        return
    names = {(row[0], row[1]) for row in rows}
    kept = {(job.seq, job.claim_id) for job in want.held} & names
    if kept:
        extend(tx, kept, want.lease)
    lose(tx, [row for row in rows if (row[0], row[1]) not in kept], "its lease lapsed")


def extend(tx: Transaction, names: Iterable[tuple[int, int]], lease: float) -> None:
    """Hold claims, by number and claim id, for so many seconds from now."""
    seqs, tokens = _columns(names)
    tx.do(
        f"UPDATE claim SET until = %s FROM {_NAMED}"
        " WHERE claim.seq = named.seq AND claim.token = named.token",
        (tx.now + round(lease * 1000), seqs, tokens),
    )


def lose(tx: Transaction, rows: Sequence[Row], how: str) -> int:
    """End claims nobody will record; those that were sent are unanswered. Gives how many.

    `rows` are number, claim id, run and moment of sending; their claims are locked.
    """
    if not rows:
        return 0
    seqs = [row[0] for row in rows]
    sent = [row for row in rows if row[3] is not None]
    tx.do("DELETE FROM claim WHERE seq = ANY(%s)", (seqs,))
    tx.do(
        "UPDATE job SET due = %s, attempts = attempts + named.sent"
        " FROM unnest(%s::bigint[], %s::int[]) AS named (seq, sent) WHERE job.seq = named.seq",
        (tx.now, seqs, [int(row[3] is not None) for row in rows]),
    )
    if sent:
        tx.do(
            "INSERT INTO unanswered (run, seq, sent_at, how, in_activity)"
            " SELECT run, seq, sent_at, %s, false"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS lost (run, seq, sent_at)",
            (text_of(how), *([row[n] for row in sent] for n in (2, 0, 3))),
        )
    return len(sent)


def _room(tx: Transaction, want: Want) -> tuple[int, str | None]:
    """How many jobs may be claimed, and the name of a cap that is used up."""
    if not want.caps.is_set:
        return want.limit, None
    moment = round(want.caps.day_began() * 1000)
    values = {"run": tx.run, "minute": moment // 60_000, "moment": moment}
    ((outstanding, charged, recorded, lost, unrecorded, today),) = tx.ask(_USED, values)
    spent = Spent(charged, recorded + unrecorded, charged, lost, today)
    reached = is_reached(want.caps.limits, spent)
    # A call in flight is no call of `Spent` here: it is counted once it is recorded or lost.
    spent.calls += outstanding
    room = calls_allowed(want.caps.limits, spent, outstanding)
    return (want.limit if room is None else min(want.limit, room)), reached


def _take(tx: Transaction, want: Want) -> list[Row]:
    """Claim up to the limit; holes that dead hosts left before the frontier are looked for once."""
    rows: list[Row] = []
    until = tx.now + round(want.lease * 1000)
    for frontier in dict.fromkeys((want.frontier, 0)):
        values = {
            "now": tx.now,
            "limit": want.limit - len(rows),
            "frontier": frontier,
        }
        found = tx.ask(_FIND, values)
        seqs = [row[0] for row in found]
        taken = {seq for (seq,) in tx.ask(_CLAIM, (want.claim_id, until, tx.run, seqs))}
        rows += [row for row in found if row[0] in taken]
        if len(rows) == want.limit:
            break
    return rows


def _delay(tx: Transaction, want: Want, taken: int, room: int) -> float | None:
    """When to ask again, in seconds; None if nothing is queued but what this run holds."""
    if taken == want.limit:
        return 0.0
    if taken == room:
        return _ASK_AGAIN
    ((due, others_claim, new),) = tx.ask(_NEXT, (tx.run,))
    delays = [_ASK_AGAIN] * others_claim + [_SOON] * new
    if due is not None:
        delays.append((due - tx.now) / 1000 if due > tx.now else _SOON)
    return min(delays, default=None)


def job_of(row: Row, claim_id: int, run: int) -> Job:
    """A claimed job of a run."""
    seq, note_id, attempts, tried_in, collection, server, unanswered, extra, _ = row
    failures = (collection, server, unanswered) if tried_in == run else (0, 0, 0)
    return Job(seq, note_id, claim_id, attempts, failures, extra)


def frontier_of(rows: Sequence[Row], before: int) -> int:
    """The highest number of a new job that was claimed."""
    return max((row[0] for row in rows if row[8] is None), default=before)


def held(tx: Transaction, jobs: Sequence[Job]) -> list[Row]:
    """Lock the claims that still hold; gives number, claim id, run and moment of sending."""
    return tx.ask(_HELD, names_of(jobs))


def names_of(jobs: Sequence[Job]) -> tuple[list[int], list[int]]:
    """Numbers and claim ids in the order in which all lock them."""
    return _columns((job.seq, job.claim_id) for job in jobs)


def _columns(names: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    ordered = sorted(names)
    return [name[0] for name in ordered], [name[1] for name in ordered]


def mark_sent(
    tx: Transaction, jobs: Sequence[Job], lease: float, tokens: Sequence[str]
) -> list[int]:
    """Send claimed jobs, unless a stop for all or for each of the API tokens is recorded.

    Jobs that a stop keeps here go back at once: who asked takes none of them for its own any more.
    """
    rows = tx.ask(
        f"UPDATE claim SET sent_at = now_ms(), until = now_ms() + %s FROM {_NAMED}"
        " WHERE claim.seq = named.seq AND claim.token = named.token AND NOT EXISTS ("
        "SELECT FROM stop WHERE session = (SELECT session FROM run WHERE id = %s)"
        " AND token_fp = ANY(%s) HAVING bool_or(token_fp = '') OR count(*) = %s)"
        " RETURNING claim.seq",
        (
            round(lease * 1000),
            *names_of(jobs),
            tx.run,
            ["", *tokens],
            max(1, len(tokens)),
        ),
    )
    if not rows:
        release(tx, jobs)
    return [row[0] for row in rows]


def release(tx: Transaction, jobs: Sequence[Job]) -> None:
    """Give claimed jobs back unsent."""
    rows = held(tx, jobs)
    lose(tx, [(*row[:3], None) for row in rows], "")


def abandon(tx: Transaction, jobs: Sequence[Job], how: str) -> None:
    """Give sent jobs back whose answers will not be awaited."""
    lose(tx, held(tx, jobs), how)
