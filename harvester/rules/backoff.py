"""When a failed attempt is tried again, and when a job is given up."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from harvester.model import Cause, Job

# 2**40 seconds outlast any cap; more would only risk overflow.
_MOST_DOUBLINGS = 40


class RetryLimits(Struct, frozen=True):
    """How often a job is tried in one run before it is given up as exhausted, and how fast.

    Between tries is exponential backoff with full jitter: `base` and `cap` in seconds.
    """

    max_attempts: int = 6
    max_unanswered: int = 2
    base: float = 1.0
    cap: float = 120.0


def backoff_delay(nth: int, limits: RetryLimits, jitter: Callable[[], float]) -> float:
    """Seconds to wait after the nth failure (from 1): full jitter under a doubling ceiling.

    `jitter` gives numbers from 0 up to 1, evenly spread.
    """
    ceiling = min(limits.cap, limits.base * 2.0 ** min(nth - 1, _MOST_DOUBLINGS))
    return ceiling * jitter()


def failures_after(job: Job, cause: Cause) -> tuple[int, int, int]:
    """The job's failures of this run, by cause, with one more."""
    collection, server, unanswered = job.failures_by_cause
    return (
        collection + (cause is Cause.COLLECTION),
        server + (cause is Cause.SERVER),
        unanswered + (cause is Cause.UNANSWERED),
    )


def is_exhausted(job: Job, cause: Cause, limits: RetryLimits) -> bool:
    """Whether one more failure of this cause uses up the job's budget for this run.

    Attempts of all causes count together. Of them the unanswered ones may have been charged, so of
    those fewer are allowed.
    """
    failures = failures_after(job, cause)
    return (
        sum(failures) >= limits.max_attempts or failures[Cause.UNANSWERED] > limits.max_unanswered
    )
