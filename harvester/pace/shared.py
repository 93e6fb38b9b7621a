"""The throttle of a host in a fleet: its calls start at moments that the ledger gave out."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from harvester.pace.throttle import Throttle
from harvester.parsing import Rate
from harvester.rules.turns import Allotted, Turn, Turns, name_of, turns_of

# In seconds. So far ahead moments are taken at least and at most; in between, as many times as
# long as it takes to be given some: by the way to the ledger alone, eight hosts lose 2 % of a rate.
_LEAST_AHEAD, _MOST_AHEAD = 0.3, 4.0
_TIMES = 4.0
# An exchange with the ledger that was slow is forgotten by this factor each time. It counts as no
# longer than so many trips and seconds: who is cut off from the ledger is to fall silent soon.
_FORGET = 0.9
_TRIPS, _WORK = 4, 0.1
# From when the ledger has looked at its clock until we can start a call: the way back, which is
# half of a trip or a bit more, and what its commit takes.
_WAY, _COMMIT = 0.6, 0.015
# A look at the ledger's clock is as good as it was quick, for so long.
_GOOD_FOR = 30.0
# A host asks again when that part of the time ahead is still taken: who got none, sooner.
_HAS, _HAS_NOT = 0.5, 0.75
# Until it is known when there are moments.
_ASK_AGAIN = 0.3
# With turns for no more calls than the rate allows, moments may be closer: a round of them takes so
# many seconds less than a period, so that calls that were late hold up none behind them.
_CATCH_UP = 0.15
# So many seconds a call may start late; less where it cannot be told in time how late it did.
_LATE, _LATE_AFAR = 0.25, 0.007


class LedgerClock:
    """The ledger's time on ours: the quickest of the latest looks at it."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float, float]] = deque()
        self._best = (0.0, 0.0, 0.0)

    def look(self, sent: float, received: float, told: float) -> None:
        """Take in that between two moments of ours it was `told` there, in Unix seconds."""
        look = (received - sent, received, (sent + received) / 2 - told)
        if self._looks and abs(look[2] - self._best[2]) > (look[0] + self._best[0]) / 2:
            # It was set: what was seen before says nothing any more.
            self._looks.clear()
        while self._looks and self._looks[0][1] < received - _GOOD_FOR:
            self._looks.popleft()
        self._looks.append(look)
        self._best = min(self._looks)

    @property
    def trip(self) -> float:
        """How many seconds it takes to ask and be told."""
        return self._best[0]

    def ours(self, moment: float) -> float:
        """Returns a moment of the ledger's, in Unix seconds, in loop seconds."""
        return moment + self._best[2]

    def theirs(self, moment: float) -> float:
        """Returns a moment in loop seconds in the ledger's, Unix seconds."""
        return moment - self._best[2]


class SharedThrottle(Throttle):
    """The pace of one token that several hosts call with.

    Each batch of calls asks for as many turns as it has calls; each starts at the moment of one.
    """

    def __init__(self, rate: Rate, start: float | None, token: str, clock: LedgerClock) -> None:
        super().__init__(rate, start=start)
        self._rate = rate
        self._token = token
        self._clock = clock
        self._calls, self._period = turns_of(rate)
        self._turns: deque[Turn] = deque()
        self._unsent: list[Turn] = []
        self._used: list[tuple[Turn, float]] = []
        self._batch = 0
        self._cycle = self._others = 0.0
        self._asked_at = 0.0
        self._ask_at = 0.0

    @property
    def _ahead(self) -> float:
        """For how many seconds moments are taken."""
        return min(max(_LEAST_AHEAD, _TIMES * self._cycle, self._others), _MOST_AHEAD)

    @property
    def _interval(self) -> float:
        """From one call of any host to the next, in seconds."""
        if self._at_now < self._rate.per_second:
            return 1 / self._at_now
        return (self._period - _CATCH_UP * min(1.0, self._period)) / self._calls

    async def turn(self) -> None:
        """Wait until there may be moments to ask for."""
        await self._pass_gate()
        while (delay := self._ask_at - self._now()) > 0:
            await asyncio.sleep(delay)
            await self._pass_gate()
        self._batch = 1

    async def turns(self, most: int) -> int:
        """Take so many calls more into the batch, as far as there may be moments for them."""
        ahead = math.ceil(self._ahead * self.per_second) - len(self._turns)
        taken = 0 if self.is_paused else max(0, min(most, ahead - self._batch))
        self._batch += taken
        return taken

    def asking(self) -> Turns:
        """Returns what to ask the ledger for, for each call of the batch."""
        self._asked_at = self._now()
        ahead, used = self._ahead, self._used
        self._used = []
        lead = _WAY * self._clock.trip + _COMMIT
        return Turns(
            self._token,
            name_of(self._rate),
            self._calls,
            self._period,
            self._interval,
            lead,
            lead + ahead,
            _LATE if ahead < self._period / 2 else _LATE_AFAR,
            used,
        )

    def allot(self, allotted: Allotted) -> None:
        """Take over the turns that the ledger gave."""
        now = self._now()
        took = min(now - self._asked_at, _TRIPS * self._clock.trip + _WORK)
        self._cycle = max(took, _FORGET * self._cycle)
        self._turns.extend(allotted.turns)
        if allotted.free_at is None:
            self._ask_at = now + _ASK_AGAIN
        else:
            # Who is far away takes moments from farther ahead than who is near would look.
            told = self._clock.ours(allotted.free_at) - now
            self._others = _FORGET * self._others if allotted.turns else told
            part = _HAS if allotted.turns else _HAS_NOT
            self._ask_at = self._clock.ours(allotted.free_at) - part * self._ahead

    def start(self) -> float | None:
        """Start one more call if its moment has come; else gives the seconds until it does.

        None if there is no moment left for it.
        """
        now = self._now()
        while self._turns and self._clock.ours(self._turns[0].latest) < now:
            late = self._turns.popleft()
            self._used.append((late, late.moment))
        if not self._turns:
            return None
        if (delay := self._clock.ours(self._turns[0].moment) - now) > 0:
            return delay
        wait = super().start()
        if not wait:
            self._unsent.append(self._turns.popleft())
        return wait

    def _sent(self) -> None:
        super()._sent()
        free = self._clock.theirs(self._now()) + self._period
        self._used += ((turn, free) for turn in self._unsent)
        self._unsent.clear()
