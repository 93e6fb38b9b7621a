"""The one owned state of a run."""

from __future__ import annotations

import pytest

from harvester.engine.ports import Event, Notice
from harvester.engine.state import RunState
from harvester.model import Counts, Job, Judgement, Outcome, Page, State, StopReason, Verdict

JOB = Job(1, "note")


def test_counts_tell_what_was_done_and_asking_changes_nothing() -> None:
    state = RunState()
    state.begin(Counts(queued=2, done=3, rejected=1), charged_today=4)
    state.read(Page(["note"]))
    state.claimed(JOB)
    state.reserve(1)
    assert (state.busy, len(state.in_flight)) == (1, 0)
    state.mark_sent(JOB)
    first = state.counts()
    assert first == state.counts()
    assert (len(state.in_flight), state.spent.calls) == (1, 1)
    assert (first.total, first.failed) == (6, 1)
    outcome = Outcome(JOB, State.DONE, 0, "success")
    state.completed(outcome, Judgement(Verdict.SAVE, 0, "success"), is_fault=False)
    state.recorded(outcome)
    assert (len(state.in_flight), state.spent.charged, state.settled) == (0, 1, 1)
    assert (state.counts().done, state.counts().queued) == (4, 1)
    assert state.by_code == {"0": 1}


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
