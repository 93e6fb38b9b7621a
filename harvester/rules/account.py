"""What the vendor's pages say of an account: its balance, its calls of a day, or why neither."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any

from msgspec import Struct

from harvester.model import Answer, Fault, Judgement, Verdict
from harvester.rules.verdicts import judge
from harvester.sanitize import sanitize

# The vendor's are decimals in a string, of four places; a number is as good.
_AMOUNT = re.compile(r"-?\d{1,15}(?:\.\d{1,10})?", re.ASCII)
_CURRENCY = re.compile(r"\w{0,8}")
_GONE = frozenset({300, 404})
_REFUSING = frozenset({100, 101, 600})
_UNREADABLE = (Fault.MALFORMED, Fault.TOO_LARGE)


class Why(Enum):
    """Why an account page told nothing; the value is the word shown."""

    NOT_THERE = "there is no such page"
    REFUSED = "the token is refused"
    SLOW = "no answer in time"
    UNREACHABLE = "out of reach"
    ODD = "the answer cannot be used"


class Untold(Struct, frozen=True, tag="untold"):
    """Nothing was told; `detail` is plain words."""

    why: Why
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.why.value} ({self.detail})" if self.detail else self.why.value


class Balance(Struct, frozen=True, tag="balance"):
    """What an account holds; the currency is empty where it was not told."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{amount_text(self.amount)} {self.currency}".rstrip()


Word = Balance | Untold
Said = Callable[[str], str]


def amount_text(amount: Decimal) -> str:
    """An amount to the cent, or as exact as it is: 123.45, 0.0075."""
    exact = amount.quantize(Decimal("0.01")) if amount == round(amount, 2) else amount.normalize()
    return f"{exact:,f}"


def read_balance(answer: Answer, said: Said = sanitize) -> Word:
    """Read the answer of the balance's page; `said` makes what a server says fit to be shown."""
    data = _data_of(answer, said)
    if isinstance(data, Untold):
        return data
    told = data if isinstance(data, dict) else {}
    amount, currency = told.get("balance"), told.get("currency") or ""
    is_amount = isinstance(amount, str | int | Decimal) and not isinstance(amount, bool)
    text = str(amount).strip()
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
