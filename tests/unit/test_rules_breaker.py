"""The breaker tells an unhealthy upstream from unlucky notes."""

from __future__ import annotations

import pytest

from harvester.model import Verdict
from harvester.rules.breaker import Breaker, FirstAnswers

OTHERS = [verdict for verdict in Verdict if verdict is not Verdict.RETRY]


def failing(notes: int) -> Breaker:
    breaker = Breaker()
    for seq in range(notes):
        breaker.see(seq, Verdict.RETRY, probe=False)
    return breaker


def test_thirty_different_notes_in_a_row_trip_it() -> None:
    assert not failing(29).is_tripped
    assert failing(30).is_tripped


def test_a_handful_of_hopeless_notes_never_trips_it() -> None:
    breaker = Breaker()
    for turn in range(10_000):
        breaker.see(turn % 29, Verdict.RETRY, probe=False)
    assert not breaker.is_tripped


@pytest.mark.parametrize("verdict", OTHERS)
def test_any_other_answer_between_begins_the_row_anew(verdict: Verdict) -> None:
    breaker = failing(29)
    breaker.see(99, verdict, probe=False)
    for seq in range(100, 129):
        breaker.see(seq, Verdict.RETRY, probe=False)
    assert not breaker.is_tripped
    breaker.see(129, Verdict.RETRY, probe=False)
    assert breaker.is_tripped


def test_ten_failed_probes_in_a_row_spend_it() -> None:
    breaker = failing(30)
    for probe in range(10):
        assert not breaker.is_spent
        assert breaker.failed_probes == probe
        breaker.see(probe % 2, Verdict.RETRY, probe=True)
    assert breaker.is_spent
    assert breaker.is_tripped


def test_answers_of_calls_already_in_flight_are_no_probes() -> None:
    breaker = failing(30)
    for seq in range(50):
        breaker.see(seq, Verdict.RETRY, probe=False)
    assert breaker.failed_probes == 0
    assert not breaker.is_spent


@pytest.mark.parametrize("verdict", OTHERS)
@pytest.mark.parametrize("probe", [True, False])
def test_one_answer_that_is_not_retry_opens_it_again(verdict: Verdict, *, probe: bool) -> None:
    breaker = failing(30)
    for seq in range(9):
        breaker.see(seq, Verdict.RETRY, probe=True)
    breaker.see(30, verdict, probe=probe)
    assert not breaker.is_tripped
    assert breaker.failed_probes == 0
    for seq in range(29):
        breaker.see(seq, Verdict.RETRY, probe=False)
    assert not breaker.is_tripped


def first_answers(*codes: int | None) -> FirstAnswers:
    first = FirstAnswers()
    for code in codes:
        first.see(code)
    return first


def test_twenty_first_answers_of_400_are_suspicious() -> None:
    assert not first_answers(*[400] * 19).is_suspicious
    assert first_answers(*[400] * 20).is_suspicious


@pytest.mark.parametrize("other", [0, 301, 302, 404, 500])
@pytest.mark.parametrize("before", [0, 1, 19])
def test_any_other_code_among_the_first_clears_the_request(before: int, other: int) -> None:
    first = first_answers(*[400] * before, other, *[400] * 100)
    assert not first.is_suspicious
    assert not first.is_watching


def test_suspicion_stays_whatever_comes_after() -> None:
    assert first_answers(*[400] * 20, 0, 400).is_suspicious


def test_notes_that_failed_before_say_nothing_new() -> None:
    breaker = failing(29)
    for seq in range(100, 200):
        breaker.see(seq, Verdict.RETRY, again=True)
    assert not breaker.is_tripped
    breaker.see(30, Verdict.RETRY)
    assert breaker.is_tripped
