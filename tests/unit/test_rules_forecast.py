"""When the rest is done and what it costs: examples by hand, and what must hold for any numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.rules.forecast import (
    DailyCap,
    Experience,
    Forecast,
    Source,
    forecast,
    rate_to_expect,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
NO_PAST = Experience()
HOUR = 3600.0
DAY = 24 * HOUR


def at(text: str, zone: ZoneInfo = SHANGHAI) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


# Ten years of days take some milliseconds, and more on a busy machine.
PATIENT = settings(deadline=None)
NOON = at("2026-11-25T12:00")
PASTS = st.integers(0, 10_000).flatmap(
    lambda saves: st.builds(
        lambda rejects, others: Experience(saves + rejects + others, saves, rejects),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
    )
)
QUEUED = st.integers(0, 10_000_000)
PACE = st.floats(0.01, 2000)
CAPS = st.builds(DailyCap, st.integers(1, 10_000_000), st.integers(0, 1_000_000))
NOW = st.floats(1_700_000_000, 1_900_000_000)
ZONES = st.sampled_from(
    [SHANGHAI, ZoneInfo("Europe/Berlin"), ZoneInfo("America/Havana"), ZoneInfo("UTC")]
)


def test_without_a_cap_it_is_calls_by_pace() -> None:
    told = forecast(18_000, NO_PAST, 5.0, None, NOON, SHANGHAI)
    assert told == Forecast(18_000, 18_000, NOON + HOUR, 1)


def test_failed_collections_cost_calls_but_no_money() -> None:
    told = forecast(900, Experience(1000, 900, 0), 1.0, None, NOON, SHANGHAI)
    assert (told.calls, told.charged) == (1000, 900)
    assert told.ends_at == pytest.approx(NOON + 1000, abs=0.001)


def test_notes_that_are_rejected_are_neither_charged_nor_called_for_again() -> None:
    told = forecast(1000, Experience(1000, 900, 100), 1.0, None, NOON, SHANGHAI)
    assert (told.calls, told.charged) == (1000, 900)


def test_calls_without_any_save_tell_nothing() -> None:
    told = forecast(10, Experience(500, 0, 20), 1.0, None, NOON, SHANGHAI)
    assert (told.calls, told.charged) == (10, 10)
    assert Experience(500, 0, 20).save_share is None
    assert Experience(500, 400, 20).save_share == 0.8


def test_without_a_pace_only_calls_and_cost_are_told() -> None:
    assert forecast(7, NO_PAST, None, None, NOON, SHANGHAI) == Forecast(7, 7)


@pytest.mark.parametrize(
    ("queued", "used", "end", "days"),
    [
        (500, 0, "2026-11-25T12:08:20", 1),
        (1000, 0, "2026-11-25T12:16:40", 1),
        (1001, 0, "2026-11-26T00:00:01", 2),
        (500, 600, "2026-11-26T00:01:40", 2),
        (500, 1000, "2026-11-26T00:08:20", 1),
        (500, 5000, "2026-11-26T00:08:20", 1),
        (3500, 0, "2026-11-28T00:08:20", 4),
    ],
)
def test_a_daily_cap_counts_calendar_days_and_what_is_left_of_today(
    queued: int, used: int, end: str, days: int
) -> None:
    told = forecast(queued, NO_PAST, 1.0, DailyCap(1000, used), NOON, SHANGHAI)
    assert told.ends_at == pytest.approx(at(end), abs=0.001)
    assert told.days == days


def test_a_cap_counts_charged_calls_so_failed_ones_leave_room() -> None:
    told = forecast(1000, Experience(200, 100, 0), 10.0, DailyCap(500), NOON, SHANGHAI)
    assert (told.calls, told.charged, told.days) == (2000, 1000, 2)
    assert told.ends_at == pytest.approx(at("2026-11-26T00:01:40"))


def test_the_day_is_the_zones_own() -> None:
    now = datetime(2026, 11, 25, 15, 0, tzinfo=UTC).timestamp()
    ends = {
        zone: forecast(20, NO_PAST, 1.0, DailyCap(10), now, ZoneInfo(zone)).ends_at
        for zone in ("Asia/Shanghai", "UTC")
    }
    assert ends == {"Asia/Shanghai": now + HOUR + 10, "UTC": now + 9 * HOUR + 10}


def test_a_day_on_which_clocks_change_is_as_long_as_it_is() -> None:
    zone = ZoneInfo("Europe/Berlin")
    now = at("2026-10-25T00:00", zone)
    told = forecast(15, NO_PAST, 1.0, DailyCap(10), now, zone)
    assert told.ends_at == now + 25 * HOUR + 5


def test_what_takes_over_ten_years_is_not_dated() -> None:
    told = forecast(10_000, NO_PAST, 1.0, DailyCap(1), NOON, SHANGHAI)
    assert told == Forecast(10_000, 10_000)
    told = forecast(10**9, NO_PAST, 0.001, None, NOON, SHANGHAI)
    assert (told.calls, told.ends_at) == (10**9, None)


def test_nothing_left_is_done_now() -> None:
    assert forecast(0, NO_PAST, 1.0, DailyCap(1, 1), NOON, SHANGHAI) == Forecast(0, 0, NOON, 0)


@pytest.mark.parametrize(
    ("told", "pace"),
    [
        ((9.0, 5.0, 3.0), (9.0, "option")),
        ((None, 5.0, 3.0), (3.0, "reached")),
        ((None, 5.0, 5.0), (5.0, "asked")),
        ((None, 5.0, 7.0), (5.0, "asked")),
        ((None, 5.0, None), (5.0, "asked")),
        ((None, None, 3.0), (3.0, "reached")),
        ((None, None, None), (None, None)),
    ],
)
def test_the_rate_to_expect_is_the_slower_one_unless_it_is_told(
    told: tuple[float | None, float | None, float | None], pace: tuple[float | None, Source | None]
) -> None:
    assert rate_to_expect(*told) == pace


@PATIENT
@given(QUEUED, PASTS, PACE, st.none() | CAPS, NOW, ZONES)
def test_what_holds_for_any_numbers(
    queued: int, past: Experience, pace: float, cap: DailyCap | None, now: float, zone: ZoneInfo
) -> None:
    told = forecast(queued, past, pace, cap, now, zone)
    assert 0 <= told.charged <= queued <= told.calls
    if told.ends_at is None or told.days is None:
        return
    seconds = told.ends_at - now
    assert seconds >= (told.calls - 1) / pace * (1 - 1e-9) - 1e-3
    assert told.days <= seconds / DAY + 2.1
    if cap is not None:
        assert told.charged <= cap.left_today + cap.charged * told.days + 1


@PATIENT
@given(QUEUED, QUEUED, PASTS, PACE, st.none() | CAPS, NOW, ZONES)
def test_more_notes_never_end_sooner(
    few: int,
    more: int,
    past: Experience,
    pace: float,
    cap: DailyCap | None,
    now: float,
    zone: ZoneInfo,
) -> None:
    few, more = sorted((few, more))
    ends = [forecast(queued, past, pace, cap, now, zone).ends_at for queued in (few, more)]
    assert sooner_or_same(*ends)


@PATIENT
@given(QUEUED, PASTS, PACE, PACE, st.none() | CAPS, NOW)
def test_a_higher_pace_never_ends_later(
    queued: int, past: Experience, one: float, other: float, cap: DailyCap | None, now: float
) -> None:
    slow, fast = sorted((one, other))
    ends = [forecast(queued, past, pace, cap, now, SHANGHAI).ends_at for pace in (fast, slow)]
    assert sooner_or_same(*ends)


@PATIENT
@given(QUEUED, PASTS, PACE, CAPS, st.integers(0, 1_000_000), NOW)
def test_a_higher_cap_never_ends_later_and_none_ends_first(
    queued: int, past: Experience, pace: float, cap: DailyCap, more: int, now: float
) -> None:
    caps = (None, DailyCap(cap.charged + more, cap.used_today), cap)
    ends = [forecast(queued, past, pace, each, now, SHANGHAI).ends_at for each in caps]
    assert sooner_or_same(ends[0], ends[1])
    assert sooner_or_same(ends[1], ends[2])


def sooner_or_same(one: float | None, other: float | None) -> bool:
    """Whether a moment is not after another, but for rounding; None is after all."""
    return other is None or (one is not None and one <= other + 0.01)
