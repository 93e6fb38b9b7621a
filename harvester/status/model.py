"""What a ledger holds, as data.

All moments are Unix seconds, rates calls a second, latencies and durations seconds; None is not
known. The names of the fields are those of `status --json`, in Python's spelling.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from harvester.formatting import iso_utc
from harvester.rules.forecast import Source

# Exact, and a number all the same.
_encode = msgspec.json.Encoder(decimal_format="number").encode
_MOMENT = re.compile(r"at|\w+At|asOf|nextDue|lastHeartbeat")


class Failure(Struct, frozen=True):
    """Notes given up for one kind of reason."""

    state: str
    code: int | None
    reason: str
    notes: int


class Left(Struct, frozen=True):
    """The forecast in short: calls, and the time until all is done."""

    calls: int
    hours: float | None
    days: float | None


class Ahead(Struct, frozen=True, rename="camel"):
    """The forecast: what is left, and until when, were calls to go on from now or `starts_at`."""

    notes: int
    calls: int
    charged: int
    cost: Decimal | None
    save_share: float | None
    rate: float | None
    rate_from: Source | None
    daily_cap: int | None
    left_today: int | None
    quota_met: int | None
    starts_at: float | None
    seconds: float | None
    days: int | None
    ends_at: float | None


class RunStatus(Struct, frozen=True, rename="camel"):
    """A run: `state` is finished, running, killed, or unknown where one of the last two."""

    started_at: float
    finished_at: float | None
    seconds: float
    state: str
    reason: str | None
    exit_code: int | None
    calls: int
    charged: int
    unanswered: int
    closed: int
    bad_lines: int
    by_code: dict[str, int]
    rate: float | None
    asked_rate: float | None
    daily_cap: int | None
    median_seconds: float | None
    p95_seconds: float | None


class FleetRun(RunStatus, frozen=True, rename="camel"):
    """A run of one host of a fleet; those of one session went on at the same time."""

    host: str
    path: str
    part: str
    session: int


class Part(Struct, frozen=True, rename="camel"):
    """A host's part of a fleet's OUTPUT; `rate` is the host's share of it now."""

    part: str
    host: str
    path: str
    alive: bool
    last_heartbeat: float | None
    rate: float
    runs: int
    calls: int
    charged: int
    unanswered: int
    notes: int
    duplicates: int
    bytes: int


class Duplicate(Struct, frozen=True, rename="camel"):
    """A line that was paid for though its note was done."""

    note_id: str
    part: str
    fetched_at: float
    found_at: float


class Stop(Struct, frozen=True):
    """Why a token rests; None is all of them."""

    token: str | None
    reason: str
    detail: str
    at: float


class Status(Struct, frozen=True, rename="camel"):
    """What there is to tell of a ledger at one moment, `as_of`."""

    done: int
    queued: int
    waiting: int
    next_due: float | None
    in_flight: int
    rejected: int
    exhausted: int
    empty: int
    failures: list[Failure]
    unanswered: int
    closed: int
    charged: int
    charged_today: int
    price: Decimal | None
    cost: Decimal | None
    cost_today: Decimal | None
    endpoint: str | None
    simulated: bool
    as_of: float
    day_timezone: str
    left: Left
    forecast: Ahead
    runs: list[RunStatus] | list[FleetRun]


class FleetStatus(Status, frozen=True, rename="camel"):
    """What there is to tell of a fleet's ledger."""

    parts: list[Part]
    duplicates: list[Duplicate]
    stops: list[Stop]


def to_json(status: Status) -> bytes:
    """Returns all of it as the README shows it, moments as ISO 8601 in UTC."""
    told = _with_dates(msgspec.to_builtins(status, builtin_types=(Decimal,)))
    return msgspec.json.format(_encode(told), indent=2)


def _with_dates(told: Any) -> Any:  # noqa: ANN401 - whatever JSON may hold
    if isinstance(told, list):
        return [_with_dates(item) for item in told]
    if not isinstance(told, dict):
        return told
    return {
        key: iso_utc(held) if held is not None and _MOMENT.fullmatch(key) else _with_dates(held)
        for key, held in told.items()
    }
