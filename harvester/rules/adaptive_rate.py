"""How fast to call when the server bears less than was asked for: drop at once, climb slowly.

The climb is TCP CUBIC's (RFC 9438): quick at first, flat about the pace that was refused, so that
most of the time is spent just under the limit, then ever quicker, since a limit not met again has
moved.
"""

from __future__ import annotations

import math
from collections import deque

from harvester.rules.strays import Strays

# After a 302 the pace falls to this share of what the server bore.
_DROP = 0.85
# It is back there after so many calls, and no sooner than so many seconds: one call refused in
# some hundred is little.
_CALLS_TO_PEAK = 300.0
_SHORTEST_CLIMB, _LONGEST_CLIMB = 15.0, 300.0
# From so much above the pace that was refused it grows by this share each second.
_BEYOND = 1.02
_GROWTH = 0.05
# Where no pace was asked for, it begins with this one, in calls a second.
START = 5.0
_SLOWEST = 1 / 60
# Without a Retry-After calls rest for so long, in seconds; twice that if the next one is refused.
_PAUSE, _LONGEST_PAUSE = 0.25, 60.0
_SECOND = 1.0
# An answer may be long in coming: what went out before its call is looked up then.
_MOST_STARTS = 4096
# Under this share of the sustained pace no refusal was to be expected.
_NEAR = 0.97


class AdaptiveRate:
    """The pace of a run, in calls a second, never above `asked`; moments are loop seconds.

    With `start` it begins there and grows until it is refused.
    """

    def __init__(self, asked: float, start: float | None = None) -> None:
        self._asked = asked
        self._start = start
        self._peak: float | None = None
        self._climb = _SHORTEST_CLIMB
        self._since: float | None = None
        self._dropped_at = float("-inf")
        self._starts: deque[float] = deque(maxlen=_MOST_STARTS)
        self._refused_again = 0
        self._strays = Strays()
        self._is_trying = False

    def at(self, now: float) -> float:
        """Calls a second at this moment."""
        age = 0.0 if self._since is None else max(0.0, now - self._since)
        if self._peak is not None:
            climbed = min(self._asked, self._peak * self._climbed(age))
            trial = self._strays.trial
            # Where answers are so rare, none is waited for any longer.
            return climbed if trial is None or age > _LONGEST_CLIMB else min(climbed, trial)
        if self._start is not None:
            return min(self._asked, self._start * _grown(age))
        return self._asked

    def _climbed(self, age: float) -> float:
        """The pace as a share of the peak, so many seconds after the drop."""
        depth = 1 - _DROP
        beyond = self._climb * (1 + ((_BEYOND - 1) / depth) ** (1 / 3))
        if age < beyond:
            return 1 + depth * ((age - self._climb) / self._climb) ** 3
        return _BEYOND * _grown(age - beyond)

    def sustained_rate(self, now: float) -> float | None:
        """The pace that the server sustains, or None if it never refused a call."""
        return None if self._peak is None else max(min(self._asked, self._peak), self.at(now))

    def start(self, now: float) -> None:
        """Take note of a call that starts now."""
        if self._since is None:
            self._since = now
        self._starts.append(now)

    def accept(self, began: float) -> None:
        """Take note of any answer but a 302 for a call that began at a moment."""
        if began > self._dropped_at:
            self._refused_again = 0
            self._strays.accept(is_below=self._is_below(began))
            self._follow_trial(began)

    def refuse(self, now: float, began: float, share: float = 1.0) -> bool:
        """Take note of a 302 for a call that began at a moment; gives whether it is news.

        `share` of all calls are made here, so what started here is that part of what was sustained.

        Calls that were already on their way at the last drop say nothing new, nor does one among
        many that were accepted. One refused before another was accepted says that the pause was too
        short, not that the pace was too fast.
        """
        if began <= self._dropped_at:
            return False
        if not self._refused_again:
            rate = self.at(now)
            refused = self._strays.refuse(rate, is_below=self._is_below(began))
            self._follow_trial(now)
            if refused is None:
                return False
            self._drop(rate, began, share, refused)
        self._refused_again += 1
        self._since = self._dropped_at = now
        return True

    def _is_below(self, began: float) -> bool:
        return self._peak is not None and self.at(began) < _NEAR * self._peak

    def _follow_trial(self, now: float) -> None:
        """After a trial go on below the limit, or at the pace that was refused for no reason."""
        if self._is_trying and self._strays.trial is None:
            self._since = now
            if self._strays.proven is not None:
                self._peak, self._since = self._strays.proven, now - self._climb
        self._is_trying = self._strays.trial is not None

    def _drop(self, rate: float, began: float, share: float, refused: float) -> None:
        """Take what went out in the second before for the limit, within reason.

        A second holds whole calls only, so one less than the pace makes of it is no less; what was
        `refused` of the latest calls, as a share, was too much.
        """
        sustained = sum(began - _SECOND <= start < began for start in self._starts) / share
        is_long_ago = len(self._starts) == _MOST_STARTS and self._starts[0] > began - _SECOND
        if is_long_ago or sustained + 1 / share > rate:
            sustained = rate * (1 - refused)
        self._peak = max(min(rate, max(sustained, rate / 2)), _SLOWEST)
        self._climb = min(max(_CALLS_TO_PEAK / self._peak, _SHORTEST_CLIMB), _LONGEST_CLIMB)

    @property
    def pause(self) -> float:
        """Seconds to rest after the latest refusal, where it says nothing of that itself."""
        return min(_PAUSE * 2.0 ** (min(self._refused_again, 30) - 1), _LONGEST_PAUSE)


def _grown(seconds: float) -> float:
    # No pace doubles a thousand times; without a bound the power would overflow.
    return math.exp(min(_GROWTH * seconds, 700.0))
