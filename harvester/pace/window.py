"""The hard limit: in no window of the limit's length do more calls start than allowed."""

from __future__ import annotations

from collections import deque

from harvester.settings import Rate

# The log never holds more starts than this: a longer limit is split into shorter equal ones.
_MOST_ENTRIES = 4096
# Calls reach the server with some jitter (seconds), so the window here is that much longer.
_MARGIN = 0.005


class Window:
    """The starts of the latest calls; moments are loop seconds."""

    def __init__(self, rate: Rate, burst: int) -> None:
        # Parts whose lengths add up to the period and whose calls add up to no more than allowed
        # hold the limit for every window of the period.
        allowed = int(rate.calls) + burst - 1
        parts = -(-allowed // _MOST_ENTRIES)
        self._length = rate.period / parts + _MARGIN
        self._starts: deque[float] = deque(maxlen=allowed // parts)

    def delay(self, now: float) -> float:
        """Seconds until one more call may start."""
        if len(self._starts) < (self._starts.maxlen or 0):
            return 0.0
        return max(0.0, self._starts[0] + self._length - now)

    def add(self, now: float) -> None:
        """Take note of a call that starts now."""
        self._starts.append(now)
