"""One rate over many hosts: reduced to whole calls, divided fairly, never exceeded in a change."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.parsing import Rate, read_rate
from harvester.rules.shares import Freeing, Share, divide, fair, reduced

ALIVE = 900
PERIOD = 1000


@pytest.mark.parametrize(
    ("rate", "calls", "period"),
    [
        ("5/s", 5, 1.0),
        ("1000/s", 1000, 1.0),
        ("300/m", 5, 1.0),
        ("90/m", 3, 2.0),
        ("60/m", 1, 1.0),
        ("30/m", 1, 2.0),
        ("7/m", 1, 60 / 7),
        ("1000/h", 1, 3.6),
        ("5000/h", 2, 1.44),
        ("20000/d", 1, 4.32),
        ("1/d", 1, 86_400.0),
    ],
)
def test_a_rate_is_reduced_to_whole_calls_in_a_short_period(
    rate: str, calls: int, period: float
) -> None:
    few, short = reduced(read_rate(rate))
    assert few == calls
    assert short == pytest.approx(period)


@given(st.integers(1, 5000), st.sampled_from([1.0, 60.0, 3600.0]))
def test_what_a_rate_is_reduced_to_never_exceeds_it_and_loses_little(
    calls: int, period: float
) -> None:
    few, short = reduced(Rate(calls, period))
    parts = round(period / short)
    assert short * parts == pytest.approx(period)
    assert few >= 1
    assert few * parts <= calls
    assert few * parts >= calls * 0.9
    assert short <= 2 or few == 1


@given(st.integers(0, 1000), st.integers(1, 50))
def test_fair_shares_add_up_and_differ_by_one_at_most(calls: int, members: int) -> None:
    shares = [fair(calls, rank, members) for rank in range(members)]
    assert sum(shares) == calls
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)


def test_the_first_member_has_all_at_once() -> None:
    divided = divide(1, 0, [], [], 0, 5, PERIOD)
    assert (divided.calls, divided.grant, divided.again_in) == (5, 5, None)


def test_a_member_that_is_to_give_up_holds_it_until_it_says_that_it_is_gone_by() -> None:
    shares = [Share(1, 5, ALIVE), Share(2, 0, ALIVE)]
    first = divide(1, 5, shares, [], 100, 5, PERIOD)
    assert (first.calls, first.grant, first.freed, first.again_in) == (5, 3, [], 0)
    second = divide(1, 3, shares, [], 110, 5, PERIOD)
    assert (second.calls, second.grant) == (3, 3)
    assert second.freed == [Freeing(2, 110 + PERIOD)]


def test_what_is_given_up_is_free_one_period_later() -> None:
    shares = [Share(1, 3, 5000), Share(2, 0, 5000)]
    freeing = [Freeing(2, 1110)]
    waits = divide(2, 0, shares, freeing, 500, 5, PERIOD)
    assert (waits.grant, waits.again_in) == (0, 610)
    assert divide(2, 0, shares, freeing, 1110, 5, PERIOD).grant == 2


def test_what_a_dead_member_had_is_free_one_period_after_it_was_alive() -> None:
    shares = [Share(1, 3, 900), Share(2, 2, 5000)]
    found = divide(2, 2, shares, [], 1000, 5, PERIOD)
    assert (found.grant, found.dead, found.again_in) == (2, [1], 900)
    assert found.freed == [Freeing(3, 1900)]
    assert divide(2, 2, [shares[1]], found.freed, 1900, 5, PERIOD).grant == 5


def test_a_member_whose_share_was_taken_begins_with_nothing() -> None:
    shares = [Share(2, 5, 9000)]
    assert divide(1, 5, shares, [], 3000, 5, PERIOD).grant == 0


@dataclass
class Host:
    """A host as its engine goes by grants: the last one, until it runs out."""

    run: int
    grant: int = 0
    ends: int = 0
    went_by: list[tuple[int, int, int]] = field(default_factory=list)

    def set(self, now: int, grant: int) -> None:
        """Go by another grant; what was gone by is kept with when it ended."""
        if self.grant:
            self.went_by.append((self.grant, 0, min(now, self.ends)))
        self.grant, self.ends = grant, now + ALIVE

    def most(self, now: int) -> int:
        """The largest grant gone by in the last period."""
        past = [grant for grant, _, end in self.went_by if end > now - PERIOD]
        if self.grant and self.ends > now - PERIOD:
            past.append(self.grant)
        return max(past, default=0)


@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 700), st.booleans()), min_size=1, max_size=80
    ),
)
@settings(deadline=None, max_examples=300)
def test_in_no_period_do_all_members_together_go_by_more_than_the_rate(
    calls: int, beats: list[tuple[int, int, bool]]
) -> None:
    """Hosts beat in any order, die by silence, come back, and lose answers."""
    now, shares, freeing = 0, dict[int, Share](), list[Freeing]()
    hosts = {run: Host(run) for run in range(1, 6)}
    for run, wait, is_answer_lost in beats:
        now += wait
        host = hosts[run]
        divided = divide(run, host.grant, [*shares.values()], freeing, now, calls, PERIOD)
        for gone in divided.dead:
            del shares[gone]
        shares[run] = Share(run, divided.calls, now + ALIVE)
        freeing = [f for f in (*freeing, *divided.freed) if f.until > now]
        if not is_answer_lost:
            host.set(now, divided.grant)
        assert sum(h.most(now) for h in hosts.values()) <= calls
