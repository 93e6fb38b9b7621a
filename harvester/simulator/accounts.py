"""The simulator's account: every call, every charge, and which notes were charged twice."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TypedDict

from harvester.simulator import SimulatorSettings

SHANGHAI = timezone(timedelta(hours=8))
# What an account shows that may spend without end.
_PLENTY = 1_000_000


class ChargesPage(TypedDict):
    """The answer of `GET /_simulator/charges`.

    `byCode` counts answers by business code, `chargedTwice` holds the sorted ids of notes charged
    more than once on one endpoint, `maxPerSecond` is the largest number of calls that arrived in
    any half-open window of one second.
    """

    calls: int
    charged: int
    byCode: dict[str, int]
    chargedTwice: list[str]
    maxPerSecond: int


class SlidingWindow:
    """The moments of the last second; a moment exactly one second old has left it."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque()

    def count(self, now: float) -> int:
        """How many moments lie in the half-open second that ends with `now` (seconds)."""
        while self._moments and now - self._moments[0] >= 1:
            self._moments.popleft()
        return len(self._moments)

    def add(self, now: float) -> None:
        """Put `now` (seconds, never earlier than the one before) into the window."""
        self._moments.append(now)


class SimulatedBalance:
    """What an account has left in CNY: its calls know at once, its page `lag` seconds later."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._is_limited = settings.balance > 0
        self._lag = settings.account_lag
        self._left = self._shown = Decimal(settings.balance or _PLENTY)
        self._unshown: deque[tuple[float, Decimal]] = deque()

    def covers(self, price: Decimal) -> bool:
        """Whether a call of this price can be paid."""
        return self._left >= price or not self._is_limited

    def add(self, amount: Decimal, now: float) -> None:
        """Add an amount, or take one that is less than 0, at a moment in Unix seconds."""
        self._left += amount
        self._unshown.append((now, amount))
        self.shown(now)

    def shown(self, now: float) -> Decimal:
        """What the account's page tells at a moment in Unix seconds."""
        while self._unshown and now - self._unshown[0][0] >= self._lag:
            self._shown += self._unshown.popleft()[1]
        return self._shown


class Account:
    """What all tokens have used of the account's rate limits, quotas and balance, and of their own.

    Limits and quotas are for each endpoint; `now` is Unix seconds.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._admitted: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)
        self._usage: Counter[tuple[date, str]] = Counter()
        self._successes: Counter[tuple[date, str]] = Counter()
        self._charged_of: Counter[str] = Counter()
        self._days_ahead = timedelta()
        self.balance = SimulatedBalance(settings)

    def admit(self, path: str, now: float) -> bool:
        """Let a call in, if the rate limit allows it; those refused do not prolong the window."""
        limit, admitted = self._settings.rate_limit, self._admitted[path]
        if limit and admitted.count(now) >= limit:
            return False
        admitted.add(now)
        self._usage[self._today(now), path] += 1
        return True

    def unpaid(self, path: str, token: str, now: float) -> int | None:
        """The code for a used up quota, balance or budget, or None while all last."""
        settings = self._settings
        quota, budget = settings.daily_quota, settings.token_budget
        if quota and self._successes[self._today(now), path] >= quota:
            return 303
        if not self.balance.covers(settings.price):
            return 601
        return 602 if budget and self._charged_of[token] >= budget else None

    def charge(self, path: str, token: str, now: float, *, is_success: bool) -> None:
        """Charge a call; only a success counts toward the quota."""
        self._successes[self._today(now), path] += is_success
        self._charged_of[token] += 1
        self.balance.add(-self._settings.price, now)

    def new_day(self) -> None:
        """Start a new day."""
        self._days_ahead += timedelta(days=1)

    def usage(self) -> dict[str, object]:
        """The calls of each day by endpoint, as the usage page tells them."""
        days = sorted({day for day, _ in self._usage})
        series = [
            {"name": path, "data": [self._usage[day, path] for day in days]}
            for path in sorted({path for _, path in self._usage})
        ]
        return {"apiTrendDaily": {"days": [str(day) for day in days], "series": series}}

    def _today(self, now: float) -> date:
        return (datetime.fromtimestamp(now, SHANGHAI) + self._days_ahead).date()


class Charges:
    """Counts calls and charges; a subject is an endpoint's number and a note id, as bytes."""

    def __init__(self) -> None:
        self.calls = 0
        self._latest = SlidingWindow()
        self._most_per_second = 0
        self._by_code: Counter[int] = Counter()
        self._paid: Counter[bytes] = Counter()
        self._failed: Counter[bytes] = Counter()

    def arrive(self, now: float) -> None:
        """Count a call that arrived at `now` (seconds)."""
        self.calls += 1
        self._latest.add(now)
        self._most_per_second = max(self._most_per_second, self._latest.count(now))

    def answer(self, code: int) -> None:
        """Count an answer by its business code."""
        self._by_code[code] += 1

    def tried(self, subject: bytes) -> int:
        """How many calls for `subject` were charged or failed so far."""
        return self._failed[subject] + self._paid[subject]

    def fail(self, subject: bytes) -> None:
        """Count a call for `subject` that failed, free of charge."""
        self._failed[subject] += 1

    def charge(self, subject: bytes) -> None:
        """Charge a call for `subject`."""
        self._paid[subject] += 1

    def page(self) -> ChargesPage:
        """All counts so far, as the charges page shows them."""
        return {
            "calls": self.calls,
            "charged": self._paid.total(),
            "byCode": {str(code): count for code, count in sorted(self._by_code.items())},
            "chargedTwice": sorted({key[1:].hex() for key, many in self._paid.items() if many > 1}),
            "maxPerSecond": self._most_per_second,
        }
