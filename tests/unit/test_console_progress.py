"""A snapshot of a run as a line for people and as one for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from harvester.console.progress import below_bar, beside_bar, json_line, plain_line
from harvester.formatting import iso_utc
from harvester.observe.sampler import Snapshot
from harvester.sanitize import has_unprintable

SNAP = Snapshot(
    at=0.0,
    done=1200,
    total=20000,
    failed=0,
    gone=0,
    in_flight=8,
    waiting=40,
    charged=1200,
    cost=None,
    calls=1300,
    by_code={"0": 1200, "301": 100},
    rate=4.96,
    eta=3790.0,
    is_read=True,
)
BEGAN = datetime.fromtimestamp(0, UTC).astimezone()
BEGINNING = f"{BEGAN:%a %H:%M %Z}"
COUNTS = st.integers(0, 10**12)
SNAPSHOTS = st.builds(
    Snapshot,
    st.floats(0, 1e9),
    *([COUNTS] * 7),
    st.none() | st.decimals(0, 10**9, places=4),
    COUNTS,
    st.dictionaries(st.integers(-999, 999).map(str) | st.just("none"), COUNTS),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e12),
    st.booleans(),
    st.none() | st.floats(0, 1e9),
    st.none() | st.floats(0, 1e9),
)


def test_a_snapshot_is_one_line_for_people() -> None:
    assert plain_line(SNAP) == (
        "1,200 of 20,000 done, 5.0 calls/s, 1 h 3 min left; "
        "8 in flight, 40 waiting; by code: 0: 1,200, 301: 100"
    )


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"is_read": False}, "of 20,000+ done"),
        ({"failed": 3000}, "done, 3,000 failed, 5.0 calls/s"),
        ({"failed": 3000, "gone": 20}, "done, 2,980 failed, 20 gone, 5.0 calls/s"),
        ({"cost": Decimal("180.00")}, "done, 180.00 spent, 5.0 calls/s"),
        ({"eta": None}, "calls/s; 8 in flight"),
        ({"by_code": {}}, "by code: none"),
        (
            {"next_due": 0.0},
            f"waiting to try what is left again, until {BEGAN:%H:%M:%S}; 1,200 of",
        ),
        ({"resumes_at": 0.0}, f"waiting for the next day, until {BEGINNING}; 1,200 of"),
    ],
)
def test_what_is_not_known_yet_is_not_claimed(change: dict[str, object], shown: str) -> None:
    assert shown in plain_line(replace(SNAP, **change))


@given(SNAPSHOTS)
def test_no_snapshot_holds_an_escape_code_and_all_are_json(snap: Snapshot) -> None:
    assert not has_unprintable(plain_line(snap))
    assert not has_unprintable(json_line(snap))
    read = json.loads(json_line(snap))
    assert list(read)[:3] == ["at", "event", "done"]
    assert (read["at"], read["event"]) == (iso_utc(snap.at), "progress")
    assert (read["inFlight"], read["byCode"]) == (snap.in_flight, snap.by_code)
    assert (read["isRead"], read["rate"]) == (snap.is_read, round(snap.rate, 6))


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (
            100,
            (
                "5.0 calls/s · 8 in flight · 40 waiting · 1,200 charged · code 0: 1,200 · "
                "code 301: 100"
            ),
        ),
        (77, "5.0 calls/s · 8 in flight · 40 waiting · 1,200 charged · code 0: 1,200"),
        (60, "5.0 calls/s · 8 in flight · 40 waiting · 1,200 charged"),
        (45, "5.0 calls/s · 8 in flight · 1,200 charged"),
        (37, "5.0 calls/s · 8 in flight"),
        (20, "5.0 calls/s"),
    ],
)
def test_the_line_below_the_bar_loses_what_matters_least(width: int, shown: str) -> None:
    assert below_bar(SNAP, width) == shown


def test_failures_stay_longer_than_what_is_charged() -> None:
    assert below_bar(replace(SNAP, failed=7), 40) == "5.0 calls/s · 8 in flight · 7 failed"


def test_money_gone_and_failed_notes_stand_at_the_bar() -> None:
    snap = replace(SNAP, failed=7, gone=4, cost=Decimal(180), by_code={})
    assert below_bar(snap, 100) == (
        "5.0 calls/s · 8 in flight · 40 waiting · 1,200 charged (180.00) · 3 failed · 4 gone"
    )


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (40, "1,200/20,000 · 6 % · 1 h 3 min left"),
        (31, "1,200/20,000 · 1 h 3 min left"),
        (20, "1,200/20,000"),
    ],
)
def test_beside_the_bar_the_counts_stay_to_the_last(width: int, shown: str) -> None:
    assert beside_bar(SNAP, width) == shown


def test_a_total_that_still_grows_says_so() -> None:
    assert beside_bar(replace(SNAP, is_read=False, eta=None), 40) == "1,200/20,000+ · 6 %"


@given(SNAPSHOTS, st.integers(30, 200))
def test_no_line_of_the_bar_is_wider_than_it_may_be(snap: Snapshot, width: int) -> None:
    below = below_bar(snap, width)
    assert cell_len(below) <= width or " · " not in below
    assert not has_unprintable(below)
    beside = beside_bar(snap, width)
    assert cell_len(beside) <= width or " · " not in beside


def test_below_the_bar_stands_until_when_the_next_day_is_waited_for() -> None:
    waiting = replace(SNAP, resumes_at=0.0)
    assert below_bar(waiting, 80).startswith(f"waiting for the next day, until {BEGINNING} · ")
    assert below_bar(waiting, 50) == f"waiting for the next day, until {BEGINNING}"


def test_below_the_bar_stands_until_when_all_that_is_left_waits() -> None:
    waiting = replace(SNAP, next_due=0.0)
    assert below_bar(waiting, 90).startswith(
        f"waiting to try what is left again, until {BEGAN:%H:%M:%S} · "
    )
