"""The limit holds over runs, whether they end well or die."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harvester.settings import Calling, Limits, parse_rate

from .conftest import MIDNIGHT, SETTINGS, Night, note_ids
from .test_line import upstream


def worst(starts: list[float], period: float) -> int:
    return max(sum(start <= other < start + period for other in starts) for start in starts)


@pytest.mark.parametrize(("rate", "burst"), [("6/m", 1), ("20/h", 10)])
def test_short_runs_together_keep_the_limit(night: Night, rate: str, burst: int) -> None:
    calling = Calling(parse_rate(rate), burst=burst)
    settings = replace(SETTINGS, calling=calling, limits=Limits(max_calls=burst))
    starts: list[float] = []
    for _ in range(6):
        began, api = night.clock - MIDNIGHT, upstream()
        night.run(note_ids(100), api, settings)
        starts += [began + start for start, _ in api.starts]
    assert len(starts) == 6 * burst
    assert worst(starts, calling.rate.period) <= calling.rate.calls + burst - 1


def test_a_clock_that_was_set_back_blocks_no_longer_than_one_window(night: Night) -> None:
    calling = Calling(parse_rate("2/m"))
    settings = replace(SETTINGS, calling=calling, limits=Limits(max_calls=2))
    night.run(note_ids(10), upstream(), settings)
    night.clock -= 5 * 365 * 86_400
    again = night.run(note_ids(10), upstream(), settings)
    assert (again.calls, again.elapsed < 125) == (2, True)
