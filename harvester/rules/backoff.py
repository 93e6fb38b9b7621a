"""When a failed attempt is tried again, and when a job is given up."""

from __future__ import annotations

from collections.abc import Callable

from harvester.model import Cause, Job
from harvester.settings import Backoff, Patience

# 2**40 seconds outlast any cap; more would only risk overflow.
_MOST_DOUBLINGS = 40


def backoff_delay(nth: int, backoff: Backoff, jitter: Callable[[], float]) -> float:
    """Seconds to wait after the nth failure (from 1): full jitter under a doubling ceiling.

    `jitter` gives numbers from 0 up to 1, evenly spread.
    """
    ceiling = min(backoff.cap, backoff.base * 2.0 ** min(nth - 1, _MOST_DOUBLINGS))
    return ceiling * jitter()


def tries_after(job: Job, cause: Cause) -> tuple[int, int, int]:
    """The job's tries of this run, by cause, once one more has failed."""
    collection, server, unanswered = job.tries
    return (
        collection + (cause is Cause.COLLECTION),
        server + (cause is Cause.SERVER),
        unanswered + (cause is Cause.UNANSWERED),
    )


def is_exhausted(job: Job, cause: Cause, patience: Patience) -> bool:
    """Whether one more failure of this cause uses up the job's budget for this run.

    Attempts of all causes count together. Of them the unanswered ones may have been charged, so of
    those fewer are allowed.
    """
    tries = tries_after(job, cause)
    return sum(tries) >= patience.max_attempts or tries[Cause.UNANSWERED] > patience.max_unanswered
