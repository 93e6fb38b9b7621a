"""One token's account at the simulated API: its rate limit, daily quota and balance."""

from __future__ import annotations

from harvester.simulator.charges import SlidingWindow
from harvester.simulator.settings import SimulatorSettings


class Account:
    """What one token has used; moments are Unix seconds."""

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
        if limit:
            self._admitted.add(now)
        return True

    def unpaid(self, topped_up: int) -> int | None:
        """The code for a used up quota or balance, or None while both last."""
        quota, balance = self._settings.daily_quota, self._settings.balance
        if quota and self._charged - self._charged_before_today >= quota:
            return 303
        if balance and self._charged >= balance + topped_up:
            return 601
        return None

    def charge(self) -> None:
        """Charge a call."""
        self._charged += 1

    def new_day(self) -> None:
        """Start a new quota day: nothing is charged to it yet."""
        self._charged_before_today = self._charged
