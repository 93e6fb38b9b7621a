"""From a verdict to what is recorded: done, requeued with a delay, or failed."""

from __future__ import annotations

from collections.abc import Callable

from harvester.model import Answer, Fault, Job, Judgement, Outcome, State, Verdict
from harvester.rules.backoff import RetryLimits, backoff_delay, failures_after, is_exhausted


def saved(job: Job, answer: Answer, judgement: Judgement, line: bytes, at: float) -> Outcome:
    """The outcome of a save: its line, fetched at a moment in Unix seconds."""
    return Outcome(
        job,
        State.DONE,
        judgement.code,
        judgement.reason,
        line=line,
        fetched_at=at,
        elapsed=answer.elapsed,
        is_empty=judgement.is_empty,
        release=answer.release,
    )


def unsaved(
    job: Job,
    answer: Answer,
    judgement: Judgement,
    limits: RetryLimits,
    jitter: Callable[[], float],
    unread: bytes | None = None,
) -> Outcome:
    """The outcome of any other verdict; only a retry and a reject cost an attempt."""
    state, delay, failures_by_cause = State.QUEUED, 0.0, job.failures_by_cause
    if judgement.verdict is Verdict.REJECT:
        state = State.REJECTED
    elif judgement.cause is not None and answer.fault is not Fault.CLOSED:
        failures_by_cause = failures_after(job, judgement.cause)
        # What is too long to be kept may be paid for, and would be so again.
        if is_exhausted(job, judgement.cause, limits) or answer.fault is Fault.TOO_LARGE:
            state = State.EXHAUSTED
        else:
            delay = backoff_delay(sum(failures_by_cause), limits, jitter)
    return Outcome(
        job,
        state,
        judgement.code,
        judgement.reason,
        failures_by_cause=failures_by_cause,
        attempted=judgement.verdict in (Verdict.RETRY, Verdict.REJECT)
        and answer.fault is not Fault.CLOSED,
        unanswered=judgement.unanswered,
        closed=answer.fault in (Fault.CLOSED, Fault.RESET),
        delay=delay,
        elapsed=answer.elapsed,
        unread=unread,
        release=answer.release,
    )
