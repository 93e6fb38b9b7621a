"""Hurries calls that take too long, all with one timer: one for each costs a tenth of a call."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Hurried(Protocol):
    """What has a deadline."""

    def hurry(self) -> None:
        """Come to an end: take what is there, and what arrives in the next moments."""


class Deadline:
    """Gives each call the same time, in seconds, from its own beginning.

    A timer may fire long after its time: the process stood still, or the machine slept. What
    came in meanwhile has not been read then, so a call is only hurried, never cut off here.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        # In the order they began, which is the order they end in.
        self._ends: dict[Hurried, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: Hurried) -> None:
        """Let a call's time run from now; `end` must follow."""
        end = self._ends[call] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(end, self._expire)

    def end(self, call: Hurried) -> None:
        """Let a call go on without a deadline."""
        self._ends.pop(call, None)

    def _expire(self) -> None:
        self._timer = None
        while self._ends:
            call, end = next(iter(self._ends.items()))
            if end > self._loop.time():
                self._timer = self._loop.call_at(end, self._expire)
                return
            del self._ends[call]
            call.hurry()
