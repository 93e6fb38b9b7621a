"""Turns of a rate that hosts share: as many as it has calls, each taken again a period later.

A turn is busy from when it is taken until a period after its call has started, as the host tells
with what it asks next; of a host that tells nothing, until a period after it could have started.
So no window holds more calls than there are turns, however late each of them is.
"""

from __future__ import annotations

from msgspec import Struct

from harvester.parsing import Rate

# More turns than these are not kept: a longer limit is split into shorter equal ones.
_MOST = 512
# Some calls are longer on their way than others, and clocks are not read without doubt: so many
# seconds more than a period are between two calls of a turn.
_WAY = 0.005


class Turn(Struct, frozen=True):
    """A turn taken: its call starts at a moment or later, by the `latest`, in Unix seconds."""

    number: int
    moment: float
    latest: float


class Turns(Struct, frozen=True):
    """What a host asks for: a turn for each call, of one API token.

    `rate` tells whether all hosts mean the same one; it has `calls` turns, each busy for `period`
    seconds, and `interval` seconds are from one call of any host to the next. A turn is of no use
    that is less than `lead` seconds ahead, and not to be taken from the others if it is more than
    `ahead` seconds. Calls may start `late` by so many seconds; `used` are turns taken before, each
    with the moment from which it is free again instead.
    """

    token: str
    rate: str
    calls: int
    period: float
    interval: float
    lead: float
    ahead: float
    late: float
    used: list[tuple[Turn, float]]


class Allotted(Struct, frozen=True):
    """What a host got: its `turns`; from `free_at` on there are more, in Unix seconds.

    None where another rate is kept by hosts that are alive.
    """

    turns: list[Turn]
    free_at: float | None


def turns_of(rate: Rate) -> tuple[int, float]:
    """Returns how many turns a rate has, and for how many seconds each is busy."""
    parts = -(-int(rate.calls) // _MOST)
    return int(rate.calls) // parts, rate.period / parts + _WAY


def name_of(rate: Rate) -> str:
    """Returns what tells one rate from another."""
    return f"{rate.per_second:.6g} calls/s"
