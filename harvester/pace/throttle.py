"""Turns to call: spread evenly by aiolimiter, bounded by the window, paused by the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiolimiter import AsyncLimiter

from harvester.pace.window import Window
from harvester.parsing import Rate
from harvester.rules.adaptive_rate import AdaptiveRate
from harvester.rules.turns import Allotted, Turns

# A wake-up that comes late by up to this many seconds is caught up with; without it, buckets of
# one lose 6 % at 50/s and 34 % at 1000/s (measured over 20 s).
_CATCH_UP = 0.02
# The limiter is made anew when the rate has moved by this share.
_STEP = 0.01


class Throttle:
    """The pace of one token; one task takes the turns, so none is given twice.

    With `start`, in calls a second, it begins there and finds out what the server bears.
    """

    def __init__(self, rate: Rate, burst: int = 1, start: float | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._adaptive = AdaptiveRate(rate.per_second, start)
        self._burst = burst
        self._window = Window(rate, burst)
        self._asked = rate.per_second
        self._per_second = self._adaptive.at(0.0)
        self._limiter = self._spread(self._per_second)
        self._open_at = 0.0
        self._hosts = 1

    def _spread(self, per_second: float) -> AsyncLimiter:
        size = max(float(self._burst), 1 + _CATCH_UP * per_second)
        return AsyncLimiter(size, size / per_second)

    @property
    def is_paused(self) -> bool:
        """Whether all calls are paused now."""
        return self.paused_for > 0

    @property
    def paused_for(self) -> float:
        """For how many seconds from now all calls are paused."""
        return max(0.0, self._open_at - self._now())

    @property
    def _at_now(self) -> float:
        """What all hosts may call together now, in calls a second."""
        return self._adaptive.at(self._now())

    @property
    def per_second(self) -> float:
        """The pace now, in calls a second."""
        return self._at_now / self._hosts

    @property
    def sustained_rate(self) -> float | None:
        """What the server sustains, in calls a second; None if it refused no call."""
        return self._adaptive.sustained_rate(self._now())

    @property
    def next_start_rate(self) -> float:
        """The pace to begin the next run with, in calls a second."""
        return self.sustained_rate or self._adaptive.at(self._now())

    def ages(self) -> list[float]:
        """How many seconds ago the calls that the limit still counts started."""
        return self._window.ages(self._now())

    def restore(self, ages: Sequence[float]) -> None:
        """Count calls of earlier runs, that started so many seconds ago; none lies ahead."""
        if ages:
            self._window.restore(ages, self._now())

    async def turn(self) -> None:
        """Wait for a turn to call."""
        await self._pass_gate()
        await self._follow_rate()
        await self._limiter.acquire()
        await self._pass_gate()

    async def turns(self, most: int) -> int:
        """Take so many turns at most, as far as there are some without waiting; gives how many."""
        taken, step = 0, 0 if self.is_paused else most
        while step:
            if self._limiter.has_capacity(step):
                await self._limiter.acquire(step)
                taken += step
                step = min(step, most - taken)
            else:
                step //= 2
        return taken

    def asking(self) -> Turns | None:
        """Returns what to ask the ledger for, for each call of a batch; alone, nothing."""
        return None

    def allot(self, allotted: Allotted) -> None:
        """Take over what the ledger gave."""

    def start(self) -> float | None:
        """Start one more call if the window allows it; else gives the seconds until it may.

        It is to be sent before anything else is awaited.
        """
        now = self._now()
        delay = self._window.delay(now)
        if not delay:
            if self._window.add(now):
                self._loop.call_soon(self._sent)
            self._adaptive.start(now)
        return delay

    def _sent(self) -> None:
        """Take note that the calls which were to start are sent: it may have taken a while."""
        self._window.sent(self._now())

    def share_with(self, hosts: int) -> None:
        """Take note how many hosts call with this token, this one included."""
        self._hosts = hosts

    def pause(self, seconds: float) -> None:
        """Pause all calls for at least so long from now."""
        self._open_at = max(self._open_at, self._now() + seconds)

    def go_on(self, elapsed: float) -> None:
        """Take note that a call was not refused; `elapsed` is how long ago it began."""
        self._adaptive.accept(self._now() - elapsed)

    def slow_down(self, retry_after: float | None, elapsed: float) -> bool:
        """Pause and drop the pace after a 302; `elapsed` is how long ago its call began.

        Gives whether that is news: one burst of 302s is one refusal.
        """
        now = self._now()
        is_news = self._adaptive.refuse(now, now - elapsed, 1 / self._hosts)
        if retry_after is not None:
            self.pause(retry_after)
        elif is_news:
            self.pause(self._adaptive.pause)
        return is_news

    async def _pass_gate(self) -> None:
        while delay := self.paused_for:  # noqa: ASYNC110 - a clock tells when it opens
            await asyncio.sleep(delay)

    async def _follow_rate(self) -> None:
        """Make the limiter anew when the rate has moved, with its bucket full as it was."""
        per_second = self.per_second
        if abs(per_second - self._per_second) > _STEP * self._per_second or (
            per_second != self._per_second and per_second == self._asked
        ):
            self._per_second = per_second
            self._limiter = self._spread(per_second)
            await self._limiter.acquire(self._limiter.max_rate)
