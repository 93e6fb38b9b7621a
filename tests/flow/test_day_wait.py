"""A day whose quota is used up is sat out, where the run was told to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.engine.open_run import steady_clock
from harvester.engine.ports import Notice
from harvester.engine.run import Run
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.model import StopReason
from harvester.parsing import read_rate
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi
from tests.flow.conftest import CONFIG, MIDNIGHT, Night, Upstream, note_ids

WAITING = replace(CONFIG, wait_quota=float("inf"))
# Ten minutes before the next day.
LATE = MIDNIGHT - 600


def at_night(tmp_path: Path, **settings: object) -> tuple[Night, Upstream]:
    api = SimulatedApi(SimulatorSettings(**settings))  # type: ignore[arg-type]
    return Night(tmp_path, clock=LATE), Upstream(api, begins=LATE)


def told(night: Night) -> list[str]:
    return [event.text for event in night.events if isinstance(event, Notice)]


def resumes_at(night: Night) -> object:
    with reading(ledger_path(night.output)) as reader:
        return reader.meta().get("resumes_at")


@pytest.mark.parametrize(
    ("settings", "cap"), [({"daily_quota": 100}, None), ({}, 100)], ids=["quota", "daily cap"]
)
def test_a_used_up_day_is_sat_out_and_the_run_goes_on(
    tmp_path: Path, settings: dict[str, int], cap: int | None
) -> None:
    night, api = at_night(tmp_path, **settings)

    async def look(run: Run) -> None:
        await asyncio.sleep(300)
        assert run.state.resumes_at == MIDNIGHT
        assert resumes_at(night) == MIDNIGHT

    config = replace(WAITING, max_charged_daily=cap)
    summary = night.run(note_ids(150), api, config, look)
    assert (summary.exit_code, summary.done, summary.charged) == (0, 150, 150)
    assert 600 <= summary.elapsed < 610
    assert (
        len([when for when, _ in api.starts if when < 600]) - summary.by_code.get("303", 0) == 100
    )
    (notice,) = told(night)
    assert "waiting until 2026-11-23 00:00 (Asia/Shanghai)" in notice
    assert resumes_at(night) is None


def test_the_next_day_and_the_longest_runtime_come_while_the_machine_sleeps(
    tmp_path: Path,
) -> None:
    night, api = at_night(tmp_path)
    night.clock -= 6 * 3600

    async def sleep(run: Run) -> None:
        await asyncio.sleep(300)
        assert run.state.resumes_at == MIDNIGHT
        # The clock goes on, and the loop's time does not.
        night.clock += 7 * 3600

    config = replace(WAITING, max_charged_daily=100)
    summary = night.run(note_ids(150), api, config, sleep)
    assert (summary.exit_code, summary.done) == (0, 150)
    assert 300 < summary.elapsed < 420

    config = replace(CONFIG, rate=read_rate("1/s"), max_runtime=6 * 3600.0)
    night.clock -= 7 * 3600

    async def doze(_run: Run) -> None:
        await asyncio.sleep(90)
        night.clock += 7 * 3600

    summary = night.run(note_ids(2000), api, config, doze)
    assert (summary.exit_code, summary.detail) == (7, "--max-runtime is reached")
    assert 90 < summary.elapsed < 160


def test_the_clock_of_a_run_goes_on_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tells = time.clock_gettime
    counts_sleep = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    slept = 0.0
    monkeypatch.setattr(
        time, "clock_gettime", lambda which: tells(which) + slept * (which == counts_sleep)
    )
    clock = steady_clock()
    before = clock()
    slept = 3600.0
    assert clock() - before == pytest.approx(3600, abs=60)


def test_a_server_whose_day_begins_later_is_asked_again_each_minute(tmp_path: Path) -> None:
    night, api = at_night(tmp_path, daily_quota=100)
    api.begins -= 150
    summary = night.run(note_ids(150), api, WAITING)
    assert (summary.exit_code, summary.done) == (0, 150)
    assert 750 <= summary.elapsed < 850
    assert len(told(night)) == 4


@pytest.mark.parametrize("reason", [StopReason.SIGINT, StopReason.SIGTERM])
@pytest.mark.parametrize("cap", [None, 100])
def test_a_signal_while_the_run_waits_ends_it_as_the_quota_does(
    tmp_path: Path, reason: StopReason, cap: int | None
) -> None:
    night, api = at_night(tmp_path, **({} if cap else {"daily_quota": 100}))

    async def stop(run: Run) -> None:
        await asyncio.sleep(300)
        run.stop(reason)

    summary = night.run(note_ids(150), api, replace(WAITING, max_charged_daily=cap), stop)
    assert (summary.exit_code, summary.done, summary.queued) == (3, 100, 50)
    assert f"{reason.value} while waiting" in summary.detail
    assert len(told(night)) == 1
    assert summary.elapsed == pytest.approx(300, abs=1)


@pytest.mark.parametrize(
    ("more", "code"),
    [({"wait_quota": 590.0}, 3), ({"max_runtime": 590.0}, 3), ({"wait_quota": None}, 3)],
)
def test_a_day_that_begins_too_late_is_not_waited_for(
    tmp_path: Path, more: dict[str, float], code: int
) -> None:
    night, api = at_night(tmp_path, daily_quota=100)
    summary = night.run(note_ids(150), api, replace(WAITING, **more))
    assert (summary.exit_code, summary.done, summary.queued) == (code, 100, 50)
    assert summary.elapsed < 10
    assert ("the next day begins in 9 min" in summary.detail) == (more != {"wait_quota": None})


def test_tokens_whose_own_budget_is_used_up_stay_so_on_the_next_day(tmp_path: Path) -> None:
    night, api = at_night(tmp_path, daily_quota=100, token_budget=60)
    other = replace(api, token="t2", starts=[])  # noqa: S106 - the simulator takes any
    night.more_upstreams = (other,)
    summary = night.run(note_ids(150), api, WAITING)
    assert (summary.exit_code, summary.done, summary.queued) == (4, 120, 30)
    assert 600 <= summary.elapsed < 610


def test_a_token_whose_quota_was_used_up_is_asked_again_while_another_goes_on(
    tmp_path: Path,
) -> None:
    late = MIDNIGHT - 60
    one, two = (
        Upstream(SimulatedApi(SimulatorSettings(daily_quota=quota)), begins=late, starts=[])
        for quota in (20, 0)
    )
    night = Night(tmp_path, clock=late, more_upstreams=(two,))
    summary = night.run(note_ids(130), one, replace(CONFIG, rate=read_rate("1/s")))
    assert (summary.exit_code, summary.done) == (0, 130)
    asked = [when for when, _ in one.starts if when > 30]
    assert 60 <= asked[0] < 62
    assert one.simulated.charges()["charged"] == 40
