"""Runs of a part, and the session they share with runs of other parts at the same time."""

from __future__ import annotations

from harvester.ledger.postgres.claims import lose
from harvester.ledger.postgres.work import Work, lock
from harvester.ledger.protocol import Asked, Opening

# A run counts as alive for so long (ms) before its first heartbeat.
_UNTIL_FIRST_BEAT = 10_000


def begin_run(work: Work, longest_delay: float, asked: Asked) -> Opening:
    """Begin a run; tells calls found unanswered, and whether others are alive.

    The part's earlier runs are dead, since its file is locked; of others only lapsed leases are.
    """
    work.ask(lock("session"))
    mine = work.ask(
        "SELECT seq, token, run, sent_at FROM claim WHERE run IN"
        " (SELECT id FROM run WHERE part = %s) ORDER BY seq FOR UPDATE",
        (work.part,),
    )
    unanswered = lose(work, mine, "the run ended")
    latest = work.now + round(longest_delay * 1000)
    work.do("UPDATE job SET due = %s WHERE state = 0 AND due > %s", (latest, latest))
    work.do("DELETE FROM member WHERE part = %s OR alive_until <= %s", (work.part, work.now))
    session = work.ask("SELECT session FROM member ORDER BY run DESC LIMIT 1")
    ((run,),) = work.ask(
        "INSERT INTO run (started_at, rate, daily_cap, part, session)"
        " VALUES (%s, %s, %s, %s, 0) RETURNING id",
        (work.now, asked.rate, asked.daily_cap, work.part),
    )
    joins = session[0][0] if session else run
    work.later("UPDATE run SET session = %s WHERE id = %s", (joins, run))
    work.later(
        "INSERT INTO member VALUES (%s, %s, %s, %s)",
        (run, work.part, joins, work.now + _UNTIL_FIRST_BEAT),
    )
    work.later("UPDATE part SET rebuilding = false WHERE id = %s", (work.part,))
    return Opening(run, unanswered, bool(session))


def finish_run(work: Work, reason: str, exit_code: int, bad_lines: int = 0) -> None:
    """Write down why the run ended; it is no member any more.

    A stop can cut a claim's answer short, so that nobody knows of what it took: it goes back. What
    was sent and is not recorded keeps its claim, since OUTPUT may hold its line.
    """
    unsent = work.ask(
        "SELECT seq, token, run, sent_at FROM claim WHERE run = %s AND sent_at IS NULL"
        " ORDER BY seq FOR UPDATE",
        (work.run,),
    )
    lose(work, unsent, "")
    work.later(
        "UPDATE run SET finished_at = %s, reason = %s, exit_code = %s, bad_lines = %s"
        " WHERE id = %s",
        (work.now, reason, exit_code, bad_lines, work.run),
    )
    work.later("DELETE FROM member WHERE run = %s", (work.run,))
