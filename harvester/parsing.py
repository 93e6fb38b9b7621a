"""Texts, and what Python code gives in their place, to values.

Each reader raises ValueError that says what is wrong with a value, without its option's name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from harvester.secret import Secret

# What reads a value as a person or a program gives it; it raises ValueError.
Reader = Callable[[object], Any]
_AUTO, ALWAYS = "auto", "always"
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*/\s*(s|m|h|d)", re.ASCII)
_BASE_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([1-9]\d{0,4}))?(?:/[A-Za-z0-9._~/%-]*)?"
)
_AMOUNT = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_LAST_PORT = 65535
# What a ledger can hold, and what is as good as no limit.
_MOST = 10**12
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Rate(Struct, frozen=True):
    """At most `calls` calls in any window of `period` seconds."""

    calls: float
    period: float

    @property
    def per_second(self) -> float:
        """The same as calls a second."""
        return self.calls / self.period

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _UNIT_SECONDS.items() if seconds == self.period)
        return f"{self.calls:.0f}/{unit}"


def read_names(value: object) -> tuple[str, ...]:
    """Read a name, or several."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise ValueError("is neither a name nor a list of names.")
    return tuple(names)


def read_encoding(value: object) -> str:
    """Read the name of an encoding of text, as Python knows them."""
    try:
        codecs.getincrementaldecoder(str(value))("backslashreplace").decode(b"1\n", True).encode()  # noqa: FBT003
    except (AttributeError, LookupError, TypeError, UnicodeError, ValueError):
        raise ValueError(
            "is no encoding: say utf-8, gb18030, big5, shift_jis or the like."
        ) from None
    return str(value)


def read_rate(value: object) -> Rate:
    """Read "5/s", "300/m", "1000/h" or "20000/d"."""
    match = _RATE.fullmatch(str(value).strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError("is not like 5/s, 300/m, 1000/h or 20000/d.")
    calls, period = float(match[1]), _UNIT_SECONDS[match[2]]
    if calls < 1:
        # "0.5/s" and "30/m" are the same pace; a window must hold at least one whole call.
        raise ValueError("needs a longer unit, such as 30/m for 0.5/s.")
    if calls != int(calls):
        raise ValueError("is not in whole calls, such as 90/m for 1.5/s.")
    return Rate(calls, period)


def read_duration(value: object) -> float:
    """Read "8h", "7d", "50ms", "1h30m" or plain seconds ("90") as seconds."""
    bare = _bare_number(value)
    seconds = _with_units(str(value)) if bare is None else bare
    if not 0 <= seconds <= timedelta.max.total_seconds():
        raise ValueError("is out of range.")
    return seconds


def _bare_number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _with_units(text: str) -> float:
    # Only a text with a unit needs it, and not every command reads one.
    import durationpy  # noqa: PLC0415

    try:
        return durationpy.from_str(text.strip()).total_seconds()
    except durationpy.DurationError:
        raise ValueError("is not a time like 90, 50ms, 30m, 8h or 7d.") from None


def read_positive_duration(value: object) -> float:
    """Read a duration that is more than nothing."""
    seconds = read_duration(value)
    if not seconds:
        raise ValueError("is not more than 0 seconds.")
    return seconds


def long_duration(unit: str) -> Reader:
    """A reader of durations of a day or of a night, in seconds.

    Too much hangs on whether 7 are days or seconds, and a 0 may be a value left out. `unit` is the
    one that was probably meant.
    """

    def read_long(value: object) -> float:
        seconds, number = read_duration(value), str(value).strip()
        if _bare_number(value) is not None:
            raise ValueError(f"needs a unit: {number}{unit} or {number}s?")
        return seconds

    return read_long


def read_timezone(value: object) -> ZoneInfo:
    """Find a time zone by its IANA name, such as Asia/Shanghai."""
    try:
        return ZoneInfo(read_text(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no known time zone: use a name like Asia/Shanghai.") from None


def read_flag(value: object) -> bool:
    """Read True or False."""
    if not isinstance(value, bool):
        raise ValueError("is neither True nor False.")  # noqa: TRY004 - told as all others are
    return value


def read_text(value: object) -> str:
    """Read a text as it is."""
    if not isinstance(value, str):
        raise ValueError("is no text.")  # noqa: TRY004 - the same
    return value


def read_said(value: object) -> str:
    """Read a text that says something: a variable that was not set leaves an empty one behind."""
    if not read_text(value).strip():
        raise ValueError("is empty: leave it out, or give it a value.")
    return read_text(value)


def whole(least: int, most: int = _MOST) -> Reader:
    """A reader of whole numbers from `least` on, to `most`."""

    def read_whole(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            is_open = most == _MOST and number < most
            wanted = f"of {least} or more" if is_open else f"from {least} to {most}"
            raise ValueError(f"is not a whole number {wanted}.")
        return number

    return read_whole


def read_amount(value: object) -> Decimal:
    """Read an amount of money of 0 or more, exactly as it is written."""
    match = _AMOUNT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("is not an amount like 0.05.")
    return Decimal(match[0])


def read_share(value: object) -> float:
    """Read a number from 0 to 1."""
    share = _bare_number(value)
    # Written so that NaN fails, too.
    if share is None or not 0 <= share <= 1:
        raise ValueError("is not a number from 0 to 1.")
    return share


def one_of(names: Collection[str]) -> Reader:
    """A reader of one of a few names."""

    def read_name(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"is not known: use {' or '.join(names)}.")
        return value

    return read_name


def or_auto(reader: Reader) -> Reader:
    """A reader that also takes "auto", which leaves it to the run and is read as None."""

    def read_or_auto(value: object) -> Any:  # noqa: ANN401 - each reader has a type of its own
        if str(value).strip() == _AUTO:
            return None
        try:
            return reader(value)
        except ValueError as error:
            raise ValueError(f"{str(error).removesuffix('.')}, nor auto.") from None

    return read_or_auto


def read_webhooks(value: object) -> tuple[Secret[str], ...]:
    """Read URLs, one or more, each on a line or in an item of its own."""
    texts = value.split() if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError("is neither a text nor a list of texts.")  # noqa: TRY004 - as all others
    for text in texts:
        url = urlsplit(read_text(text))
        is_whole = text.isascii() and text.isprintable() and " " not in text and bool(url.hostname)
        if url.scheme not in {"http", "https"} or not is_whole or "@" in url.netloc:
            raise ValueError("is not like https://host.example/path: give all of it, and no more.")
        url.port  # noqa: B018 - raises for what is none
    return tuple(Secret(text.partition("#")[0]) for text in texts)


def or_always(reader: Reader) -> Reader:
    """A reader of durations that also takes "always", or True, for one without end."""

    def read_or_always(value: object) -> float:
        if value is True or str(value).strip() == ALWAYS:
            return float("inf")
        return float(reader(value))

    return read_or_always


def read_base_url(value: object) -> str:
    """Read a base URL, and leave out its last slash."""
    url = read_said(value)
    match = _BASE_URL.fullmatch(url)
    if match is None or int(match[1] or 1) > _LAST_PORT:
        raise ValueError(
            "is not like https://api.justoneapi.com: give scheme, host, perhaps port and path, and "
            "nothing else."
        )
    return url.rstrip("/")
