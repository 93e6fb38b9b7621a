"""The pace and the time left that are told of a run, whenever and however often they look."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.engine.ports import Notice
from harvester.engine.run import Run
from harvester.observe.sampler import ProgressSampler, Snapshot
from harvester.parsing import read_rate
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi

from .conftest import CONFIG, Night, Upstream, code, note_ids, upstream

SLOW = replace(CONFIG, rate=read_rate("2/s"))


def looks(
    night: Night,
    many: int,
    every: float,
    enough: int,
    upstream: Upstream | None = None,
    config: RunConfig = SLOW,
) -> list[Snapshot]:
    """What is seen of a run, looked at every so many seconds."""
    seen: list[Snapshot] = []

    async def look(run: Run) -> None:
        sampler = ProgressSampler(run, asyncio.get_running_loop().time)
        first = sampler.read()
        # Before the ledger was looked at, there is nothing to be done with.
        assert first.total or first.eta is None
        for _ in range(enough):
            await asyncio.sleep(every)
            seen.append(sampler.read())

    upstream = upstream or Upstream(SimulatedApi(SimulatorSettings()))
    night.run(note_ids(many), upstream, config, look)
    return seen


def test_a_look_every_thirty_seconds_and_a_bit_sees_the_pace(night: Night) -> None:
    for seen in looks(night, 400, 30.01, 3):
        assert seen.rate == pytest.approx(2.0, rel=0.05)
        assert seen.eta == pytest.approx((400 - seen.done) / 2, rel=0.1)


def test_what_earlier_runs_did_is_not_taken_for_the_pace_of_this_one(night: Night) -> None:
    night.run(
        note_ids(300),
        Upstream(SimulatedApi(SimulatorSettings())),
        replace(SLOW, max_notes=200),
    )
    first, *_ = looks(night, 300, 5.0, 3)
    assert first.eta == pytest.approx(45.0, rel=0.2)


def test_the_time_left_is_right_from_the_first_second_after_a_resume(night: Night) -> None:
    night.run(
        note_ids(300), Upstream(SimulatedApi(SimulatorSettings())), replace(SLOW, max_notes=200)
    )
    for seen in looks(night, 300, 0.2, 10):
        assert seen.eta == pytest.approx((300 - seen.done) / 2, rel=0.05)


def test_the_time_left_goes_by_what_is_reached_where_the_pace_is_not(night: Night) -> None:
    slow = Upstream(SimulatedApi(SimulatorSettings()), latency=1.0)
    config = replace(CONFIG, rate=read_rate("1000/s"), workers=5)
    for seen in looks(night, 200, 2.0, 5, slow, config):
        assert seen.eta == pytest.approx((200 - seen.done) / 5, rel=0.5)


def test_that_all_that_is_left_waits_to_be_tried_again_is_told_with_the_moment(
    night: Night,
) -> None:
    config, api = replace(CONFIG, backoff_base=120.0), upstream()
    api.script = lambda _note, nth, _now: code(301) if nth == 1 else None
    night.run(note_ids(3), api, replace(config, max_calls=3))
    began = night.clock
    seen = looks(night, 3, 25.0, 4, api, config)
    assert [snap.waiting for snap in seen] == [3, 3, 0, 0]
    due = seen[0].next_due
    assert due == pytest.approx(began + 60, abs=1)
    assert [snap.next_due for snap in seen] == [due, due, None, None]
    notices = [event.text for event in night.events if isinstance(event, Notice)]
    assert notices == ["nothing to send for 1 min 0 s: what is left waits to be tried again"]
