"""What the vendor's pages say of an account: its balance, its calls of a day, or why neither."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from harvester.model import Answer, Fault, Judgement, Verdict
from harvester.money import Balance, Untold, Why, Word
from harvester.rules.verdicts import judge
from harvester.sanitize import sanitize

# The vendor's are decimals in a string, of four places; a number is as good.
_AMOUNT = re.compile(r"-?\d{1,15}(?:\.\d{1,10})?", re.ASCII)
_CURRENCY = re.compile(r"\w{0,8}")
_GONE = frozenset({300, 404})
_REFUSING = frozenset({100, 101, 600})
_UNREADABLE = (Fault.MALFORMED, Fault.TOO_LARGE)


Said = Callable[[str], str]


def read_balance(answer: Answer, said: Said = sanitize) -> Word:
    """Read the answer of the balance's page; `said` makes what a server says fit to be shown."""
    data = _data_of(answer, said)
    if isinstance(data, Untold):
        return data
    told = data if isinstance(data, dict) else {}
    held, currency = told.get("balance"), told.get("currency") or ""
    is_amount = isinstance(held, str | int | Decimal) and not isinstance(held, bool)
    text = str(held).strip()
    if not (is_amount and _AMOUNT.fullmatch(text) and isinstance(currency, str)):
        return Untold(Why.ODD, "it holds no balance")
    currency = currency.strip()
    if not _CURRENCY.fullmatch(currency):
        return Untold(Why.ODD, "its currency is none")
    return Balance(Decimal(text), currency)


def read_usage(answer: Answer, day: str, said: Said = sanitize) -> int | Untold:
    """Read the usage page's calls of a day (2026-11-27), over all APIs."""
    data = _data_of(answer, said)
    if isinstance(data, Untold):
        return data
    try:
        trend = data["apiTrendDaily"]
        place = trend["days"].index(day) if day in trend["days"] else None
        calls = [0 if place is None else series["data"][place] for series in trend["series"]]
        return sum(map(_count, calls))
    except (TypeError, LookupError, AttributeError, ValueError):
        return Untold(Why.ODD, "it tells no calls by day")


def _count(calls: object) -> int:
    if isinstance(calls, bool) or not isinstance(calls, int):
        raise TypeError
    return calls


def _data_of(answer: Answer, said: Said) -> Any:  # noqa: ANN401 - whatever JSON may hold
    """The `data` of an answer with code 0, or why there is none."""
    judgement = judge(answer, said, is_first=True)
    if judgement.verdict is not Verdict.SAVE:
        return _untold(answer.fault, judgement)
    try:
        return json.loads(judgement.data, parse_float=Decimal)
    except (ValueError, RecursionError):
        return Untold(Why.ODD, "it is no JSON")


def _untold(fault: Fault | None, judgement: Judgement) -> Untold:
    """Tell an answer that is no success apart from the others."""
    code, reason = judgement.code, judgement.reason
    if fault is Fault.TIMEOUT:
        return Untold(Why.SLOW)
    if fault is not None:
        return Untold(Why.ODD if fault in _UNREADABLE else Why.UNREACHABLE, reason)
    why = Why.NOT_THERE if code in _GONE else Why.REFUSED if code in _REFUSING else Why.ODD
    return Untold(why, reason if code is None else f"code {code}: {reason}")
