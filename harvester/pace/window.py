"""The hard limit: in no window of the limit's length do more calls start than allowed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from harvester.parsing import Rate

# The log never holds more starts than this: a longer limit is split into shorter equal ones.
_MOST_ENTRIES = 4096
# Calls reach the server with some jitter (seconds), so the window here is that much longer.
_MARGIN = 0.005


class Window:
    """The starts of the latest calls; moments are loop seconds.

    `margin` (seconds) is what calls may be late by on their way.
    """

    def __init__(self, rate: Rate, burst: int = 1, margin: float = _MARGIN) -> None:
        # Parts whose lengths add up to the period and whose calls add up to no more than allowed
        # hold the limit for every window of the period.
        allowed = int(rate.calls) + burst - 1
        parts = -(-allowed // _MOST_ENTRIES)
        self._length = rate.period / parts + margin
        self._allowed = allowed // parts
        self._starts: deque[float] = deque(maxlen=self._allowed)
        self._unsent = 0

    def ages(self, now: float) -> list[float]:
        """How many seconds ago the calls of the window started, the oldest first."""
        return [now - start for start in self._starts if start > now - self._length]

    def restore(self, ages: Sequence[float], now: float) -> None:
        """Take note of calls that started so many seconds ago, before this window was there."""
        self._starts.extend(now - max(0.0, age) for age in sorted(ages, reverse=True))

    def delay(self, now: float) -> float:
        """Seconds until one more call may start."""
        if len(self._starts) < self._allowed:
            return 0.0
        return max(0.0, self._starts[-self._allowed] + self._length - now)

    def add(self, now: float) -> bool:
        """Take note of a call that starts now; gives whether none else is still to be `sent`."""
        self._starts.append(now)
        self._unsent += 1
        return self._unsent == 1

    def sent(self, now: float) -> None:
        """Take note that the calls which were to start are sent: the process may have been held."""
        for place in range(1, min(self._unsent, len(self._starts)) + 1):
            self._starts[-place] = now
        self._unsent = 0
