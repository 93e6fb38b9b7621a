"""Latencies in buckets: how far off a quantile can be, and that counts add up."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.rules.latency import bucket_of, quantile, seconds_of

# Half a bucket, as a ratio: eight buckets to each doubling.
ERROR = 2 ** (1 / 16) + 1e-9
LATENCY = st.floats(0.001, 3600)
LATENCIES = st.lists(LATENCY, min_size=1, max_size=200)
SHARE = st.floats(0.01, 1)


def counted(latencies: list[float]) -> Counter[int]:
    return Counter(map(bucket_of, latencies))


@given(LATENCY)
def test_a_latency_read_back_is_off_by_less_than_four_and_a_half_percent(seconds: float) -> None:
    assert max(seconds_of(bucket_of(seconds)) / seconds, 0) <= 1.045
    assert 1 / ERROR <= seconds_of(bucket_of(seconds)) / seconds <= ERROR


@given(LATENCIES, SHARE)
def test_a_quantile_is_that_of_the_latencies_within_half_a_bucket(
    latencies: list[float], share: float
) -> None:
    found = quantile(counted(latencies), share)
    assert found is not None
    place = math.ceil(share * len(latencies) - 1e-9)
    exact = sorted(latencies)[max(0, place - 1)]
    assert exact / ERROR <= found <= exact * ERROR


@given(LATENCIES, LATENCIES, SHARE)
def test_buckets_of_two_minutes_add_up_to_those_of_both(
    one: list[float], other: list[float], share: float
) -> None:
    merged = counted(one) + counted(other)
    assert merged == counted(one + other)
    assert quantile(merged, share) == quantile(counted(one + other), share)


@given(LATENCY, LATENCY)
def test_a_longer_latency_never_falls_into_a_lower_bucket(one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    assert bucket_of(shorter) <= bucket_of(longer)


@given(LATENCIES, SHARE, SHARE)
def test_a_larger_share_never_has_a_shorter_quantile(
    latencies: list[float], one: float, other: float
) -> None:
    shares = sorted((one, other))
    lower, upper = (quantile(counted(latencies), share) for share in shares)
    assert lower is not None
    assert upper is not None
    assert lower <= upper


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 0.001])
def test_all_up_to_a_millisecond_is_one_bucket(seconds: float) -> None:
    assert bucket_of(seconds) == 0
    assert seconds_of(0) == 0.001


def test_a_doubling_is_eight_buckets() -> None:
    assert [bucket_of(0.001 * 2**n) for n in range(12)] == list(range(0, 96, 8))


def test_no_calls_have_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None


def test_buckets_without_calls_are_passed_over() -> None:
    assert quantile({1: 0, 40: 2, 90: 0}, 0.5) == seconds_of(40)
