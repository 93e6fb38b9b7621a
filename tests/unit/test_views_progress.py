"""A snapshot of a run as a line for people and as one for programs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.plain import has_unprintable
from harvester.views.progress import Snapshot, json_line, plain_line

SNAP = Snapshot(
    done=1200,
    total=20000,
    failed=0,
    in_flight=8,
    waiting=40,
    charged=1200,
    calls=1300,
    by_code={"0": 1200, "301": 100},
    rate=4.96,
    eta=3790.0,
    is_read=True,
)
COUNTS = st.integers(0, 10**12)
SNAPSHOTS = st.builds(
    Snapshot,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    st.dictionaries(st.integers(-999, 999).map(str) | st.just("none"), COUNTS),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e12),
    st.booleans(),
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
        ({"eta": None}, "calls/s; 8 in flight"),
        ({"by_code": {}}, "by code: none"),
    ],
)
def test_what_is_not_known_yet_is_not_claimed(change: dict[str, object], shown: str) -> None:
    assert shown in plain_line(replace(SNAP, **change))  # type: ignore[arg-type]


@given(SNAPSHOTS)
def test_no_snapshot_holds_an_escape_code_and_all_are_json(snap: Snapshot) -> None:
    assert not has_unprintable(plain_line(snap))
    assert not has_unprintable(json_line(snap))
    read = json.loads(json_line(snap))
    assert read.pop("event") == "progress"
    assert read == {name: getattr(snap, name) for name in Snapshot.__slots__}
