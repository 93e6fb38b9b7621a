"""The calendar day that a daily cap is counted over."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


def day_began(now: float, zone: ZoneInfo) -> float:
    """Returns when the day of a moment began in a time zone, both in Unix seconds."""
    return _midnight(now, zone, 0)


def day_ends(now: float, zone: ZoneInfo) -> float:
    """Returns when the next day begins in a time zone, both in Unix seconds."""
    return _midnight(now, zone, 1)


def _midnight(now: float, zone: ZoneInfo, days: int) -> float:
    day = datetime.fromtimestamp(now, zone).date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
