"""Turns of a rate that hosts share: moments, one interval apart, that the ledger gives out."""

from __future__ import annotations

from msgspec import Struct

from harvester.parsing import Rate

# A call may start this part of the limit's period after its moment, and no less or more than so
# many seconds. That much longer moments take to come round, so that no window holds too many, and
# a bit more, for calls that are longer on their way than others.
_LATE = 0.007
_LEAST_LATE, _MOST_LATE = 0.004, 0.25
_WAY = 0.002


class Turns(Struct, frozen=True):
    """What a host asks for: a turn for each call, of one API token.

    `rate` tells whether all hosts mean the same one, `interval` is the seconds from one call of any
    of them to the next. A turn is of no use that is less than `lead` seconds ahead, and not to be
    taken from the others if it is more than `ahead` seconds.
    """

    token: str
    rate: str
    interval: float
    lead: float
    ahead: float


class Allotted(Struct, frozen=True):
    """What a host got: `moments` to start at; from `free_at` on there are more, in Unix seconds.

    None where another rate is kept by hosts that are alive.
    """

    moments: list[float]
    free_at: float | None


def lateness(rate: Rate) -> float:
    """Returns by how many seconds a call may start later than its moment."""
    return min(max(_LATE * rate.period, _LEAST_LATE), _MOST_LATE)


def interval(rate: Rate) -> float:
    """Returns the seconds between two moments: a window never holds more, however late each is."""
    return (rate.period + lateness(rate) + _WAY) / int(rate.calls)


def name_of(rate: Rate) -> str:
    """Returns what tells one rate from another."""
    return f"{rate.per_second:.6g} calls/s"
