"""The simulator's settings: how slow, how limited and how unlucky the API is to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

HttpStatus = Literal["mapped", "always-200"]
"""Which HTTP status a business code comes under: its own, or 200 as older deployments answer."""


class SimulatorSettings(Struct, frozen=True):
    """What the simulated API does; 0 means unlimited for the three limits.

    `latency` and `jitter` are seconds, `rate_limit` is calls in any second, `daily_quota` charged
    calls a day, `balance` charged calls in all, `fail` the share of calls (0 to 1) that answers
    each code, `missing` the share of notes that do not exist.
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
