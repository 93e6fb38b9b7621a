"""What the value of each option of a run means, as a person writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harvester.api.endpoints import DEFAULT_ENDPOINT, endpoint_name
from harvester.errors import OptionError
from harvester.settings import (
    DEFAULT_DAY_ZONE,
    REGIONS,
    parse_duration,
    parse_long_duration,
    parse_rate,
    parse_timezone,
)

_AUTO = "auto"

Reader = Callable[[object], object]


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither True nor False.")  # noqa: TRY004 - told as all others are
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text.")  # noqa: TRY004 - the same
    return value


def _whole(least: int) -> Reader:
    def read_whole(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = least - 1
        if number < least:
            raise ValueError(f"is not a whole number of {least} or more.")
        return number

    return read_whole


def _or_auto(reader: Reader) -> Reader:
    """None for "auto", which leaves it to the run."""

    def read_or_auto(value: object) -> object:
        if str(value).strip() == _AUTO:
            return None
        try:
            return reader(value)
        except ValueError as error:
            raise ValueError(f"{str(error).removesuffix('.')}, nor auto.") from None

    return read_or_auto


def _seconds(value: object) -> float:
    return parse_duration(str(value))


def _timeout(value: object) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError("is not more than 0 seconds.")
    return seconds


def _long(unit: str) -> Reader:
    return lambda value: parse_long_duration(str(value), unit)


def _region(value: object) -> str:
    if value not in REGIONS:
        raise ValueError(f"is not known: use {' or '.join(REGIONS)}.")
    return str(value)


# What each option means that is left out, and what reads it: it raises ValueError that says what is
# wrong. Where None is the default, None may be said, too.
_TABLE: dict[str, tuple[object, Reader]] = {
    "endpoint": (DEFAULT_ENDPOINT, lambda value: endpoint_name(_text(value))),
    "region": (None, _region),
    "accept_cache": (False, _flag),
    "rate": ("5/s", _or_auto(lambda value: parse_rate(str(value)))),
    "burst": (1, _whole(1)),
    "workers": (_AUTO, _or_auto(_whole(1))),
    "timeout": (120, _timeout),
    "allow_short_timeout": (False, _flag),
    "max_attempts": (6, _whole(1)),
    "max_unanswered": (2, _whole(0)),
    "backoff_base": (1, _seconds),
    "backoff_cap": (120, _seconds),
    "max_notes": (None, _whole(1)),
    "max_calls": (None, _whole(1)),
    "max_charged": (None, _whole(1)),
    "max_charged_daily": (None, _whole(1)),
    "max_runtime": (None, _long("h")),
    "day_timezone": (DEFAULT_DAY_ZONE, lambda value: parse_timezone(_text(value))),
    "refresh": (None, _long("d")),
    "retry_failed": (False, _flag),
    "simulate": (False, _flag),
    "rebuild": (False, _flag),
    "sync": (False, _flag),
    "strict": (False, _flag),
    "wait_for_lock": ("0s", _long("m")),
    # Of `harvester simulate`.
    "latency": (0, _seconds),
    "jitter": (0, _seconds),
}


def read(option: str, value: object) -> Any:  # noqa: ANN401 - each option has a type of its own
    """What an option's value means; raises OptionError."""
    default, reader = _TABLE[option]
    if value is None and default is None:
        return None
    try:
        return reader(value)
    except ValueError as error:
        raise OptionError(option, str(error), repr(value)) from None


def read_all(given: Mapping[str, object]) -> dict[str, Any]:
    """What all options mean, by name, those that are not given too; raises OptionError."""
    return {name: read(name, given.get(name, default)) for name, (default, _) in _TABLE.items()}
