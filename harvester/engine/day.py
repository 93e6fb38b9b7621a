"""The calendar day that a daily cap is counted over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


class Day:
    """Days in a time zone, as a wall clock (Unix seconds) sees them."""

    def __init__(self, clock: Callable[[], float], zone: ZoneInfo) -> None:
        self._clock = clock
        self._zone = zone

    def began(self) -> float:
        """When the current day began, in Unix seconds."""
        return self._midnight(0)

    def seconds_left(self) -> float:
        """Seconds until the next day begins, never quite 0."""
        return max(0.001, self._midnight(1) - self._clock())

    def _midnight(self, days: int) -> float:
        today = datetime.fromtimestamp(self._clock(), self._zone).date() + timedelta(days=days)
        return datetime(today.year, today.month, today.day, tzinfo=self._zone).timestamp()
