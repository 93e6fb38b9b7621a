"""Texts become values, and what cannot be one is told in plain words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.parsing import (
    Rate,
    Reader,
    read_duration,
    read_rate,
    read_share,
    read_timezone,
    whole,
)


@pytest.mark.parametrize(
    ("text", "rate", "shown", "per_second"),
    [
        ("5/s", Rate(5, 1), "5/s", 5),
        ("300/m", Rate(300, 60), "300/m", 5),
        ("1000/h", Rate(1000, 3600), "1000/h", 1000 / 3600),
        ("20000/d", Rate(20000, 86400), "20000/d", 20000 / 86400),
        (" 5 / s ", Rate(5, 1), "5/s", 5),
        ("5.0/s", Rate(5, 1), "5/s", 5),
    ],
)
def test_a_rate_is_calls_in_a_period(text: str, rate: Rate, shown: str, per_second: float) -> None:
    assert read_rate(text) == rate
    assert str(rate) == shown
    assert rate.per_second == per_second


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", "is not like 5/s, 300/m, 1000/h or 20000/d."),
        ("", "is not like"),
        ("/s", "is not like"),
        ("5/w", "is not like"),
        ("-5/s", "is not like"),
        ("1e3/s", "is not like"),
        ("0/s", "is not like"),
        ("0.0/s", "is not like"),
        ("\u0665/s", "is not like"),
        ("5/s\n6/s", "is not like"),
        ("inf/s", "is not like"),
        ("0.5/s", "needs a longer unit, such as 30/m for 0.5/s."),
        ("1.5/s", "is not in whole calls, such as 90/m for 1.5/s."),
    ],
)
def test_a_rate_that_cannot_be_meant_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        read_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("50ms", 0.05),
        ("30m", 1800.0),
        ("8h", 28800.0),
        (" 8h ", 28800.0),
        ("7d", 604800.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
    ],
)
def test_a_duration_is_seconds_or_has_units(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a time like 90, 50ms, 30m, 8h or 7d."),
        ("h", "is not a time like"),
        ("soon", "is not a time like"),
        ("5 m", "is not a time like"),
        ("1mo", "is not a time like"),
        ("999999999999h", "is not a time like"),
        ("9" * 400 + "h", "is not a time like"),
        ("-1", "is out of range."),
        ("-5m", "is out of range."),
        ("nan", "is out of range."),
        ("inf", "is out of range."),
        ("1e400", "is out of range."),
    ],
)
def test_a_duration_that_cannot_be_meant_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        read_duration(text)


@given(st.text() | st.text("0123456789.-+ehdms ", max_size=30))
def test_any_text_is_a_duration_in_range_or_refused(text: str) -> None:
    try:
        seconds = read_duration(text)
    except ValueError:
        return
    assert 0 <= seconds < 1e14


@pytest.mark.parametrize("name", ["Asia/Shanghai", "UTC", "Europe/Berlin"])
def test_a_time_zone_is_found_by_its_name(name: str) -> None:
    assert read_timezone(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "Asia",
        "asia/shanghai",
        "Mars/Base",
        "../x",
        "/etc/hosts",
        "\0",
        "\ud800",
        "a" * 5000,
    ],
)
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^is no known time zone: use a name like"):
        read_timezone(name)


@pytest.mark.parametrize(
    ("reader", "value", "told"),
    [
        (whole(1), "0", "is not a whole number of 1 or more."),
        (whole(1), "1.5", "is not a whole number of 1 or more."),
        (whole(0, 65535), "65536", "is not a whole number from 0 to 65535."),
        (read_share, "nan", "is not a number from 0 to 1."),
        (read_share, "2", "is not a number from 0 to 1."),
    ],
)
def test_a_wrong_number_is_told_with_what_is_wanted(reader: Reader, value: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        reader(value)


def test_a_right_number_is_itself() -> None:
    assert whole(0, 65535)("65535") == 65535
    assert (read_share("0.05"), read_share(1)) == (0.05, 1.0)
