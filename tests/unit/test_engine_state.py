"""The one owned state of a run."""

from __future__ import annotations

import pytest

from harvester.engine.ports import Event, Notice
from harvester.engine.state import RunState
from harvester.model import Counts, Job, Judgement, Outcome, Page, State, StopReason, Verdict

JOB = Job(1, "note")


def test_a_snapshot_tells_what_was_done_and_changes_nothing() -> None:
    state = RunState()
    state.begin(Counts(queued=2, done=3, rejected=1), charged_today=4)
    state.read(Page(["note"]))
    state.claimed(JOB)
    state.reserve(1)
    assert (state.busy, state.snapshot().in_flight) == (1, 0)
    state.mark_sent(JOB)
    first = state.snapshot()
    assert first == state.snapshot()
    assert (first.in_flight, first.calls) == (1, 1)
    assert (first.jobs.total, first.jobs.failed) == (6, 1)
    outcome = Outcome(JOB, State.DONE, 0, "success")
    state.completed(outcome, Judgement(Verdict.SAVE, 0, "success"), is_fault=False)
    state.recorded(outcome)
    now = state.snapshot()
    assert (now.in_flight, now.charged, now.settled) == (0, 1, 1)
    assert (now.jobs.done, now.jobs.queued) == (4, 1)
    assert now.by_code == {"0": 1}
    assert first.by_code == {}


def test_the_oldest_call_is_the_first_one_sent_and_another_call_for_a_note_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, other = RunState(), Job(2, "other")
    outcome = Outcome(JOB, State.QUEUED, 500, "oh")
    for now, job in ((100.0, JOB), (105.0, other)):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        state.mark_sent(job)
    assert state.oldest() == 5.0
    state.completed(outcome, Judgement(Verdict.RETRY, 500, "oh"), is_fault=False)
    assert state.oldest() == 0.0
    monkeypatch.setattr("time.monotonic", lambda: 165.0)
    state.mark_sent(JOB)
    assert state.oldest() == 60.0
    assert RunState().oldest() == 0.0


def test_the_first_reason_to_stop_is_the_reason() -> None:
    state = RunState()
    state.stop(StopReason.QUOTA, "used up")
    state.stop(StopReason.SIGINT)
    state.explain("More of it.")
    assert (state.reason, state.detail) == (StopReason.QUOTA, "used up More of it.")


def test_an_observer_that_raises_is_heard_no_more_and_stops_the_run() -> None:
    heard: list[Event] = []

    def broken(_event: Event) -> None:
        raise ValueError

    state = RunState((broken, heard.append))
    state.emit_once("disk", "little room")
    state.emit_once("disk", "less room")
    assert heard == [Notice("disk", "little room")]
    assert isinstance(state.failure, ValueError)
    assert state.reason is StopReason.CANCELLED
