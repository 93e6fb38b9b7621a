"""Runs of a fleet, which go on at the same time: what became of each, and their sum by session."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from harvester.ledger.hosts import RunPlace
from harvester.ledger.reader import RunRow
from harvester.money import Balance, Balances
from harvester.status.runs import campaigns, run_of, runs_of_fleet

NOW = 1795395720.0


def row(number: int, began: float, ended: float | None, calls: int = 10) -> RunRow:
    return RunRow(
        NOW + began,
        None if ended is None else NOW + ended,
        None if ended is None else "done",
        None if ended is None else 0,
        {0: calls},
        number,
        5.0,
        latencies={3: calls},
        seen_at=NOW + (began + 5 if ended is None else ended),
    )


def place(session: int, part: str, *, alive: bool = False, leased: bool = False) -> RunPlace:
    return RunPlace(session, part, f"host of {part}", f"/{part}\x1b.jsonl", alive, leased)


ROWS = [
    row(1, -100, -50),
    row(2, -90, None),
    row(3, -80, None),
    row(4, -40, None),
    row(5, -30, None),
]
PLACES = {
    1: place(1, "a"),
    2: place(1, "b"),
    3: place(1, "c", leased=True),
    4: place(4, "a", alive=True),
    5: place(4, "b", leased=True),
}


def test_each_run_is_told_by_heartbeats_and_leases() -> None:
    runs = runs_of_fleet(ROWS, PLACES, NOW)
    states = ["finished", "killed", "unknown", "running", "unknown"]
    assert [run.state for run in runs] == states
    assert [run.seconds for run in runs] == [50, 5, 5, 40, 5]
    assert [(run.part, run.session) for run in runs][2:4] == [("c", 1), ("a", 4)]
    assert runs[0].path == "/a\\x1b.jsonl"


def test_a_run_whose_part_runs_again_is_dead_whatever_it_still_holds() -> None:
    places = {**PLACES, 2: place(1, "b", leased=True)}
    assert runs_of_fleet(ROWS, places, NOW)[1].state == "killed"


def test_a_run_that_began_after_the_places_were_read_waits_for_the_next_look() -> None:
    places = {number: found for number, found in PLACES.items() if number != 5}
    assert len(runs_of_fleet(ROWS, places, NOW)) == 4


def test_sessions_add_up_what_their_hosts_did() -> None:
    rows = campaigns(ROWS, PLACES, NOW)
    first, second = (run_of(row, row.seen_at, "finished") for row in rows)
    assert (first.calls, first.seconds, first.rate) == (30, 50, 0.6)
    assert (second.calls, second.charged, second.seconds) == (20, 20, 40)
    assert campaigns([], {}, NOW) == []


def test_what_hosts_paid_is_told_by_the_first_balance_and_the_last_of_one_account_alone() -> None:
    def held(amount: int | None) -> Balance | None:
        return None if amount is None else Balance(Decimal(amount), "CNY")

    def told(before: int, after: int | None, tokens: str = "t") -> Balances:
        return Balances(held(before), held(after), tokens=tokens)

    def whole(*balances: Balances) -> Balances:
        rows = [replace(row(n, n, 50 + n), balances=one) for n, one in enumerate(balances)]
        return campaigns(rows, {n: place(0, f"{n}") for n in range(len(rows))}, NOW)[0].balances

    found = whole(told(99, 80), told(100, 85))
    assert (found.before, found.after) == (held(100), held(80))
    assert whole(told(100, 80), told(99, None)).after is None
    assert whole(told(100, 80), told(50, 40, "another")).before is None
