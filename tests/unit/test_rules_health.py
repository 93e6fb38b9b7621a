"""What an answer does to the run, as a value."""

from __future__ import annotations

import pytest

from harvester.model import Answer, Cause, Fault, Job, Judgement, StopReason, Verdict
from harvester.rules.breaker import MOST_PROBES, TRIP_AFTER
from harvester.rules.health import Reaction, RunHealth

ARRIVED = Answer(200, b"{}")
SAVED = Judgement(Verdict.SAVE, 0, "success", request_id=b'"real"')
SIMULATED = Judgement(Verdict.SAVE, 0, "success", request_id=b'"simulated-1"')
FAILED = Judgement(Verdict.RETRY, 500, "internal server error", Cause.SERVER)
REFUSED = Judgement(Verdict.REJECT, 400, "invalid parameters")


def job(seq: int) -> Job:
    return Job(seq, f"note {seq}")


@pytest.mark.parametrize(
    ("answer", "judgement", "reaction"),
    [
        (ARRIVED, SAVED, Reaction(accepted=True)),
        (ARRIVED, FAILED, Reaction(accepted=True)),
        (ARRIVED, Judgement(Verdict.SLOW_DOWN, 302, "slower"), Reaction(slow_down=True)),
        (Answer(fault=Fault.TIMEOUT), Judgement(Verdict.RETRY, None, "timeout"), Reaction()),
        (
            ARRIVED,
            Judgement(Verdict.STOP, 303, "quota", stop=StopReason.QUOTA),
            Reaction(accepted=True, disable=(StopReason.QUOTA, "quota"), is_shared=True),
        ),
        (
            ARRIVED,
            Judgement(Verdict.STOP, 602, "budget", stop=StopReason.BALANCE),
            Reaction(accepted=True, disable=(StopReason.BALANCE, "budget")),
        ),
        (
            ARRIVED,
            Judgement(Verdict.STOP, None, "elsewhere", stop=StopReason.REFUSED, is_redirect=True),
            Reaction(accepted=True, refused="elsewhere"),
        ),
        (
            ARRIVED,
            Judgement(Verdict.STOP, 300, "gone", stop=StopReason.REFUSED),
            Reaction(accepted=True, refused="gone; try another"),
        ),
    ],
)
def test_what_one_answer_does_is_told_by_its_judgement(
    answer: Answer, judgement: Judgement, reaction: Reaction
) -> None:
    health = RunHealth(advice="try another")
    assert health.react(job(1), answer, judgement) == reaction


def test_many_notes_that_fail_in_a_row_bring_probes_and_then_the_end() -> None:
    health = RunHealth()
    told = [health.react(job(seq), ARRIVED, FAILED).warning for seq in range(TRIP_AFTER)]
    assert [bool(text) for text in told] == [False] * (TRIP_AFTER - 1) + [True]
    assert health.breaker.is_tripped
    assert health.is_single
    # It is told once, however many calls were in flight.
    assert not any(health.react(job(seq), ARRIVED, FAILED).warning for seq in range(99, 130))
    stops = []
    for nth in range(MOST_PROBES):
        health.mark_sent(job(nth))
        stops.append(health.react(job(nth), ARRIVED, FAILED).stop)
    *before, last = stops
    assert before == [None] * (MOST_PROBES - 1)
    assert last is not None
    assert last[0] is StopReason.UPSTREAM
    because, _, pause = (told[-1] or "").partition(": the run pauses")
    assert because in last[1]
    assert f"ends if {MOST_PROBES} fail" in pause


def test_a_connection_that_had_ended_says_nothing_of_the_upstream() -> None:
    health = RunHealth()
    for seq in range(2 * TRIP_AFTER):
        health.react(job(seq), Answer(fault=Fault.CLOSED), FAILED)
    assert not health.breaker.is_tripped


def test_the_first_answers_all_refused_stop_every_host_and_say_which_notes_they_were() -> None:
    health = RunHealth(advice="try another")
    reactions = [health.react(job(seq), ARRIVED, REFUSED) for seq in range(20)]
    assert [bool(reaction.refused) for reaction in reactions] == [False] * 19 + [True]
    assert reactions[-1].refused.endswith("; try another")
    assert health.first_answers.complaint
    assert health.refused == list(range(20))


@pytest.mark.parametrize(("held", "came"), [(True, SAVED), (False, SIMULATED)])
def test_a_note_of_another_kind_than_output_holds_stops_the_run(
    *, held: bool, came: Judgement
) -> None:
    health = RunHealth(simulated=held)
    checked = health.checked(came)
    assert (checked.verdict, checked.unanswered) == (Verdict.STOP, True)
    reaction = health.react(job(1), ARRIVED, checked)
    assert reaction.disable is None
    assert reaction.stop is not None
    assert reaction.stop[0] is StopReason.INPUT


def test_one_call_at_a_time_until_a_server_has_shown_that_it_is_the_simulator() -> None:
    health = RunHealth(simulated=True, is_unproven=True)
    assert health.is_single
    assert health.checked(SIMULATED) is SIMULATED
    assert not health.is_single
