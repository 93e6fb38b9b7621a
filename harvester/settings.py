"""Frozen settings of a run, and what reads them from text.

What reads a value raises ValueError that says what is wrong with it, without its option's name.
"""

from __future__ import annotations

import re
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import durationpy
from msgspec import Struct, field

# The vendor's page: "Set request timeout to at least 60 seconds."
SHORTEST_TIMEOUT = 60.0
REGIONS = {
    "global": "https://api.justoneapi.com",
    "cn": "http://47.117.133.51:30015",
}
# The vendor's calendar day is taken to be China's.
DEFAULT_DAY_ZONE = "Asia/Shanghai"
# Where the address of the ledger that hosts share may stand.
LEDGER_VARIABLE = "HARVESTER_LEDGER"
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*/\s*(s|m|h|d)", re.ASCII)
_BARE_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
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


def parse_rate(text: str) -> Rate:
    """Read "5/s", "300/m", "1000/h" or "20000/d"; raises ValueError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError("is not like 5/s, 300/m, 1000/h or 20000/d, nor auto.")
    calls, period = float(match[1]), _UNIT_SECONDS[match[2]]
    if calls < 1:
        # "0.5/s" and "30/m" are the same pace; a window must hold at least one whole call.
        raise ValueError("needs a longer unit, such as 30/m for 0.5/s.")
    if calls != int(calls):
        raise ValueError("is not in whole calls, such as 90/m for 1.5/s.")
    return Rate(calls, period)


def parse_duration(text: str) -> float:
    """Read "8h", "7d", "50ms", "1h30m" or plain seconds ("90") as seconds; raises ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = _with_units(text)
    if not 0 <= seconds <= timedelta.max.total_seconds():
        raise ValueError("is out of range.")
    return seconds


def parse_long_duration(text: str, unit: str) -> float:
    """Read a duration of a day or of a night as seconds; raises ValueError.

    Too much hangs on whether 7 are days or seconds, and a 0 may be a value left out. `unit` is the
    one that was probably meant.
    """
    seconds = parse_duration(text)
    if _BARE_NUMBER.fullmatch(text):
        number = text.strip()
        raise ValueError(f"needs a unit: {number}{unit} or {number}s?")
    return seconds


def _with_units(text: str) -> float:
    try:
        return durationpy.from_str(text.strip()).total_seconds()
    except durationpy.DurationError:
        raise ValueError("is not a time like 90, 50ms, 30m, 8h or 7d.") from None


def parse_timezone(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name, such as Asia/Shanghai; raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no known time zone: use a name like Asia/Shanghai.") from None


class Backoff(Struct, frozen=True):
    """Exponential backoff with full jitter: `base` and `cap` in seconds."""

    base: float = 1.0
    cap: float = 120.0


class Limits(Struct, frozen=True):
    """The run's own limits; None is no limit. `max_runtime` is in seconds."""

    max_notes: int | None = None
    max_calls: int | None = None
    max_charged: int | None = None
    max_charged_daily: int | None = None
    max_runtime: float | None = None


class Patience(Struct, frozen=True):
    """How often a job is tried in one run before it is given up as exhausted."""

    max_attempts: int = 6
    max_unanswered: int = 2


# What `--rate auto` never goes beyond: the fastest pace that was measured to be held.
FASTEST = Rate(1000, 1.0)


class Calling(Struct, frozen=True):
    """How calls are made: `workers` None follows rate and latency, `timeout` is in seconds.

    With `is_rate_found` the run finds out the pace that the server bears, up to `rate`.
    """

    rate: Rate
    burst: int = 1
    workers: int | None = None
    timeout: float = 120.0
    accept_cache: bool = False
    is_rate_found: bool = False


class RunSettings(Struct, frozen=True):
    """All that a run is told, beside its inputs, its output and its token.

    `refresh` (seconds) also fetches again what is older; `endpoint` is a canonical endpoint name;
    `simulated` marks a run against the embedded simulator; `day_zone` is where a day begins.
    """

    calling: Calling
    endpoint: str
    patience: Patience = Patience()
    backoff: Backoff = Backoff()
    limits: Limits = Limits()
    day_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo(DEFAULT_DAY_ZONE))
    refresh: float | None = None
    retry_failed: bool = False
    simulated: bool = False
    strict: bool = False
    sync: bool = False
    rebuild: bool = False
