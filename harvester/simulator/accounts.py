"""The simulator's accounts: every call, every charge, and which notes were charged twice."""

from __future__ import annotations

from collections import Counter, deque
from typing import TypedDict

from harvester.simulator.settings import SimulatorSettings


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


class Account:
    """What one token has used of its rate limit, daily quota and balance; `now` is Unix seconds."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._admitted = SlidingWindow()
        self._charged = 0
        self._charged_before_today = 0

    def admit(self, now: float) -> bool:
        """Let a call in, if the rate limit allows it; those refused do not prolong the window."""
        limit = self._settings.rate_limit
        if limit and self._admitted.count(now) >= limit:
            return False
        self._admitted.add(now)
        return True

    def unpaid(self, topped_up: int) -> int | None:
        """The code for a used up quota or balance, or None while both last."""
        quota, balance = self._settings.daily_quota, self._settings.balance
        if quota and self._charged - self._charged_before_today >= quota:
            return 303
        return 601 if balance and self._charged >= balance + topped_up else None

    def charge(self) -> None:
        """Charge a call."""
        self._charged += 1

    def new_day(self) -> None:
        """Start a new quota day: nothing is charged to it yet."""
        self._charged_before_today = self._charged


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
