"""The run's own limits are never overrun, whatever the calls in flight turn out to be."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.rules.budget import Limits, Spent, calls_allowed, is_reached

A_LIMIT = st.none() | st.integers(1, 12)
LIMITS = st.builds(Limits, A_LIMIT, A_LIMIT, A_LIMIT, A_LIMIT)
# How each call lands: saved, failed, or never answered.
LANDINGS = st.lists(st.sampled_from(["saved", "failed", "unanswered"]), max_size=80)


def test_without_limits_nothing_bounds_the_calls() -> None:
    assert calls_allowed(Limits(), Spent(10**9, 10**9, 10**9), 10**6) is None
    assert is_reached(Limits(), Spent(10**9, 10**9, 10**9)) is None


@pytest.mark.parametrize(
    ("limits", "spent", "in_flight", "allowed"),
    [
        (Limits(max_notes=10), Spent(notes=4), 3, 3),
        (Limits(max_calls=10), Spent(calls=4), 3, 6),
        (Limits(max_charged=10), Spent(charged=4, unanswered=1), 3, 2),
        (Limits(max_charged_daily=10), Spent(charged_today=4), 3, 3),
        (Limits(max_notes=10, max_calls=5), Spent(calls=4), 0, 1),
        (Limits(max_notes=1), Spent(notes=1), 3, 0),
    ],
)
def test_the_tightest_limit_says_how_many_calls_may_start(
    limits: Limits, spent: Spent, in_flight: int, allowed: int
) -> None:
    assert calls_allowed(limits, spent, in_flight) == allowed


@pytest.mark.parametrize(
    ("limits", "spent", "name"),
    [
        (Limits(max_notes=2), Spent(notes=2), "--max-notes"),
        (Limits(max_calls=2), Spent(calls=2), "--max-calls"),
        (Limits(max_charged=2), Spent(charged=1, unanswered=1), "--max-charged"),
        (Limits(max_charged_daily=2), Spent(charged_today=3), "--max-charged-daily"),
        (Limits(2, 2, 2, 2), Spent(1, 1, 1, 0, 1), None),
    ],
)
def test_a_limit_that_is_used_up_is_named(limits: Limits, spent: Spent, name: str | None) -> None:
    assert is_reached(limits, spent) == name


def land(spent: Spent, landing: str) -> None:
    charged = landing == "saved"
    spent.notes += charged
    spent.charged += charged
    spent.unanswered += landing == "unanswered"
    spent.charged_today += landing != "failed"


@given(LIMITS, LANDINGS, st.randoms(use_true_random=False))
def test_however_the_calls_land_no_limit_is_overrun_and_none_waits_for_ever(
    limits: Limits, landings: list[str], random: Random
) -> None:
    spent, flying = Spent(), 0
    for landing in landings:
        allowed = calls_allowed(limits, spent, flying)
        started = random.randint(0, 5) if allowed is None else random.randint(0, allowed)
        spent.calls += started
        flying += started
        if flying:
            flying -= 1
            land(spent, landing)
        assert spent.notes <= (limits.max_notes or 99_999)
        assert spent.calls <= (limits.max_calls or 99_999)
        assert spent.charged + spent.unanswered <= (limits.max_charged or 99_999)
        assert spent.charged_today <= (limits.max_charged_daily or 99_999)
        if not flying and calls_allowed(limits, spent, 0) == 0:
            assert is_reached(limits, spent) is not None
