"""The pace of one host under a server's limit, on virtual time: found, followed, remembered.

The pace alone calls the simulated API here, with nothing to read or to keep: many thousands of
calls are what shows a pace. What a whole run makes of it is in tests/flow/test_line.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import cycle

import pytest

from harvester.config import FASTEST
from harvester.pace import Throttle
from harvester.parsing import read_rate
from harvester.rules.adaptive_rate import START
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi
from tests.virtual import run_virtually

from .conftest import Upstream, note_ids

ASKED = read_rate("50/s")


def simulated(**settings: object) -> SimulatedApi:
    """A server whose notes are all gone: any answer but a 302 is the same to a pace."""
    return SimulatedApi(SimulatorSettings(missing=1.0, **settings))  # type: ignore[arg-type]


class Caller:
    """Who calls at a pace and heeds what is answered, as a run does."""

    def __init__(self, pace: Throttle, api: Upstream) -> None:
        self._pace, self._api = pace, api
        self._gate = asyncio.Lock()

    async def call(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ids = cycle(note_ids(100))
        async with asyncio.TaskGroup() as calls:
            while loop.time() < seconds:
                await self._pace.turn()
                calls.create_task(self._call(next(ids)))

    async def _call(self, note_id: str) -> None:
        answer = await self._api.fetch(note_id, self._start)
        if answer is None:
            return
        if answer.status == 429:
            self._pace.slow_down(None, answer.elapsed)
        else:
            self._pace.go_on(answer.elapsed)

    async def _start(self, _is_fit: Callable[[], bool]) -> bool:
        async with self._gate:
            while not self._pace.is_paused:
                if not (delay := self._pace.start()):
                    return True
                await asyncio.sleep(delay)
        return False


def sustained_after(seconds: float, api: Upstream, pace: Callable[[], Throttle]) -> float | None:
    """Call for so long; gives the pace that the server sustains."""

    async def main() -> float | None:
        made = pace()
        await Caller(made, api).call(seconds)
        return made.sustained_rate

    return run_virtually(main())


def asked() -> Throttle:
    return Throttle(ASKED)


def to_be_found() -> Throttle:
    return Throttle(FASTEST, start=START)


def per_second(api: Upstream, begin: float, end: float) -> float:
    """The calls a second that were not refused."""
    good = [when for when, _ in api.starts if begin <= when < end and when not in api.refused]
    return len(good) / (end - begin)


def share_refused(api: Upstream, after: float) -> float:
    late = [when for when, _ in api.starts if when > after]
    return sum(when in api.refused for when in late) / len(late)


@pytest.mark.parametrize("limit", [5, 40])
def test_under_a_hidden_limit_few_calls_are_refused_and_most_of_it_is_used(limit: int) -> None:
    api = Upstream(simulated(rate_limit=limit))
    sustained = sustained_after(300, api, asked)
    assert share_refused(api, 5) < 0.01
    assert per_second(api, 0, 300) >= 0.9 * limit
    assert sustained == pytest.approx(limit, rel=0.1)


def test_refusals_that_come_at_any_pace_do_not_slow_the_calls() -> None:
    api = Upstream(SimulatedApi(SimulatorSettings(fail={302: 0.01})))
    sustained_after(80, api, asked)
    assert len(api.refused) > 10
    assert len(api.starts) / 80 > 50 * 0.9


def test_a_limit_that_moves_is_followed_both_ways() -> None:
    begin, slow, fast = simulated(rate_limit=20), simulated(rate_limit=10), simulated(rate_limit=40)
    api = Upstream(begin)
    counted: Counter[int] = Counter()

    def script(_note: str, _nth: int, now: float) -> None:
        api.simulated = begin if now < 100 else slow if now < 200 else fast
        counted[int(now)] += 1

    api.script = script
    sustained_after(400, api, asked)
    rates = [sum(counted[s] for s in range(s, s + 50)) / 50 for s in (50, 150, 350)]
    assert [rate / limit for rate, limit in zip(rates, (20, 10, 40), strict=True)] == (
        pytest.approx([0.96] * 3, abs=0.06)
    )
    assert share_refused(api, 5) < 0.01


def test_a_rate_to_be_found_is_found() -> None:
    api = Upstream(simulated(rate_limit=30))
    sustained = sustained_after(300, api, to_be_found)
    assert len([when for when, _ in api.starts if when < 1]) <= 6
    assert share_refused(api, 0) < 0.01
    assert sustained == pytest.approx(30, rel=0.1)
    assert per_second(api, 50, 300) > 0.9 * 30
