"""The vendor's API as a local server, for practice and tests; `server` is loaded by who serves."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from msgspec import Struct, field

HttpStatus = Literal["mapped", "always-200"]
"""Which HTTP status a business code comes under: its own, or 200 as older deployments answer."""


class SimulatorSettings(Struct, frozen=True):
    """What the simulated API does; 0 means unlimited for the four limits.

    `latency` and `jitter` are seconds, `rate_limit` is calls in any second and `daily_quota`
    successful calls a day, both of one endpoint over all tokens. `balance` is the account's, in
    CNY, of which each charged call takes its `price`: by default the balance counts calls. Its page
    is `account_lag` seconds behind. `token_budget` is charged calls of one token in all. `fail` is
    the share of calls (0 to 1) that answers each code, `missing` the share of notes that do not
    exist, `empty` of those with nothing in their data. Of the paths in `gone` nothing is known any
    more, those in `deprecated` only ever fail.
    """

    latency: float = 0.05
    jitter: float = 0.02
    rate_limit: int = 0
    daily_quota: int = 0
    balance: Decimal = Decimal(0)
    price: Decimal = Decimal(1)
    account_lag: float = 0.0
    token_budget: int = 0
    fail: Mapping[int, float] = field(default_factory=dict)
    missing: float = 0.0
    empty: float = 0.0
    gone: tuple[str, ...] = ()
    deprecated: tuple[str, ...] = ()
    http_status: HttpStatus = "mapped"
    seed: int = 0
