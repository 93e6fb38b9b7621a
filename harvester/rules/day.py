"""The calendar day that a daily cap is counted over."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

# In seconds: by how much two clocks may differ, and how often to ask until both say the same day.
_CLOCKS_DIFFER, _ASK_AGAIN = 900.0, 60.0


def day_began(now: float, zone: ZoneInfo) -> float:
    """Returns when the day of a moment began in a time zone, both in Unix seconds."""
    return _midnight(now, zone, 0)


def day_ends(now: float, zone: ZoneInfo) -> float:
    """Returns when the next day begins in a time zone, both in Unix seconds."""
    return _midnight(now, zone, 1)


def quota_returns(now: float, zone: ZoneInfo) -> float:
    """Returns when to ask again after the day's quota was used up, both in Unix seconds.

    Soon after midnight it may be that the server's day has not begun yet.
    """
    if now - day_began(now, zone) < _CLOCKS_DIFFER:
        return now + _ASK_AGAIN
    return day_ends(now, zone)


def _midnight(now: float, zone: ZoneInfo, days: int) -> float:
    day = datetime.fromtimestamp(now, zone).date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
