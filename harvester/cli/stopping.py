"""What signals do to a run: the first one drains it, a second one stops it at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from harvester.cli.signals import REASONS, Signals
from harvester.cli.streams import fit
from harvester.engine.run import Run
from harvester.formatting import count, duration
from harvester.model import Job

_LOOK_EVERY = 1.0
# Seconds in which another signal is the first one over again: `timeout` sends two, and a group of
# processes may get Ctrl-C twice.
_SAME = 1.0


class Departures:
    """When the calls in flight were sent, as exact as it is looked: nothing is added to a call."""

    def __init__(self, flying: Mapping[int, Job], clock: Callable[[], float]) -> None:
        self._flying = flying
        self._clock = clock
        self._seen: dict[int, tuple[Job, float]] = {}

    def look(self) -> None:
        """Note what has flown off since the last look; a job claimed again is another one."""
        now, before = self._clock(), self._seen
        self._seen = {
            seq: before[seq] if seq in before and before[seq][0] is job else (job, now)
            for seq, job in self._flying.items()
        }

    def oldest(self) -> float:
        """Seconds since the first of the calls in flight was sent; 0 without any."""
        self.look()
        now = self._clock()
        return max((now - sent for _, sent in self._seen.values()), default=0.0)


def draining_line(name: str, flying: int, oldest: float, timeout: float) -> str:
    """What a first signal says: what is waited for, and for how long at most (seconds)."""
    if not flying:
        return f"harvester: {name}: sending nothing new; no call is in flight: closing."
    first = "sent" if flying == 1 else "the oldest sent"
    ago = duration(oldest) if oldest >= 1 else "under 1 s"
    return (
        f"harvester: {name}: sending nothing new, waiting for {count(flying, 'call')} in flight "
        f"({first} {ago} ago; a call may take up to {duration(timeout)}); "
        "once more stops at once."
    )


class Stopping:
    """What signals do to a task: they cancel it until its run is known, then they stop that."""

    def __init__(self) -> None:
        self._timeout = 0.0
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._run: Run | None = None
        self._departures: Departures | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._first_at: float | None = None

    def heed(self, number: signal.Signals) -> None:
        """Act on a signal as soon as the loop comes to it."""
        self._loop.call_soon_threadsafe(self._act, number)

    def attach(self, run: Run, timeout: float) -> None:
        """Let signals act on this run, whose calls may take so many seconds, from now on."""
        self._run, self._timeout = run, timeout
        self._departures = Departures(run.state.in_flight, self._loop.time)
        self._look(self._departures)

    def end(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    def _look(self, departures: Departures) -> None:
        departures.look()
        self._looking = self._loop.call_later(_LOOK_EVERY, self._look, departures)

    def _act(self, number: signal.Signals) -> None:
        run, departures, now = self._run, self._departures, self._loop.time()
        first_at, self._first_at = self._first_at, self._first_at or now
        if run is None or departures is None:
            # Once: what is cut short there is to be taken apart in peace.
            if first_at is None and self._task is not None:
                self._task.cancel()
            return
        if first_at is not None:
            if now - first_at > _SAME:
                run.abort()
            return
        run.stop(REASONS[number])
        flying, oldest = len(run.state.in_flight), departures.oldest()
        # Looked up now: a bar on the screen takes lines in above itself.
        sys.stderr.write(fit(draining_line(number.name, flying, oldest, self._timeout)) + "\n")
        sys.stderr.flush()


@contextmanager
def stopped_by(signals: Signals) -> Iterator[Stopping]:
    """Let signals stop what is done within; raises Stopped where no run was there to drain."""
    stopping = Stopping()
    with signals.acting(stopping.heed):
        signals.check()
        try:
            yield stopping
        except asyncio.CancelledError:
            signals.check()
            raise
        finally:
            stopping.end()
