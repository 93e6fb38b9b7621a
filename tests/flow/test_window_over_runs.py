"""The limit holds over runs, whether they end well or die."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from harvester.engine.run import Run
from harvester.parsing import read_rate

from .conftest import CONFIG, MIDNIGHT, Night, note_ids, upstream


def worst(starts: list[float], period: float) -> int:
    return max(sum(start <= other < start + period for other in starts) for start in starts)


@pytest.mark.parametrize(("rate", "burst"), [("6/m", 1), ("20/h", 10)])
def test_short_runs_together_keep_the_limit(night: Night, rate: str, burst: int) -> None:
    limit = read_rate(rate)
    settings = replace(CONFIG, rate=limit, burst=burst, max_calls=burst)
    starts: list[float] = []
    for _ in range(6):
        began, api = night.clock - MIDNIGHT, upstream()
        night.run(note_ids(100), api, settings)
        starts += [began + start for start, _ in api.starts]
    assert len(starts) == 6 * burst
    assert worst(starts, limit.period) <= limit.calls + burst - 1


def test_a_clock_that_was_set_back_blocks_no_longer_than_one_window(night: Night) -> None:
    limit = read_rate("2/m")
    settings = replace(CONFIG, rate=limit, max_calls=2)
    night.run(note_ids(10), upstream(), settings)
    night.clock -= 5 * 365 * 86_400
    again = night.run(note_ids(10), upstream(), settings)
    assert (again.calls, again.elapsed < 125) == (2, True)


class DeathError(Exception):
    """The process is gone."""


async def die_soon(_run: Run) -> None:
    await asyncio.sleep(0.9)
    raise DeathError


@pytest.mark.parametrize(("rate", "burst"), [("6/m", 1), ("20/h", 10)])
def test_runs_that_die_before_they_kept_anything_keep_the_limit(
    night: Night, rate: str, burst: int
) -> None:
    limit = read_rate(rate)
    settings = replace(CONFIG, rate=limit, burst=burst)
    starts: list[float] = []
    for _ in range(10):
        began, api = night.clock - MIDNIGHT, upstream()
        with pytest.raises(BaseExceptionGroup):
            night.run(note_ids(100), api, settings, die_soon)
        night.clock += 1
        starts += [began + start for start, _ in api.starts]
    assert 0 < worst(starts, limit.period) <= limit.calls + burst - 1


def test_each_token_keeps_its_own_limit_over_runs_in_whatever_order_they_are(night: Night) -> None:
    limit = read_rate("6/m")
    settings = replace(CONFIG, rate=limit, max_calls=4)
    starts: dict[str, list[float]] = {"one": [], "two": []}
    for run in range(6):
        tokens = sorted(starts, reverse=bool(run % 2))
        first, second = (replace(upstream(), token=token) for token in tokens)
        night.more_upstreams = (second,)
        began = night.clock - MIDNIGHT
        night.run(note_ids(100), first, settings)
        for api in (first, second):
            starts[api.token] += [began + start for start, _ in api.starts]
    assert sum(map(len, starts.values())) == 24
    assert max(worst(some, 60) for some in starts.values()) <= 6
    # Two tokens make 12 calls a minute, and not those of one.
    assert max(start for some in starts.values() for start in some) < 130
