"""What comes of calls, as the tests of both ledgers record it."""

from __future__ import annotations

from harvester.ledger.protocol import Checkpoint, FoundLine, Ledger
from harvester.model import Job, Outcome, State

NOW = 1_700_000_040.0  # a whole minute
LEASE = 100.0
LINE = b"{}\n"


def save(job: Job, at: float = NOW) -> Outcome:
    return Outcome(job, State.DONE, 0, "saved", line=LINE, fetched_at=at)


def again(
    job: Job, delay: float = 0.0, failures_by_cause: tuple[int, int, int] = (1, 0, 0)
) -> Outcome:
    return Outcome(
        job,
        State.QUEUED,
        301,
        "collection failed",
        failures_by_cause=failures_by_cause,
        delay=delay,
    )


def slow(job: Job) -> Outcome:
    return Outcome(
        job,
        State.QUEUED,
        302,
        "slow down",
        failures_by_cause=job.failures_by_cause,
        attempted=False,
    )


def give_up(job: Job, state: State = State.REJECTED) -> Outcome:
    return Outcome(job, state, 404, "not found", failures_by_cause=job.failures_by_cause)


def timed_out(job: Job) -> Outcome:
    failures = (0, 0, 1)
    return Outcome(job, State.QUEUED, None, "timeout", failures_by_cause=failures, unanswered=True)


def record(ledger: Ledger, *outcomes: Outcome, start: int = 0) -> list[Outcome]:
    """Record outcomes; their lines end 3, 6, ... bytes behind the start in OUTPUT."""
    saves = sum(outcome.line is not None for outcome in outcomes)
    ends = [start + 3 * (number + 1) for number in range(saves)]
    return ledger.record(outcomes, ends, Checkpoint(start + 3 * saves, LINE))


def found(note_id: str, attempts: int = 1, at: float = NOW, end: int = 3) -> FoundLine:
    return FoundLine(note_id, attempts, at, end)
