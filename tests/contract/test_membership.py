"""One rate for a fleet: moments that hosts take in turn; heartbeats, and stops that reach all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import LocalIOError
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.hosts import ALIVE_FOR
from harvester.ledger.postgres.ledger import PostgresLedger
from harvester.ledger.postgres.membership import Membership, Slowed, Stop
from harvester.model import Job
from harvester.rules.turns import Allotted, Turn, Turns
from tests.contract.fleet import Stage
from tests.cut import Cut, Mode

START = 1_700_000_000.0
TOKEN = "0123456789abcdef"  # noqa: S105 - a fingerprint
OTHER = "fedcba9876543210"
RATE = "10 calls/s"
LATE = 0.05
LEASE = 100.0


class Host:
    """A host that has joined, with jobs in hand for whatever it is allowed to send."""

    def __init__(self, fleet: Fleet, part: str, url: str = "", rate: str = RATE) -> None:
        self.ledger: PostgresLedger = fleet.database.open(part)
        run = self.ledger.begin_run(120).run
        address = FleetAddress(url or fleet.database.url, fleet.database.harvest)
        self.membership = Membership(address, part, [TOKEN], rate, lambda: fleet.now)
        self.membership.join(run)
        self.jobs: list[Job] = []

    def ask(
        self,
        calls: int,
        lead: float = 0.0,
        ahead: float = 0.35,
        used: Sequence[tuple[Turn, float]] = (),
    ) -> Allotted:
        """Ask for turns of the token, a tenth of a second apart, each busy for a second."""
        self.jobs += self.ledger.claim(max(0, calls - len(self.jobs)), LEASE).jobs
        turns = Turns(TOKEN, RATE, 10, 1.0, 0.1, lead, ahead, LATE, list(used))
        sent = self.ledger.mark_sent(self.jobs[:calls], LEASE, turns)
        assert sent.jobs + sent.kept == self.jobs[:calls]
        assert sent.allotted is not None
        assert len(sent.allotted.turns) == len(sent.jobs)
        self.jobs = self.jobs[len(sent.jobs) :]
        return sent.allotted

    def close(self) -> None:
        self.membership.close()
        self.ledger.close()


class Fleet:
    """Hosts on a real database, in which time goes on only when told to."""

    def __init__(self, stage: Stage) -> None:
        self.database = stage.database
        self.now = START
        stage.clear(START)
        with closing(self.database.open("maker")) as maker:
            maker.enrol([str(n) for n in range(400)], None)
        self.hosts: list[Host] = []

    def advance(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)
        self.database.set_clock(self.now)

    def join(self, url: str = "", rate: str = RATE) -> Host:
        self.hosts.append(Host(self, f"part{len(self.hosts)}", url, rate))
        return self.hosts[-1]

    def close(self) -> None:
        for host in self.hosts:
            host.close()


@pytest.fixture
def fleet(stage: Stage) -> Iterator[Fleet]:
    with closing(Fleet(stage)) as fleet:
        yield fleet


# Turns


def after_start(*seconds: float) -> list[Any]:
    return [pytest.approx(START + each, abs=0.001) for each in seconds]


def moments(allotted: Allotted) -> list[float]:
    return [turn.moment for turn in allotted.turns]


def test_hosts_take_the_moments_of_one_rate_in_turn(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    assert moments(a.ask(2)) == after_start(0.0, 0.1)
    assert moments(b.ask(1)) == after_start(0.2)
    fleet.advance(0.1)
    assert moments(a.ask(1)) == after_start(0.3)


def test_nobody_takes_moments_far_ahead_or_too_soon_to_be_used(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    assert moments(a.ask(9, lead=0.05)) == after_start(0.05, 0.15, 0.25, 0.35)
    none = b.ask(1)
    assert none.turns == []
    assert [none.free_at] == after_start(0.45)
    fleet.advance(0.2)
    assert moments(b.ask(1, lead=0.05)) == after_start(0.45)


def test_a_turn_is_free_a_period_after_its_call_has_started_or_could_have(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    turns = a.ask(10, ahead=2.0).turns
    fleet.advance(0.5)
    # The first call was a bit late, the second one later; of the others nothing is known yet.
    used = [(turns[0], START + 1.02), (turns[1], START + 1.2)]
    assert moments(a.ask(1, ahead=2.0, used=used)) == after_start(1.02)
    assert moments(b.ask(2, ahead=2.0)) == after_start(1.2, 1.3)
    # What is told of a turn that was taken again since is not heard.
    (later,) = a.ask(1, ahead=2.0, used=[(turns[0], START)]).turns
    assert later.number == turns[3].number


def test_time_in_which_nobody_called_is_not_made_up_for(fleet: Fleet) -> None:
    host = fleet.join()
    host.ask(1)
    fleet.advance(60)
    assert moments(host.ask(2)) == after_start(60.0, 60.1)


def test_no_turn_is_given_where_hosts_that_live_keep_to_another_rate(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join(rate="2 calls/s")
    assert b.membership.beat().other_rate == RATE
    assert a.membership.beat().other_rate is None
    fleet.advance(ALIVE_FOR / 1000)
    assert b.membership.beat().other_rate is None
    assert a.ask(1) == Allotted([], None)
    assert a.membership.beat().other_rate == "2 calls/s"


@given(
    asks=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 9)), min_size=5, max_size=15
    )
)
def test_whoever_asks_whenever_no_two_moments_are_closer_than_the_rate_allows(
    stage: Stage, asks: list[tuple[int, int, int]]
) -> None:
    with closing(Fleet(stage)) as fleet:
        hosts = [fleet.join() for _ in range(3)]
        given: list[float] = []
        for who, calls, tenths in asks:
            given += moments(hosts[who].ask(calls, lead=0.02))
            fleet.advance(tenths / 20)
    gaps = [after - before for before, after in pairwise(given)]
    assert min(gaps, default=1) > 0.0999


test_whoever_asks_whenever_no_two_moments_are_closer_than_the_rate_allows = settings(
    max_examples=settings().max_examples // 8, deadline=None, derandomize=True
)(test_whoever_asks_whenever_no_two_moments_are_closer_than_the_rate_allows)


# Heartbeats


def test_a_host_that_is_not_heard_of_is_dead(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    beat = a.membership.beat()
    assert (beat.members, beat.stops, beat.now) == (2, {}, START)
    fleet.advance(ALIVE_FOR / 1000)
    assert b.membership.beat().members == 1
    a.membership.beat()
    assert b.membership.beat().members == 2
    a.membership.leave()
    assert b.membership.beat().members == 1


def test_a_stop_reaches_every_other_member_and_the_first_reason_stays(fleet: Fleet) -> None:
    a, b, c = (fleet.join() for _ in range(3))
    a.membership.tell_stop(TOKEN, "quota", "daily quota used up\0" + "x" * 9000)
    b.membership.tell_stop(TOKEN, "balance", "second")
    a.membership.beat()
    for host in (b, c):
        stop = host.membership.beat().stops[TOKEN]
        assert stop.reason == "quota"
        assert stop.detail.startswith("daily quota used up")


@pytest.mark.parametrize("wait", [None, 2.5])
def test_a_slow_down_reaches_all_and_no_turn_is_before_its_end(
    fleet: Fleet, wait: float | None
) -> None:
    a, b = fleet.join(), fleet.join()
    a.membership.tell_slow_down(TOKEN, 2.5, wait)
    assert a.membership.beat().slowed == {TOKEN: Slowed(1, by_us=True, wait=wait)}
    assert b.membership.beat().slowed == {TOKEN: Slowed(1, by_us=False, wait=wait)}
    none = b.ask(1)
    assert none.turns == []
    assert [none.free_at] == after_start(2.5)


def test_hosts_that_are_told_at_once_to_slow_down_with_many_tokens_do_not_wait_for_each_other(
    fleet: Fleet,
) -> None:
    times = 150
    tokens = [TOKEN, OTHER]

    def tell(member: Membership, tokens: Sequence[str]) -> int:
        for _ in range(times):
            for token in tokens:
                member.tell_slow_down(token, 0.0, None)
            member.beat()
        return member.beat().slowed[TOKEN].times

    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        members = []
        for host in (fleet.join(), fleet.join()):
            address = FleetAddress(fleet.database.url, fleet.database.harvest)
            member = Membership(address, "other", tokens, RATE, lambda: fleet.now)
            stack.callback(member.close)
            member.join(host.ledger.run)
            members.append(member)
        assert max(threads.map(tell, members, (tokens, tokens[::-1]))) == 2 * times


def test_no_notice_of_another_program_reaches_a_run(fleet: Fleet) -> None:
    a = fleet.join()
    fleet.database.do(f"NOTIFY harvester_{fleet.database.harvest}, 'garbage'")
    assert a.membership.beat().stops == {}


@contextmanager
def cut_off(fleet: Fleet) -> Iterator[tuple[Cut, Membership]]:
    with Cut(fleet.database.url) as network:
        yield network, fleet.join(network.url).membership


def test_a_member_that_lost_its_database_goes_on_when_it_is_back(fleet: Fleet) -> None:
    b = fleet.join()
    with cut_off(fleet) as (network, cut):
        network.cut(Mode.RESET)
        cut.tell_stop(TOKEN, "quota", "used up")
        cut.tell_slow_down(TOKEN, 1.0, None)
        for call in (cut.beat, cut.leave):
            with pytest.raises(LocalIOError):
                call()
        network.mend()
        cut.beat()
        cut.beat()
    beat = b.membership.beat()
    assert beat.stops == {TOKEN: Stop("quota", "used up")}
    assert beat.slowed == {TOKEN: Slowed(1, by_us=False, wait=None)}


def test_a_network_that_swallows_heartbeats_is_noticed(fleet: Fleet) -> None:
    with cut_off(fleet) as (network, cut):
        network.cut()
        with pytest.raises(LocalIOError):
            cut.beat()
        network.mend()
        assert cut.beat().members == 1
