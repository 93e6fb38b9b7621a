"""The breaker tells an unhealthy upstream from unlucky notes."""

from __future__ import annotations

from itertools import product

import pytest

from harvester.model import Judgement, Verdict
from harvester.rules.breaker import Breaker, FirstAnswers
from harvester.rules.codes import judge_code

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


SAID: dict[int | str, Judgement] = {
    "empty": Judgement(Verdict.SAVE, 0, "success", is_empty=True),
    **{code: judge_code(code) for code in (301, 302, 400, 404, 500)},
    0: Judgement(Verdict.SAVE, 0, "success"),
}


def complaint(*said: int | str, is_deprecated: bool = False) -> str:
    first = FirstAnswers(is_deprecated=is_deprecated)
    for one in said:
        first.see(SAID[one])
    return first.complaint


@pytest.mark.parametrize(
    ("said", "words"),
    [(400, "the request itself"), (404, "endpoint is gone"), ("empty", "nothing")],
)
def test_twenty_first_answers_of_one_kind_are_complained_of(said: int | str, words: str) -> None:
    assert not complaint(*[said] * 19)
    assert words in complaint(*[said] * 20)


def test_400_and_404_say_the_same_of_a_request() -> None:
    assert complaint(*[400, 404] * 10)


def test_only_of_a_deprecated_endpoint_301_says_that_it_is_gone() -> None:
    assert not complaint(*[301] * 50)
    assert "deprecated" in complaint(*[301] * 20, is_deprecated=True)


@pytest.mark.parametrize("kind", [400, 404, 301, "empty"])
def test_any_other_answer_among_the_first_clears_the_request(kind: int | str) -> None:
    for before, other in product([0, 1, 19], [0, 302, 500]):
        assert not complaint(*[kind] * before, other, *[kind] * 100, is_deprecated=True)


def test_two_kinds_among_the_first_clear_the_request() -> None:
    assert not complaint(*["empty"] * 10, *[404] * 30)


def test_a_complaint_stays_whatever_comes_after() -> None:
    assert complaint(*[400] * 20, 0, 400)


def test_notes_that_failed_before_say_nothing_new() -> None:
    breaker = failing(29)
    for seq in range(100, 200):
        breaker.see(seq, Verdict.RETRY, again=True)
    assert not breaker.is_tripped
    breaker.see(30, Verdict.RETRY)
    assert breaker.is_tripped
