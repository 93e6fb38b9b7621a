"""The tempo drops at once when the server refuses it, and climbs back slowly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.rules.tempo import Tempo

ASKED = st.floats(1 / 86400, 10_000)
# Steps of time, each with whether a refusal comes at its end and how old its call is.
STEPS = st.lists(st.tuples(st.floats(0, 600), st.booleans(), st.floats(0, 90)), max_size=60)


def test_the_tempo_is_what_was_asked_until_it_is_refused() -> None:
    tempo = Tempo(5)
    assert [tempo.rate(now) for now in (0, 1, 1e6)] == [5, 5, 5]
    assert not tempo.is_lowered


def test_a_refusal_drops_it_at_once() -> None:
    tempo = Tempo(8)
    assert tempo.refuse(100, began=99)
    assert tempo.rate(100) == 6
    assert tempo.is_lowered


def test_a_burst_of_refusals_drops_it_once() -> None:
    tempo = Tempo(8)
    assert tempo.refuse(100, began=99)
    assert not any(tempo.refuse(100 + 0.1 * nth, began=99.5) for nth in range(10))
    assert tempo.rate(100) == pytest.approx(6, abs=0.2)
    assert tempo.refuse(102, began=101)
    assert tempo.rate(102) < 5


def test_it_climbs_slower_past_the_pace_that_was_refused() -> None:
    tempo = Tempo(10)
    tempo.refuse(0, began=-1)
    low = tempo.rate(0)
    first_ten = tempo.rate(10) - low
    near = tempo.rate(12)
    next_ten = tempo.rate(22) - near
    assert 9.5 <= near < 10
    assert next_ten < first_ten / 5


@given(ASKED, STEPS)
def test_it_is_never_above_what_was_asked_and_never_stops(
    asked: float, steps: list[tuple[float, bool, float]]
) -> None:
    tempo, now = Tempo(asked), 0.0
    for step, is_refused, age in steps:
        now += step
        if is_refused:
            tempo.refuse(now, now - age)
        assert asked * 0.0099 <= tempo.rate(now) <= asked


@given(ASKED, st.integers(1, 40))
def test_it_climbs_back_to_what_was_asked(asked: float, refusals: int) -> None:
    tempo = Tempo(asked)
    for nth in range(refusals):
        tempo.refuse(float(nth), began=nth - 0.5)
    last, climbed = tempo.rate(refusals), [tempo.rate(refusals + 10 * t) for t in range(60)]
    assert climbed == sorted(climbed)
    assert climbed[0] == last
    assert climbed[-1] == asked
    assert not tempo.is_lowered
