"""Runs: how one begins, and when the latest calls before it started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from harvester.ledger.protocol import ANY_MARK, RunRequest
from harvester.ledger.sql import DAY_MS
from harvester.ledger.sqlite.claims import lose
from harvester.ledger.sqlite.store import Store

# No window holds more starts (pace/window.py).
_MOST_UNKEPT = 4096


class Kept(NamedTuple):
    """Whose starts were kept, after how many of its calls, and when they were (ms), by mark."""

    run: int
    calls: int
    starts: dict[str, list[int]]


def begin(store: Store, longest_delay: float, request: RunRequest) -> int:
    """Begin a run; gives how many calls dead ones had sent.

    Only one run at a time can hold OUTPUT, so every claim found is a dead one.
    """
    now = store.now()
    with store.transaction() as db:
        lost = lose(store, "1", (), "the run ended")
        _add_unkept_starts(store, now, lost)
        db.execute(
            "UPDATE job SET due = ? WHERE state = 0 AND due > ?",
            (now + round(longest_delay * 1000),) * 2,
        )
        store.delete_meta("resumes_at")
        cursor = db.execute(
            "INSERT INTO run (started_at, rate, daily_cap) VALUES (?, ?, ?)",
            (now, request.rate, request.daily_cap),
        )
        store.run = cursor.lastrowid or 0
        store.set_meta("token_file", request.token_file)
    return lost


def _add_unkept_starts(store: Store, now: int, lost: int) -> None:
    """Count calls that the last run made after it last kept their starts, if it died."""
    row = store.db.execute(
        "SELECT id, (SELECT coalesce(sum(calls), 0) FROM activity WHERE run = id)"
        " FROM run WHERE finished_at IS NULL AND id = (SELECT max(id) FROM run)"
    ).fetchone()
    if row is None:
        return
    run, recorded = row
    kept = kept_starts(store)
    unkept = recorded + lost - (kept.calls if kept.run == run else 0)
    more = [now] * min(max(0, unkept), _MOST_UNKEPT)
    # Nobody knows whose they were, and a token that was never kept may have made them.
    kept.starts.setdefault(ANY_MARK, [])
    starts = {mark: earlier + more for mark, earlier in kept.starts.items()}
    keep_starts(store, run, recorded + lost, starts)


def kept_starts(store: Store) -> Kept:
    """The starts that were kept last."""
    return Kept(*json.loads(store.get_meta("starts") or "[0, 0, {}]"))


def keep_starts(store: Store, run: int, calls: int, starts: Mapping[str, list[int]]) -> None:
    """Keep when calls started; a clock that was ahead must not hold up those who come later."""
    now = store.now()
    kept = {mark: [min(start, now) for start in some] for mark, some in starts.items()}
    kept = {mark: some for mark, some in kept.items() if some and some[-1] > now - DAY_MS}
    store.set_meta("starts", json.dumps([run, calls, kept]))
