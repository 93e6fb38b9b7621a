"""Numbers, times and money in plain words."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.formatting import amount, codes, count, duration, iso_utc, money, pace
from harvester.parsing import read_rate


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (725, "12 min 5 s"),
        (3599.7, "1 h 0 min"),
        (12000, "3 h 20 min"),
        (86400, "1 d 0 h"),
        (187200, "2 d 4 h"),
        (86400 * 400, "400 d 0 h"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@given(st.floats(0, 1e12))
def test_no_part_of_a_duration_is_as_long_as_the_next_unit(seconds: float) -> None:
    most = {"s": 59, "min": 59, "h": 23}
    words = duration(seconds).split()
    assert all(
        int(n) <= most.get(unit, 10**9) for n, unit in zip(words[::2], words[1::2], strict=True)
    )


def test_a_count_has_its_noun() -> None:
    assert [count(n, "note") for n in (0, 1, 2000)] == ["0 notes", "1 note", "2,000 notes"]
    assert count(2, "reply", "replies") == "2 replies"


def test_money_is_shown_only_where_a_price_is_known() -> None:
    assert money(1000, None) == ""
    assert money(1000, Decimal("0.05")) == " (50.00 at 0.05 a call)"
    assert money(1_000_000, Decimal("0.05")) == " (50,000.00 at 0.05 a call)"


def test_codes_are_listed_or_none() -> None:
    assert codes({"0": 9500, "301": 50, "none": 1}) == "0: 9,500, 301: 50, none: 1"
    assert codes({}) == "none"


def test_a_moment_is_utc_to_the_millisecond() -> None:
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"
    assert iso_utc(1795395723.456) == "2026-11-23T01:02:03.456Z"


@pytest.mark.parametrize(
    ("per_second", "said"),
    [(39.8, "39/s"), (10, "10/s"), (4.99, "299/m"), (0.05, "180/h"), (1e-3, "86/d"), (1e-6, "1/d")],
)
def test_a_pace_is_said_as_the_rate_option_takes_it(per_second: float, said: str) -> None:
    assert pace(per_second) == said
    assert read_rate(said).per_second == pytest.approx(per_second, rel=0.1) or said == "1/d"


@pytest.mark.parametrize(
    ("value", "text"),
    [("123.4500", "123.45"), ("1000", "1,000.00"), ("0.0075", "0.0075"), ("-0.05", "-0.05")],
)
def test_an_amount_is_shown_to_the_cent_or_as_exact_as_it_is(value: str, text: str) -> None:
    assert amount(Decimal(value)) == text
