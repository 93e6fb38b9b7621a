"""Frozen settings of a run, parsed and checked once; every wrong one is told in plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import durationpy

from harvester.errors import UsageError

# The vendor's page: "Set request timeout to at least 60 seconds."
SHORTEST_TIMEOUT = 60.0
REGIONS = {
    "global": "https://api.justoneapi.com",
    "cn": "http://47.117.133.51:30015",
}
# The vendor's calendar day is taken to be China's.
DEFAULT_DAY_ZONE = "Asia/Shanghai"
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*/\s*(s|m|h|d)", re.ASCII)
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Rate:
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
    """Read "5/s", "300/m", "1000/h" or "20000/d"; raises UsageError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"rate {text!r} is not like 5/s, 300/m, 1000/h or 20000/d, nor auto.")
    calls, period = float(match[1]), _UNIT_SECONDS[match[2]]
    if calls < 1:
        # "0.5/s" and "30/m" are the same pace; a window must hold at least one whole call.
        raise UsageError(f"rate {text!r}: write it with a longer unit, such as 30/m for 0.5/s.")
    if calls != int(calls):
        raise UsageError(f"rate {text!r}: write whole calls, such as 90/m for 1.5/s.")
    return Rate(calls, period)


def parse_duration(text: str) -> float:
    """Read "8h", "7d", "50ms", "1h30m" or plain seconds ("90") as seconds; raises UsageError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = _with_units(text)
    if not 0 <= seconds <= timedelta.max.total_seconds():
        raise UsageError(f"duration {text!r} is out of range.")
    return seconds


def _with_units(text: str) -> float:
    try:
        return durationpy.from_str(text.strip()).total_seconds()
    except durationpy.DurationError:
        raise UsageError(f"duration {text!r} is not like 90, 50ms, 30m, 8h or 7d.") from None


def parse_timezone(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name, such as Asia/Shanghai; raises UsageError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"time zone {name!r} is not known: use a name like Asia/Shanghai."
        raise UsageError(message) from None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: `base` and `cap` in seconds."""

    base: float = 1.0
    cap: float = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The run's own limits; None is no limit. `max_runtime` is in seconds."""

    max_notes: int | None = None
    max_calls: int | None = None
    max_charged: int | None = None
    max_charged_daily: int | None = None
    max_runtime: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a job is tried in one run before it is given up as exhausted."""

    max_attempts: int = 6
    max_unanswered: int = 2


# What `--rate auto` never goes beyond: the fastest pace that was measured to be held.
FASTEST = Rate(1000, 1.0)


@dataclass(frozen=True, slots=True)
class Calling:
    """How calls are made: `workers` None follows rate and latency, `timeout` is in seconds.

    With `is_rate_found` the run finds out the pace that the server bears, up to `rate`.
    """

    rate: Rate
    burst: int = 1
    workers: int | None = None
    timeout: float = 90.0
    accept_cache: bool = False
    is_rate_found: bool = False


@dataclass(frozen=True, slots=True)
class RunSettings:
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

    def __post_init__(self) -> None:
        _at_least(1, burst=self.calling.burst, max_attempts=self.patience.max_attempts)
        _at_least(0, max_unanswered=self.patience.max_unanswered)
        _at_least(1, workers=self.calling.workers)
        limits = self.limits
        _at_least(1, max_notes=limits.max_notes, max_calls=limits.max_calls)
        _at_least(1, max_charged=limits.max_charged, max_charged_daily=limits.max_charged_daily)
        if self.calling.timeout <= 0:
            raise UsageError("--timeout must be more than 0 seconds.")


def _at_least(least: int, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}.")
