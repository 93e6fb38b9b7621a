"""What signals do to a run: the first one drains it, a second one stops it at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harvester.cli.signals import REASONS, Signals
from harvester.cli.streams import fit
from harvester.engine.run import Run
from harvester.formatting import count, duration

# Seconds in which another signal is the first one over again: `timeout` sends two, and a group of
# processes may get Ctrl-C twice.
_SAME = 1.0


def draining_line(name: str, in_flight: int, oldest: float, timeout: float) -> str:
    """What a first signal says: what is waited for, and for how long at most (seconds)."""
    if not in_flight:
        return f"harvester: {name}: sending nothing new; no call is in flight: closing."
    first = "sent" if in_flight == 1 else "the oldest sent"
    ago = duration(oldest) if oldest >= 1 else "under 1 s"
    return (
        f"harvester: {name}: sending nothing new, waiting for {count(in_flight, 'call')} in flight "
        f"({first} {ago} ago; a call may take up to {duration(timeout)}); "
        "once more stops at once."
    )


class SignalStop:
    """What signals do to a task: they cancel it until its run is known, then they stop that."""

    def __init__(self) -> None:
        self._timeout = 0.0
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._run: Run | None = None
        self._first_at: float | None = None

    def heed(self, number: signal.Signals) -> None:
        """Act on a signal as soon as the loop comes to it."""
        self._loop.call_soon_threadsafe(self._act, number)

    def attach(self, run: Run, timeout: float) -> None:
        """Let signals act on this run, whose calls may take so many seconds, from now on."""
        self._run, self._timeout = run, timeout

    def _act(self, number: signal.Signals) -> None:
        run, now = self._run, self._loop.time()
        first_at, self._first_at = self._first_at, self._first_at or now
        if run is None:
            # Once: what is cut short there is to be taken apart in peace.
            if first_at is None and self._task is not None:
                self._task.cancel()
            return
        if first_at is not None:
            if now - first_at > _SAME:
                run.abort()
            return
        run.stop(REASONS[number])
        in_flight, oldest = len(run.state.in_flight), run.state.oldest()
        # Looked up now: a bar on the screen takes lines in above itself.
        sys.stderr.write(fit(draining_line(number.name, in_flight, oldest, self._timeout)) + "\n")
        sys.stderr.flush()


@contextmanager
def stopped_by(signals: Signals) -> Iterator[SignalStop]:
    """Let signals stop what is done within; raises Stopped where no run was there to drain."""
    stopping = SignalStop()
    with signals.acting(stopping.heed):
        signals.check()
        try:
            yield stopping
        except asyncio.CancelledError:
            signals.check()
            raise
