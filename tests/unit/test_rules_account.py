"""What the vendor's account pages say, and how each way of saying nothing is told apart."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from harvester.model import Answer, Fault
from harvester.money import Balance, Untold, Why
from harvester.rules.account import read_balance, read_usage


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())


def page(data: object) -> Answer:
    return answer({"code": 0, "message": None, "data": data})


@pytest.mark.parametrize(
    ("data", "balance"),
    [
        ({"balance": "123.4500", "currency": "CNY"}, Balance(Decimal("123.45"), "CNY")),
        ({"balance": "-0.0500", "currency": "CNY"}, Balance(Decimal("-0.05"), "CNY")),
        ({"balance": 7, "currency": "USD"}, Balance(Decimal(7), "USD")),
        ({"balance": "0"}, Balance(Decimal(0), "")),
        ({"balance": "1.10", "currency": None}, Balance(Decimal("1.10"), "")),
    ],
)
def test_a_balance_is_read_to_the_last_digit(data: object, balance: Balance) -> None:
    assert read_balance(page(data)) == balance


def test_a_balance_that_is_a_number_is_no_float_on_its_way() -> None:
    body = b'{"code":0,"data":{"balance":0.1000000001,"currency":"CNY"}}'
    assert read_balance(answer(body)) == Balance(Decimal("0.1000000001"), "CNY")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (answer({"code": 404, "message": "Resource not found"}, 404), Why.NOT_THERE),
        (answer(b"<html>", 404), Why.NOT_THERE),
        (answer({"code": 300, "message": "API Invalid"}, 403), Why.NOT_THERE),
        (answer({"code": 100, "message": "Invalid Token"}, 401), Why.REFUSED),
        (answer(b"no", 401), Why.REFUSED),
        (answer({"code": 600}, 403), Why.REFUSED),
        (Answer(fault=Fault.TIMEOUT), Why.SLOW),
        (Answer(fault=Fault.NO_CONNECTION), Why.UNREACHABLE),
        (Answer(fault=Fault.BROKEN), Why.UNREACHABLE),
        (Answer(fault=Fault.MALFORMED), Why.ODD),
        (Answer(fault=Fault.TOO_LARGE), Why.ODD),
        (answer({"code": 500}, 500), Why.ODD),
        (answer({"code": 302}, 429), Why.ODD),
        (answer(b"<html>hello</html>"), Why.ODD),
        (answer(b"", 301), Why.ODD),
        (page(None), Why.ODD),
        (page([]), Why.ODD),
        (page({"balance": None}), Why.ODD),
        (page({"balance": True}), Why.ODD),
        (page({"balance": "much"}), Why.ODD),
        (page({"balance": "NaN"}), Why.ODD),
        (page({"balance": "1e9999"}), Why.ODD),
        (page({"balance": "1", "currency": "\x1b[31m"}), Why.ODD),
        (page({"balance": "1", "currency": 7}), Why.ODD),
        (answer({"code": "0", "data": {"balance": "1"}}), Why.ODD),
    ],
)
def test_each_way_of_telling_nothing_is_told_apart(asked: Answer, why: Why) -> None:
    told = read_balance(asked)
    assert isinstance(told, Untold)
    assert told.why is why
    assert str(told).startswith(why.value)


def test_calls_of_a_day_are_added_up_over_all_apis() -> None:
    trend = {
        "days": ["2026-11-26", "2026-11-27"],
        "series": [{"name": "a", "data": [1, 20]}, {"name": "b", "data": [3, 4]}],
    }
    usage = page({"apiTrendDaily": trend, "more": {}})
    assert read_usage(usage, "2026-11-27") == 24
    assert read_usage(usage, "2026-11-28") == 0


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"apiTrendDaily": None},
        {"apiTrendDaily": {"days": ["2026-11-27"], "series": [{"name": "a", "data": []}]}},
        {"apiTrendDaily": {"days": ["2026-11-27"], "series": [{"name": "a", "data": ["x"]}]}},
        {"apiTrendDaily": {"days": 7, "series": []}},
    ],
)
def test_usage_of_another_shape_tells_no_calls(data: object) -> None:
    told = read_usage(page(data), "2026-11-27")
    assert isinstance(told, Untold)
    assert told.why is Why.ODD
