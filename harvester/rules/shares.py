"""Divides one rate over hosts in whole calls, so that their sum never exceeds it in any change."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from harvester.parsing import Rate

# In seconds. A change of shares takes one period, so it is short where that costs little.
_SHORTEST, _LONGEST = 1.0, 2.0


def reduced(rate: Rate) -> tuple[int, float]:
    """Whole calls in any window of so many seconds, which keep to a rate.

    300/m is 5 in 1 s, 90/m is 3 in 2 s, 1000/h is 1 in 3.6 s. Of periods between one and two
    seconds the one that loses least is taken, of those one of whole seconds, then the shortest.
    """
    calls = int(rate.calls)
    most = max(1, min(calls, math.floor(rate.period / _SHORTEST)))
    least = min(most, math.ceil(rate.period / _LONGEST))

    def merit(parts: int) -> tuple[int, bool, int]:
        period = rate.period / parts
        return parts * (calls // parts), period == int(period), parts

    parts = max(range(least, most + 1), key=merit)
    return calls // parts, rate.period / parts


def fair(calls: int, rank: int, members: int) -> int:
    """The share of the member at a rank, from 0; the shares of all add up to the calls."""
    return calls // members + (rank < calls % members)


class Share(Struct, frozen=True):
    """What a member may start in a period; it is alive until a moment in milliseconds."""

    run: int
    calls: int
    alive_until: int


class Freeing(Struct, frozen=True):
    """Calls a period that somebody gave up: free for others from a moment in milliseconds on."""

    calls: int
    until: int


class Divided(Struct, frozen=True):
    """What one member's heartbeat changes.

    It holds `calls` for the database from here on; `grant` is what it may go by, lower where it is
    to give some up. `dead` are runs whose shares end, `freed` what that and it itself gave up.
    `again_in` is when another heartbeat will change something, in milliseconds, if that is known.
    """

    calls: int
    grant: int
    dead: list[int]
    freed: list[Freeing]
    again_in: int | None


def divide(
    me: int,
    using: int,
    shares: Sequence[Share],
    freeing: Sequence[Freeing],
    now: int,
    calls: int,
    period: int,
) -> Divided:
    """One heartbeat of the member `me`, which goes by a grant of `using` calls until its answer.

    `shares` are all that are known, `freeing` all that is given up; `now` and `period` are in
    milliseconds. A lower grant counts as given up only at the next heartbeat, when it is surely
    gone by; it is free for others one period later, as what a dead member had is one period after
    it was last alive.
    """
    dead = [s for s in shares if s.run != me and s.alive_until <= now]
    others = [s for s in shares if s.run != me and s.alive_until > now]
    had = next((s.calls for s in shares if s.run == me), 0)
    held = min(had, using)
    freed = [Freeing(s.calls, s.alive_until + period) for s in dead if s.alive_until + period > now]
    if had > held:
        freed.append(Freeing(had - held, now + period))
    bound = [f for f in (*freeing, *freed) if f.until > now and f.calls]
    target = fair(calls, sum(s.run < me for s in others), len(others) + 1)
    free = calls - held - sum(s.calls for s in others) - sum(f.calls for f in bound)
    grant = min(target, held + max(0, free))
    again_in = None
    if grant < held:
        again_in = 0
    elif grant < target and bound:
        again_in = min(f.until for f in bound) - now
    return Divided(max(held, grant), grant, [s.run for s in dead], freed, again_in)
