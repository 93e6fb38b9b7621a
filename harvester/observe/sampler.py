"""A run while it goes on, in numbers: what it has done, and how fast it goes lately."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from harvester.engine.run import Run

# The rate told is that of the latest seconds, so that it follows what happens.
_RATE_SECONDS = 30.0
# Of the pace allowed, what is as good as all of it.
_ON_PACE = 0.9


class Snapshot(Struct, frozen=True):
    """A run at a moment: counts of jobs and calls, calls a second, seconds left (None unknown).

    `at`, `resumes_at` while the next day is waited for, and `next_due` while all that is left waits
    to be tried again, are Unix seconds; `gone` of the failed jobs are notes that are no more;
    `cost` is of the run's charged calls, None while no price is known.
    """

    at: float
    done: int
    total: int
    failed: int
    gone: int
    in_flight: int
    waiting: int
    charged: int
    cost: Decimal | None
    calls: int
    by_code: dict[str, int]
    rate: float
    eta: float | None
    is_read: bool
    resumes_at: float | None = None
    next_due: float | None = None


class ProgressSampler:
    """Takes snapshots of a run and knows the rate of its latest seconds."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()

    def read(self) -> Snapshot:
        """The run as it is now."""
        now, state, price = self._clock(), self._run.state, self._run.price
        jobs, calls, charged = state.counts(), state.spent.calls, state.spent.charged
        samples = self._samples
        samples.append((now, calls, state.settled))
        # The first one kept is the latest that is old enough: the stretch is never shorter.
        while len(samples) > 1 and now - samples[1][0] >= _RATE_SECONDS:
            samples.popleft()
        began, calls_before, settled_before = samples[0]
        elapsed = now - began
        rate = (calls - calls_before) / elapsed if elapsed else 0.0
        if elapsed >= _RATE_SECONDS:
            speed = (state.settled - settled_before) / elapsed
        else:
            speed = self._expected(rate, elapsed)
        return Snapshot(
            time.time(),
            done=jobs.done,
            total=jobs.total,
            failed=jobs.failed,
            gone=jobs.gone,
            in_flight=len(state.in_flight),
            waiting=jobs.waiting,
            charged=charged,
            cost=None if price is None else price * charged,
            calls=calls,
            by_code=dict(sorted(state.by_code.items())),
            rate=rate,
            eta=jobs.queued / speed if speed and jobs.total else None,
            is_read=state.is_read,
            resumes_at=state.resumes_at,
            next_due=state.next_due,
        )

    def _expected(self, rate: float, elapsed: float) -> float:
        """Notes a second, while answers are too few to tell: as calls start, each as those so far.

        Calls start at the pace that is allowed, unless clearly fewer did: then something else
        holds them up.
        """
        state, allowed = self._run.state, self._run.pool.per_second
        answered = state.spent.calls - len(state.in_flight)
        starts = allowed if rate * elapsed + 1 >= _ON_PACE * allowed * elapsed else rate
        return starts * (state.settled / answered if answered and state.settled else 1.0)
