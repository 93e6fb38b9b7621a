"""Runs of a part, and the session they share with runs of other parts at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import asdict

from harvester.errors import UsageError
from harvester.ledger.postgres.claims import IS_STOPPED, lose
from harvester.ledger.postgres.transaction import Row, Transaction, lock
from harvester.ledger.protocol import RunRequest, StartedRun

# A run counts as alive for so long (ms) before its first heartbeat.
_UNTIL_FIRST_BEAT = 10_000
# Claims of all runs of a part.
OF_PART = "run IN (SELECT id FROM run WHERE part = %(part)s)"
_LEFT = "SELECT value FROM meta WHERE key = 'left'"
_AT_LATEST = """
UPDATE job SET due = latest.at FROM (SELECT now_ms() + %(delay)s AS at) AS latest
WHERE state = 0 AND due > latest.at
"""
# Who is told to stop drains yet, or waits for the day: who begins now asks anew.
_BEGIN = f"""
WITH others AS (
    SELECT session FROM member WHERE NOT {IS_STOPPED.format(session="member.session")}
    ORDER BY run DESC LIMIT 1
), begun AS (
    INSERT INTO run (id, started_at, rate, daily_cap, part, session) OVERRIDING SYSTEM VALUE
    SELECT id, now_ms(), %(rate)s, %(daily_cap)s, %(part)s, coalesce(session, id)
    FROM nextval(pg_get_serial_sequence('run', 'id')) AS new (id) LEFT JOIN others ON true
    RETURNING id, part, session
)
INSERT INTO member (run, part, session, alive_until)
SELECT id, part, session, now_ms() + {_UNTIL_FIRST_BEAT} FROM begun RETURNING run, session
"""


def begin_run(
    tx: Transaction, longest_delay: float, request: RunRequest, tokens: Sequence[str] = ()
) -> StartedRun:
    """Begin a run; tells calls found unanswered, and whether others are alive.

    The part's earlier runs are dead, since its file is locked; of others only lapsed leases are.
    """
    begin = {**asdict(request), "part": tx.part, "tokens": list(tokens)}
    _, left, lost, _, _, begun = tx.ask_all(
        (lock("session"), ()),
        (_LEFT, ()),
        (lose(OF_PART), {"part": tx.part, "how": "the run ended"}),
        (_AT_LATEST, {"delay": round(longest_delay * 1000)}),
        ("DELETE FROM member WHERE part = %s OR alive_until <= now_ms()", (tx.part,)),
        (_BEGIN, begin),
    )
    _check_not_left(left.fetchall())
    ((unanswered,),), ((run, session),) = lost.fetchall(), begun.fetchall()
    return StartedRun(run, unanswered, session != run)


def refuse_left(tx: Transaction) -> None:
    """Raise UsageError for a harvest that goes on elsewhere; holds its runs' lock."""
    _, left = tx.ask_all((lock("session"), ()), (_LEFT, ()))
    _check_not_left(left.fetchall())


def _check_not_left(rows: Sequence[Row]) -> None:
    for (place,) in rows:
        raise UsageError(
            f"this harvest has left the database, and goes on as {place}: run with that --output, "
            "without --ledger; here its notes would be paid for again."
        )


def finish_run(
    tx: Transaction,
    reason: str,
    exit_code: int,
    bad_lines: int = 0,
    bad_example: str | None = None,
) -> None:
    """Write down why the run ended; it is no member any more.

    A stop can cut a claim's answer short, so that nobody knows of what it took: it goes back. What
    was sent and is not recorded keeps its claim, since OUTPUT may hold its line.
    """
    tx.later(lose("run = %(run)s AND sent_at IS NULL"), {"run": tx.run, "how": ""})
    tx.later(
        "UPDATE run SET finished_at = now_ms(), reason = %s, exit_code = %s, bad_lines = %s,"
        " bad_example = %s"
        " WHERE id = %s",
        (reason, exit_code, bad_lines, bad_example, tx.run),
    )
    tx.later("DELETE FROM member WHERE run = %s", (tx.run,))
