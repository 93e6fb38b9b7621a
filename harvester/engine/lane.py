"""The lanes of a run, one for each token: a client and a pace of its own, until it has to rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from harvester.api.redaction import Redaction
from harvester.engine.audience import Audience
from harvester.engine.ports import Event, Fetcher, Notice
from harvester.engine.stop import Stop
from harvester.ledger.protocol import ANY_MARK
from harvester.model import StopReason
from harvester.pace import Pace


class Lane(Struct, eq=False):
    """One token's way to the API.

    `name` tells it from the others without showing it, and `mark` over runs, `redaction` knows the
    tokens of all lanes, `most` is how many calls at once there are descriptors for, `flying` counts
    the calls in flight and those about to be, and `resting` is why nothing more is sent on it.
    """

    name: str
    fetcher: Fetcher
    pace: Pace
    redaction: Redaction = field(default_factory=Redaction)
    most: int = sys.maxsize
    mark: str = ""
    flying: int = 0
    resting: StopReason | None = None


OnRest = Callable[[Lane | None, StopReason, str], None]
OnSlowDown = Callable[[Lane, float | None], None]


def _unheard(*_said: object) -> None:
    """Nobody else has to know."""


class Lanes:
    """All lanes of a run: when the last of them rests, the run stops."""

    def __init__(self, lanes: Sequence[Lane], stop: Stop, audience: Audience) -> None:
        self._lanes = tuple(lanes)
        self._stop = stop
        self._audience = audience
        self._on_rest: OnRest = _unheard
        self._on_slow_down: OnSlowDown = _unheard

    def tell(self, event: Event) -> None:
        """Tell the run's observers."""
        self._audience.tell(event)

    def listen(self, on_rest: OnRest, on_slow_down: OnSlowDown) -> None:
        """Tell of lanes that rest (None for all at once) and of slow-downs, from here on."""
        self._on_rest, self._on_slow_down = on_rest, on_slow_down

    def slow_down(self, lane: Lane, wait: float | None) -> None:
        """Say that the server asked for a slower pace on a lane, after `wait` seconds if it did."""
        self._on_slow_down(lane, wait)

    def refuse(self, detail: str) -> None:
        """Stop the run: something is wrong with every request, whatever its token."""
        self._on_rest(None, StopReason.REFUSED, detail)
        self._stop.set(StopReason.REFUSED, detail)

    def rest(self, lane: Lane, reason: StopReason, detail: str) -> None:
        """Send nothing more on a lane: what its token was told holds for that token alone."""
        if lane.resting is not None:
            return
        lane.resting = reason
        self._on_rest(lane, reason, detail)
        awake = sum(other.resting is None for other in self._lanes)
        if awake:
            text = f"{lane.name} rests ({reason.value}: {detail}); {awake} left"
            self._audience.tell(Notice("token rests", text))
            return
        many = len(self._lanes)
        self._stop.set(reason, detail if many == 1 else f"all {many} tokens rest; last: {detail}")

    def restore(self, starts: Mapping[str, Sequence[float]], now: float) -> None:
        """Count calls of earlier runs toward the limit of each lane, as `starts` gave them."""
        for lane in self._lanes:
            earlier = starts.get(lane.mark, starts.get(ANY_MARK, ()))
            lane.pace.restore([now - start for start in earlier])

    def starts(self, now: float) -> dict[str, list[float]]:
        """When the calls that the limit still counts started, by mark, on the clock of `now`."""
        starts: dict[str, list[float]] = {}
        for lane in self._lanes:
            # Two tokens of one mark count together, rather than one of them not at all.
            starts.setdefault(lane.mark, []).extend(now - age for age in lane.pace.ages())
        return starts

    @property
    def most(self) -> int:
        """How many calls at once there are descriptors for, over all lanes."""
        return sum(lane.most for lane in self._lanes)

    @property
    def per_second(self) -> float:
        """The pace now, in calls a second, of all lanes that do not rest."""
        return sum(lane.pace.per_second for lane in self._lanes if lane.resting is None)

    @property
    def sustained_rate(self) -> float | None:
        """The least pace, in calls a second, that the server sustains on any lane."""
        rates = [rate for lane in self._lanes if (rate := lane.pace.sustained_rate) is not None]
        return min(rates, default=None)

    @property
    def next_start_rate(self) -> float:
        """The pace to begin the next run with, in calls a second on each lane."""
        return min(lane.pace.next_start_rate for lane in self._lanes)
