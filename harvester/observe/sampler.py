"""A run while it goes on, in numbers: what it has done, and how fast it goes lately."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from harvester.engine.run import Run

# The rate told is that of the latest seconds, so that it follows what happens.
_RATE_SECONDS = 30.0


class Snapshot(Struct, frozen=True):
    """A run at a moment: counts of jobs and calls, calls a second, seconds left (None unknown)."""

    done: int
    total: int
    failed: int
    in_flight: int
    waiting: int
    charged: int
    calls: int
    by_code: dict[str, int]
    rate: float
    eta: float | None
    is_read: bool


class ProgressSampler:
    """Takes snapshots of a run and knows the rate of its latest seconds."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()

    def read(self) -> Snapshot:
        """The run as it is now."""
        progress = self._run.progress
        finished = progress.settled
        now = self._clock()
        samples = self._samples
        samples.append((now, progress.spent.calls, finished))
        # The first one kept is the latest that is old enough: the stretch is never shorter.
        while len(samples) > 1 and now - samples[1][0] >= _RATE_SECONDS:
            samples.popleft()
        began, calls, before = samples[0]
        elapsed = now - began
        speed = (finished - before) / elapsed if elapsed else 0.0
        return Snapshot(
            done=progress.done,
            total=progress.total,
            failed=progress.failed,
            in_flight=len(progress.flying),
            waiting=progress.waiting,
            charged=progress.spent.charged,
            calls=progress.spent.calls,
            by_code=dict(sorted(progress.by_code.items())),
            rate=(progress.spent.calls - calls) / elapsed if elapsed else 0.0,
            eta=progress.queued / speed if speed else None,
            is_read=progress.is_read,
        )
