"""The run's own limits: how many calls may be in flight so that none can be overrun."""

from __future__ import annotations

from msgspec import Struct

# The limit that holds for a day alone.
DAILY = "--max-charged-daily"


class Limits(Struct, frozen=True):
    """The run's own limits; None is no limit."""

    max_notes: int | None = None
    max_calls: int | None = None
    max_charged: int | None = None
    max_charged_daily: int | None = None


class Spent(Struct):
    """What a run has used so far; `charged_today` also counts earlier runs of the calendar day.

    `unanswered` calls may have been charged, so they count as if they had been.
    """

    notes: int = 0
    calls: int = 0
    charged: int = 0
    unanswered: int = 0
    charged_today: int = 0


def calls_allowed(limits: Limits, spent: Spent, in_flight: int, reserved: int = 0) -> int | None:
    """How many more calls may start now; None is no limit.

    Every call in flight may yet be saved and charged, so it counts against each limit. `reserved`
    of them are about to be sent, and not among the calls made.
    """
    room = [left for _, left in _left(limits, spent, in_flight, reserved)]
    return max(0, min(room)) if room else None


def is_reached(limits: Limits, spent: Spent) -> str | None:
    """The name of a limit that is used up whatever is still in flight, or None."""
    return next((name for name, left in _left(limits, spent, 0, 0) if left <= 0), None)


def _left(limits: Limits, spent: Spent, in_flight: int, reserved: int) -> list[tuple[str, int]]:
    """Each limit that there is, and how many calls it leaves; below 0 where it is overrun."""
    return [
        (name, limit - used)
        for name, limit, used in (
            ("--max-notes", limits.max_notes, spent.notes + in_flight),
            ("--max-calls", limits.max_calls, spent.calls + reserved),
            ("--max-charged", limits.max_charged, spent.charged + spent.unanswered + in_flight),
            (DAILY, limits.max_charged_daily, spent.charged_today + in_flight),
        )
        if limit is not None
    ]
