"""The story of all runs, as a ledger that really kept them tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from harvester.ledger.history import (
    MOST_ATTEMPTS,
    Failures,
    History,
    Timeline,
    step_width,
    verdict_of,
)
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.sql import NO_CODE
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.model import Outcome, State, Verdict

START = 1795395720.0  # 2026-11-23 01:02 in UTC, 09:02 in Shanghai
UTC = ZoneInfo("UTC")
SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = 86_400


class Kept:
    """A ledger to which answers come; `now` is its clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = START
        self._ledger = SqliteLedger(path, lambda: self.now)
        self._ledger.begin_run(120.0)

    def begin(self) -> None:
        self._ledger.begin_run(120.0)

    def enrol(self, many: int) -> None:
        self._ledger.enrol([f"{n:024x}" for n in range(many)], None)

    def answer(
        self,
        many: int = 1,
        code: int | None = 0,
        state: State = State.DONE,
        reason: str = "",
        elapsed: float = 0.2,
    ) -> None:
        jobs = self._ledger.claim(many, 100.0).jobs
        assert len(jobs) == many
        line = b"\n" if state is State.DONE else None
        told = [Outcome(job, state, code, reason, line=line, elapsed=elapsed) for job in jobs]
        ends = range(many) if line else ()
        assert self._ledger.record(told, ends, Checkpoint(many)) == []

    def timeline(self, zone: ZoneInfo = UTC) -> Timeline:
        with reading(self.path) as reader, reader.snapshot():
            return History(reader).timeline(zone)

    def charged_by_day(self, zone: ZoneInfo) -> dict[date, int]:
        with reading(self.path) as reader:
            return History(reader).charged_by_day(zone)

    def attempts(self) -> dict[int, dict[State, int]]:
        with reading(self.path) as reader:
            return History(reader).attempts()

    def failures(self, kinds: int = 30, ids: int = 1000) -> Failures:
        with reading(self.path) as reader:
            return History(reader).failures(str.lower, kinds, ids)

    def latency(self) -> tuple[float | None, float | None]:
        with reading(self.path) as reader:
            return History(reader).latency()

    def close(self) -> None:
        self._ledger.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with closing(Kept(tmp_path / "notes.jsonl.ledger")) as kept:
        yield kept


def test_a_ledger_without_calls_has_an_empty_story(kept: Kept) -> None:
    kept.enrol(3)
    assert kept.timeline() == Timeline(60.0, [], [], [])
    assert kept.charged_by_day(UTC) == {}
    assert kept.attempts() == {}
    assert kept.failures() == Failures([], 0)
    assert kept.latency() == (None, None)


def test_calls_are_counted_by_minute_and_by_what_they_meant(kept: Kept) -> None:
    kept.enrol(20)
    kept.answer(5)
    kept.answer(2, 301, State.QUEUED)
    kept.answer(1, 302, State.QUEUED)
    kept.now += 60
    kept.answer(1, 404, State.REJECTED)
    kept.answer(1, None, State.QUEUED)
    first, second = kept.timeline().steps
    assert (first.begins, first.busy) == (START, 1)
    assert first.calls == {Verdict.SAVE: 5, Verdict.RETRY: 2, Verdict.SLOW_DOWN: 1}
    assert second.begins == START + 60
    assert second.calls == {Verdict.REJECT: 1, Verdict.RETRY: 1}


def test_latencies_are_those_of_the_answers_of_a_minute(kept: Kept) -> None:
    kept.enrol(100)
    kept.answer(90, elapsed=0.1)
    kept.answer(10, elapsed=2.0)
    (step,) = kept.timeline().steps
    assert step.median == pytest.approx(0.1, rel=0.05)
    assert step.p95 == pytest.approx(2.0, rel=0.05)
    assert kept.latency() == (step.median, step.p95)


def test_the_backlog_is_what_was_queued_at_the_end_of_each_step(kept: Kept) -> None:
    kept.enrol(10)
    kept.answer(1)
    kept.answer(1)
    kept.now += 60
    kept.answer(3)
    assert kept.timeline().backlog == [(START + 60, 8), (START + 120, 5)]


def test_two_runs_in_one_minute_are_told_in_their_order(kept: Kept) -> None:
    kept.enrol(10)
    kept.answer(3)
    kept.begin()
    kept.answer(2)
    assert kept.timeline().backlog == [(START + 60, 7), (START + 60, 5)]


def test_time_without_calls_is_a_pause(kept: Kept) -> None:
    kept.enrol(3)
    kept.answer()
    kept.now += 60
    kept.answer()
    kept.now += DAY
    kept.answer()
    assert kept.timeline().pauses == [(START + 120, START + 60 + DAY)]


def test_long_stories_have_longer_steps_that_begin_with_the_hours_of_the_zone(kept: Kept) -> None:
    minutes = 600
    kept.enrol(minutes)
    for _ in range(minutes):
        kept.answer()
        kept.now += 60
    timeline = kept.timeline(ZoneInfo("Asia/Kathmandu"))  # 5:45 h east of UTC
    assert timeline.width == 300
    assert all((step.begins + 45 * 60) % 300 == 0 for step in timeline.steps)
    assert sum(step.calls[Verdict.SAVE] for step in timeline.steps) == minutes
    assert sum(step.busy for step in timeline.steps) == minutes
    assert len(timeline.backlog) <= len(timeline.steps) + 1


@pytest.mark.parametrize(
    ("busy", "width"), [(0, 1), (240, 1), (241, 2), (480, 2), (14_400, 60), (10**7, 1440)]
)
def test_steps_are_as_wide_as_it_takes(busy: int, width: int) -> None:
    assert step_width(busy) == width


def test_days_are_those_of_the_zone(kept: Kept) -> None:
    kept.enrol(10)
    kept.now = START - 62 * 60 - 60  # 23:59 in UTC
    kept.answer(2)
    kept.answer(1, 301, State.QUEUED)
    kept.now += 120
    kept.answer(3)
    assert kept.charged_by_day(UTC) == {date(2026, 11, 22): 2, date(2026, 11, 23): 3}
    assert kept.charged_by_day(SHANGHAI) == {date(2026, 11, 23): 5}


def test_attempts_are_counted_note_by_note_and_many_together(kept: Kept) -> None:
    kept.enrol(1)
    for _ in range(MOST_ATTEMPTS + 2):
        kept.answer(1, 301, State.QUEUED)
    kept.answer()
    kept.enrol(3)
    kept.answer(1)
    assert kept.attempts() == {1: {State.DONE: 1}, MOST_ATTEMPTS: {State.DONE: 1}}


def test_failures_stand_by_kind_the_largest_first_with_their_first_ids(kept: Kept) -> None:
    kept.enrol(10)
    kept.answer(1, 400, State.REJECTED, "bad")
    kept.answer(2, 404, State.REJECTED, "Gone")
    kept.answer(2, 404, State.REJECTED, "gone")
    kept.answer(2, 301, State.EXHAUSTED, "failed")
    told = kept.failures(kinds=2, ids=3)
    first, second = told.told
    assert (first.group.reason, first.group.jobs, first.group.code) == ("gone", 4, 404)
    assert first.ids == [f"{n:024x}" for n in (1, 2, 3)]
    assert (second.group.reason, second.group.jobs) == ("failed", 2)
    assert told.others == 1


def test_every_code_has_the_verdict_that_the_judge_gives() -> None:
    codes = {0: Verdict.SAVE, 301: Verdict.RETRY, 302: Verdict.SLOW_DOWN, 404: Verdict.REJECT}
    codes |= {303: Verdict.STOP, 7777: Verdict.RETRY, NO_CODE: Verdict.RETRY, -5: Verdict.RETRY}
    assert {code: verdict_of(code) for code in codes} == codes
