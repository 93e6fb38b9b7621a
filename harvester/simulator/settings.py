"""The simulator's settings: how slow, how limited and how unlucky the API is to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

from msgspec import Struct, field

from harvester.errors import UsageError

HttpStatus = Literal["mapped", "always-200"]
"""Which HTTP status a business code comes under: its own, or 200 as older deployments answer."""


class SimulatorSettings(Struct, frozen=True):
    """What the simulated API does; 0 means unlimited for the three limits.

    `latency` and `jitter` are seconds, `rate_limit` is calls in any second, `daily_quota` charged
    calls a day, `balance` charged calls in all, `fail` the share of calls (0 to 1) that answers
    each code, `missing` the share of notes that do not exist. Raises `UsageError` on values that
    cannot be meant.
    """

    latency: float = 0.05
    jitter: float = 0.02
    rate_limit: int = 0
    daily_quota: int = 0
    balance: int = 0
    fail: Mapping[int, float] = field(default_factory=dict)
    missing: float = 0.0
    http_status: HttpStatus = "mapped"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_amounts()
        self._check_shares()
        if self.http_status not in get_args(HttpStatus):
            choices = " or ".join(get_args(HttpStatus))
            raise UsageError(f"HTTP status must be {choices}, not {self.http_status}")

    def _check_amounts(self) -> None:
        for name in ("latency", "jitter", "rate_limit", "daily_quota", "balance"):
            amount = getattr(self, name)
            if not (math.isfinite(amount) and amount >= 0):
                words = name.replace("_", " ")
                raise UsageError(f"{words} must be a number, 0 or more, not {amount}")

    def _check_shares(self) -> None:
        for code, share in self.fail.items():
            if code <= 0:
                raise UsageError(f"a failure needs a code above 0, not {code}")
            _check_share(f"the share of failures with code {code}", share)
        _check_share("the share of missing notes", self.missing)
        total = math.fsum(self.fail.values())
        if total > 1:
            raise UsageError(f"the shares of failures add up to {total:g}, more than 1")


def _check_share(what: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise UsageError(f"{what} must be between 0 and 1, not {share}")
