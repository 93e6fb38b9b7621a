"""How fast to call when the server bears less than was asked for: drop at once, climb slowly."""

from __future__ import annotations

# After a 302 the pace falls to this share of what it was.
_DROP = 0.75
# It climbs quickly to just under the pace that was refused, then feels its way past it.
_NEAR = 0.95
_QUICK_CLIMB = 0.02
_SLOW_CLIMB = 0.002
_SLOWEST = 0.01
# Without a Retry-After, calls rest for this long: the vendor's limit is counted by the second.
DEFAULT_PAUSE = 1.0


class Tempo:
    """The pace of a run, in calls a second, never above `asked`; moments are loop seconds."""

    def __init__(self, asked: float) -> None:
        self._asked = asked
        self._rate = asked
        self._refused_rate: float | None = None
        self._since = 0.0
        self._dropped_at = float("-inf")

    @property
    def is_lowered(self) -> bool:
        """Whether the server has refused the asked pace and it was not reached again since."""
        return self._refused_rate is not None

    def rate(self, now: float) -> float:
        """Calls a second at this moment."""
        if self._refused_rate is None:
            return self._asked
        elapsed, self._since = max(0.0, now - self._since), now
        near = self._refused_rate * _NEAR
        quick = min(elapsed, max(0.0, near - self._rate) / (_QUICK_CLIMB * self._asked))
        self._rate += quick * _QUICK_CLIMB * self._asked
        self._rate += (elapsed - quick) * _SLOW_CLIMB * self._asked
        if self._rate >= self._asked:
            self._rate, self._refused_rate = self._asked, None
        return self._rate

    def refuse(self, now: float, began: float) -> bool:
        """Take note of a 302 for a call that began at a moment; gives whether the pace dropped.

        Calls that were already on their way at the last drop say nothing new.
        """
        if began <= self._dropped_at:
            return False
        rate = self.rate(now)
        self._refused_rate = rate
        self._rate = max(rate * _DROP, self._asked * _SLOWEST)
        self._since = self._dropped_at = now
        return True
