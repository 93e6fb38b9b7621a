"""The Retry-After header, in both its forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.rules.retry_after import parse_retry_after

NOW = 784111770.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 400, 3600.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 7.0),
        ("Sun, 06 Nov 1994 08:49:29 GMT", 0.0),
        ("Sun, 06 Nov 1994 16:49:37 +0800", 7.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("-1", None),
        ("\u0663", None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +9999999999", None),
    ],
)
def test_seconds_or_a_date_say_how_long_to_wait(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@given(st.text() | st.text("0123456789: ,-+GMTSunNov", max_size=40))
def test_any_header_is_read_without_an_error_and_within_bounds(header: str) -> None:
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("Sun, 06 Nov 1994 08:49:30 GMT", 7.0), ("whenever", 37.0), ("", 37.0), (None, 37.0)],
)
def test_a_date_is_read_by_the_clock_that_wrote_it(said: str | None, seconds: float) -> None:
    ours = NOW - 30.0
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", ours, said) == seconds
    assert parse_retry_after("5", ours, said) == 5.0
