"""Numbers, times and money in plain words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

_CENT = Decimal("0.01")
_TELLING_CALLS = 10
# Of a shorter run, whose first two calls start at once, the pace would seem to be above its rate.
TELLING_SECONDS = 10.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """A duration in seconds, as people say it: 8 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: 1 note, 2,000 notes."""
    noun = singular if number == 1 else plural or singular + "s"
    return f"{number:,} {noun}"


def left_out(number: int) -> str:
    """How many lines of an INPUT named no note."""
    return count(
        number,
        "line of input named no note and was left out",
        "lines of input named no note and were left out",
    )


def hint(name: str, known: Iterable[str], form: str = " Did you mean {}?") -> str:
    """What was probably meant, in words; empty where nothing that is known comes near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return form.format(near[0]) if near else ""


def amount(value: Decimal, currency: str | None = None) -> str:
    """Money to the cent, or as exact as it is: 1,123.45, 0.0075 CNY."""
    cents = value.quantize(_CENT)
    return f"{cents if cents == value else value.normalize():,f} {currency or ''}".rstrip()


def money(
    calls: int, price: Decimal | None, currency: str = "", cost: Decimal | None = None
) -> str:
    """What calls cost, in brackets, or nothing where no price is known.

    `cost` is what they came to, if not all of them had this price.
    """
    if price is None:
        return ""
    cost = calls * price if cost is None else cost
    each = f" at {price.normalize():f} a call" if cost == calls * price else ""
    return f" ({amount(cost, currency)}{each})"


def codes(by_code: dict[str, int]) -> str:
    """Answers by code: 0: 950, 301: 50."""
    return ", ".join(f"{code}: {many:,}" for code, many in by_code.items()) or "none"


def pace(per_second: float) -> str:
    """A pace in calls a second as `--rate` takes it, rounded down: 39/s, 90/m, 2/h."""
    for unit, seconds in (("s", 1), ("m", _MINUTE), ("h", _HOUR)):
        calls = per_second * seconds
        # Where rounding down would cost much, a longer unit says it better.
        if calls >= _TELLING_CALLS:
            return f"{int(calls)}/{unit}"
    return f"{max(1, int(per_second * _DAY))}/d"


def iso_utc(seconds: float) -> str:
    """A moment in Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
