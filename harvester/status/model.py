"""What a ledger holds, as data.

All moments are Unix seconds, rates calls a second, latencies and durations seconds; None is not
known. The names of the fields are the keys of `status --json`, in Python's spelling.
"""

from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

from msgspec import Struct

from harvester.ledger.hosts import Duplicate, HostPart, TokenStop
from harvester.rules.forecast import Source

# What becomes of a run without an end, as people say it.
STATES = {"running": "going on", "killed": "killed", "unknown": "going on, or killed"}


class StatusQuery(Struct, frozen=True):
    """What is asked of a ledger.

    `now` is Unix seconds; `zone` is where a day begins; `price` is of one charged call. `rate`
    (calls a second) and `daily_cap` (charged calls) are for the forecast, in place of the last
    run's. `is_held` tells whether a run holds OUTPUT, None where that is not known.
    `target` names it in a shell command.
    """

    now: float
    zone: ZoneInfo
    price: Decimal | None = None
    rate: float | None = None
    daily_cap: int | None = None
    is_held: bool | None = None
    target: str = "OUTPUT"

    def cost(self, calls: int) -> Decimal | None:
        """What charged calls cost, None where no price is known."""
        return None if self.price is None else calls * self.price


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


class Ahead(Struct, frozen=True):
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


class AccountStatus(Struct, frozen=True):
    """What the vendor's balance told of a run, or of all: money is exact, `difference` in calls.

    `agreement` is the word of money.py's `Agreement`, `text` the same in a sentence.
    """

    before: Decimal | None
    after: Decimal | None
    currency: str | None
    spent: Decimal | None
    price: Decimal | None
    agreement: str
    difference: int | None
    text: str


class RunStatus(Struct, frozen=True):
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
    bad_example: str | None
    by_code: dict[str, int]
    rate: float | None
    asked_rate: float | None
    daily_cap: int | None
    median_seconds: float | None
    p95_seconds: float | None
    account: AccountStatus | None


class FleetRun(RunStatus, frozen=True):
    """A run of one host of a fleet; those of one session went on at the same time."""

    host: str
    path: str
    part: str
    session: int


class Status(Struct, frozen=True):
    """What there is to tell of a ledger at one moment, `as_of`; `verdict` is all in a sentence.

    `next_command` is what to type next, None where there is nothing, `next_at` when if not now.
    """

    done: int
    queued: int
    waiting: int
    next_due: float | None
    in_flight: int
    rejected: int
    gone: int
    exhausted: int
    empty: int
    failures: list[Failure]
    unanswered: int
    closed: int
    charged: int
    charged_today: int
    price: Decimal | None
    currency: str | None
    cost: Decimal | None
    cost_today: Decimal | None
    balance: Decimal | None
    calls_left: int | None
    account: AccountStatus | None
    endpoint: str | None
    simulated: bool
    resumes_at: float | None
    as_of: float
    day_timezone: str
    day_ends_at: float
    left: Left
    forecast: Ahead
    runs: list[RunStatus] | list[FleetRun]
    verdict: str = ""
    next_command: str | None = None
    next_at: float | None = None


class FleetStatus(Status, frozen=True):
    """What there is to tell of a fleet's ledger."""

    parts: list[HostPart] = []
    duplicates: list[Duplicate] = []
    stops: list[TokenStop] = []
