"""Signals: the first one drains the run, the second one stops it at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from harvester.engine.run import Run
from harvester.model import Job, StopReason
from harvester.views.words import count, duration

_REASONS = {
    signal.SIGINT: StopReason.SIGINT,
    signal.SIGTERM: StopReason.SIGTERM,
    # A terminal that is closed asks for the same as a service manager.
    signal.SIGHUP: StopReason.SIGTERM,
}
_LOOK_EVERY = 1.0


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


class Signals:
    """Turns signals into stops of the attached run; before there is one, they act as usual.

    `timeout` is what a call may take, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._run: Run | None = None
        self._departures: Departures | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._handled: list[signal.Signals] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for number in self._handled:
            asyncio.get_running_loop().remove_signal_handler(number)

    def attach(self, run: Run) -> None:
        """Let signals act on this run from now on."""
        loop = asyncio.get_running_loop()
        self._run = run
        self._departures = Departures(run.progress.flying, loop.time)
        self._look(self._departures)
        for number in _REASONS:
            # nohup means it; a shell's `&` ignores SIGINT too, but whoever sends one wants a stop.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(number, self._act, number)
            self._handled.append(number)

    def _look(self, departures: Departures) -> None:
        departures.look()
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(_LOOK_EVERY, self._look, departures)

    def _act(self, number: signal.Signals) -> None:
        run, departures = self._run, self._departures
        if run is None or departures is None:
            return
        if run.stop_reason in _REASONS.values():
            run.abort()
            return
        run.stop(_REASONS[number])
        flying, oldest = len(run.progress.flying), departures.oldest()
        # Looked up now: a bar on the screen takes lines in above itself.
        sys.stderr.write(draining_line(number.name, flying, oldest, self._timeout) + "\n")
        sys.stderr.flush()
