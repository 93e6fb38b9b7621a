"""The simulator's account: every call, every charge, and which notes were charged twice."""

from __future__ import annotations

from collections import Counter, deque
from typing import TypedDict


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


class Charges:
    """Counts calls and charges; a subject is an endpoint's number and a note id, as bytes."""

    def __init__(self) -> None:
        self.charged = 0
        self._calls = 0
        self._by_code: Counter[int] = Counter()
        self._latest = SlidingWindow()
        self._most_per_second = 0
        self._paid: Counter[bytes] = Counter()
        self._failed: Counter[bytes] = Counter()

    @property
    def calls(self) -> int:
        """How many calls have arrived."""
        return self._calls

    def arrive(self, now: float) -> None:
        """Count a call that arrived at `now` (seconds)."""
        self._calls += 1
        self._most_per_second = max(self._most_per_second, self._latest.count(now) + 1)
        self._latest.add(now)

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
        self.charged += 1
        self._paid[subject] += 1

    def page(self) -> ChargesPage:
        """All counts so far, as the charges page shows them."""
        return {
            "calls": self._calls,
            "charged": self.charged,
            "byCode": {str(code): count for code, count in sorted(self._by_code.items())},
            "chargedTwice": sorted({key[1:].hex() for key, many in self._paid.items() if many > 1}),
            "maxPerSecond": self._most_per_second,
        }
