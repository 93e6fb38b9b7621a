"""When the rest will be done and what it will cost, were calls to go on from now."""

from __future__ import annotations

import math
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from harvester.rules.day import day_ends

# Nobody plans for longer, in days.
_HORIZON = 3660

Source = Literal["option", "asked", "reached"]


class Experience(Struct, frozen=True):
    """What came of earlier calls: `saves` were charged, `rejects` gave their notes up."""

    calls: int = 0
    saves: int = 0
    rejects: int = 0

    @property
    def save_share(self) -> float | None:
        """The share of calls that were saves; None where nothing was saved yet."""
        return self.saves / self.calls if self.saves else None


class DailyCap(Struct, frozen=True):
    """Calls that may be charged in a calendar day, and those that were today."""

    charged: int
    used_today: int = 0

    @property
    def left_today(self) -> int:
        """What may still be charged today."""
        return max(0, self.charged - self.used_today)


class Forecast(Struct, frozen=True):
    """What is left: calls, those of them that will be charged, and until when they take.

    `ends_at` is Unix seconds, `days` the calendar days on which calls are made; both are None where
    no pace is known, or where it takes over ten years.
    """

    calls: int
    charged: int
    ends_at: float | None = None
    days: int | None = None


def rate_to_expect(
    option: float | None, asked: float | None, reached: float | None
) -> tuple[float | None, Source | None]:
    """The pace told, else the slower of what was asked for and what was reached; and which it is.

    All are calls a second.
    """
    if option is not None:
        return option, "option"
    if reached is not None and (asked is None or reached < asked):
        return reached, "reached"
    return asked, None if asked is None else "asked"


def forecast(
    queued: int,
    past: Experience,
    pace: float | None,
    cap: DailyCap | None,
    now: float,
    zone: ZoneInfo,
) -> Forecast:
    """How `queued` notes will fare from `now` (Unix seconds) on, at a pace in calls a second.

    Calls go as they went so far; without any save so far, each is taken to be one. A day of the
    cap is a calendar day in `zone`.
    """
    known = past if past.saves else Experience(1, 1)
    settled = known.saves + known.rejects
    calls = queued * known.calls / settled
    # Up to whole calls; what only rounding added does not count.
    counts = Forecast(math.ceil(round(calls, 6)), round(queued * known.saves / settled))
    if pace is None or pace <= 0:
        return counts
    a_day = None if cap is None else cap.charged * known.calls / known.saves
    today = None if cap is None else cap.left_today * known.calls / known.saves
    end = _end(calls, pace, today, a_day, now, zone)
    return counts if end is None else Forecast(counts.calls, counts.charged, *end)


def _end(
    calls: float,
    pace: float,
    today: float | None,
    a_day: float | None,
    now: float,
    zone: ZoneInfo,
) -> tuple[float, int] | None:
    """When so many calls are made, and on how many days; `today` and `a_day` are calls allowed."""
    at, allowed, days = now, today, 0
    for _ in range(_HORIZON):
        if calls <= 0:
            return at, days
        midnight = day_ends(at, zone)
        possible = (midnight - at) * pace
        if allowed is not None:
            possible = min(possible, allowed)
        days += possible > 0
        if calls <= possible:
            return at + calls / pace, days
        calls -= possible
        at, allowed = midnight, a_day
    return None
