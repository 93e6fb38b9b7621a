"""The rate drops at once when the server refuses it, and climbs back as TCP CUBIC does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.rules.adaptive_rate import START, AdaptiveRate

ASKED = st.floats(1 / 86400, 10_000)
# Steps of time, each with whether a refusal comes at its end and how old its call is.
STEPS = st.lists(st.tuples(st.floats(0, 600), st.booleans(), st.floats(0, 90)), max_size=60)


def going(asked: float, per_second: int, seconds: int = 2) -> AdaptiveRate:
    """A rate after some seconds of calls."""
    rate = AdaptiveRate(asked)
    for nth in range(per_second * seconds):
        rate.start(nth / per_second)
    return rate


def test_the_rate_is_what_was_asked_until_it_is_refused() -> None:
    rate = AdaptiveRate(5)
    assert [rate.at(now) for now in (0, 1, 1e6)] == [5, 5, 5]
    assert rate.sustained_rate(1e6) is None


def test_a_refusal_drops_it_at_once_below_what_was_sustained() -> None:
    rate = going(asked=100, per_second=80)
    assert rate.refuse(2, began=2)
    assert rate.at(2) == pytest.approx(80 * 0.85)
    assert rate.sustained_rate(2) == 80


def test_one_refusal_never_takes_more_than_half() -> None:
    rate = going(asked=100, per_second=1)
    rate.refuse(2, began=2)
    assert rate.sustained_rate(2) == 50


def test_a_burst_of_refusals_drops_it_once() -> None:
    rate = going(asked=8, per_second=8)
    assert rate.refuse(2, began=2)
    assert not any(rate.refuse(2 + 0.1 * nth, began=1.9) for nth in range(10))
    assert rate.at(2) == pytest.approx(8 * 0.85)


def test_a_refusal_right_after_the_pause_makes_the_next_one_longer_and_the_pace_no_lower() -> None:
    rate = going(asked=8, per_second=8)
    pauses = []
    for nth in range(12):
        assert rate.refuse(2 + nth, began=1.99 + nth)
        pauses.append(rate.pause)
    assert pauses[:4] == [0.25, 0.5, 1, 2]
    assert pauses[-1] == 60
    assert rate.sustained_rate(14) == 8
    rate.accept(began=14)
    rate.refuse(15, began=15)
    assert rate.pause == 0.25


def test_the_climb_is_flat_about_the_pace_that_was_refused() -> None:
    rate = going(asked=100, per_second=60)
    rate.refuse(2, began=2)
    rates = [rate.at(2 + second) for second in range(100)]
    assert all(before < after for before, after in pairwise(rates) if after < 100)
    near = [second for second, rate in enumerate(rates) if abs(rate / 60 - 1) < 0.02]
    assert near[0] <= 8
    assert len(near) > 12
    assert sum(rates[:15]) / 15 > 0.95 * 60
    # Not refused there, it goes on to what was asked, quicker and quicker.
    assert rates[60] == 100


def test_the_slower_the_calls_the_longer_the_climb() -> None:
    slow, fast = going(asked=5, per_second=5), going(asked=50, per_second=50)
    for rate in (slow, fast):
        rate.refuse(2, began=2)
    assert slow.at(22) / 5 < fast.at(22) / 50


def test_with_no_pace_asked_for_it_grows_from_the_start_until_refused() -> None:
    rate = AdaptiveRate(1000, START)
    assert rate.at(100) == START
    rate.start(100)
    rates = [rate.at(100 + second) for second in range(200)]
    assert rates == sorted(rates)
    assert rates[-1] == 1000
    assert rate.sustained_rate(300) is None


@given(ASKED, STEPS)
def test_it_is_never_above_what_was_asked_and_never_stops(
    asked: float, steps: list[tuple[float, bool, float]]
) -> None:
    rate, now = AdaptiveRate(asked), 0.0
    for step, is_refused, age in steps:
        now += step
        rate.start(now)
        if is_refused:
            rate.refuse(now, now - age)
            assert 0 < rate.pause <= 60
        else:
            rate.accept(now - age)
        assert min(asked, 1 / 60) * 0.84 <= rate.at(now) <= asked


@given(ASKED, st.integers(1, 40))
def test_it_climbs_back_to_what_was_asked(asked: float, refusals: int) -> None:
    rate = AdaptiveRate(asked)
    for nth in range(refusals):
        rate.refuse(float(nth), began=nth - 0.5)
        rate.accept(nth + 0.1)
    climbed = [rate.at(refusals + 20 * t) for t in range(100)]
    assert climbed == sorted(climbed)
    assert climbed[-1] == asked
