"""One rate for a fleet: shares while hosts join, leave, die and return; stops that reach all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from harvester.errors import LocalIOError, UsageError
from harvester.ledger.postgres.membership import ALIVE_FOR, BEAT_EVERY, Beat, Membership, Told
from harvester.parsing import Rate
from harvester.rules.shares import fair
from tests.contract.fleet import Database
from tests.cut import Cut, Mode
from tests.postgres import Postgres

START = 1_700_000_000.0
TOKEN = "0123456789abcdef"  # noqa: S105 - a fingerprint
OTHER = "fedcba9876543210"
PERIOD = 1.0
# In seconds: how closely hosts of these tests look at the time.
TICK = 0.05


@dataclass
class Host:
    """A host as its engine keeps to grants, in virtual time."""

    membership: Membership
    run: int
    beat: Beat | None = None
    next_beat: float = 0.0
    went_by: list[tuple[int, float]] = field(default_factory=list)

    def take(self, beat: Beat, now: float) -> None:
        """Go by a new grant at once; the one before is kept with when it ended."""
        self.rest(now)
        self.beat = beat
        soon = BEAT_EVERY if beat.again_in is None else beat.again_in
        self.next_beat = now + min(BEAT_EVERY, soon)

    def rest(self, now: float) -> None:
        if self.beat is not None:
            self.went_by.append((self.beat.grants[TOKEN], min(now, self.beat.valid_until)))
        self.beat = None

    def grant(self, now: float) -> int:
        """What the host may go by now."""
        beat = self.beat
        return beat.grants[TOKEN] if beat is not None and now < beat.valid_until else 0

    def most(self, now: float) -> int:
        """The largest grant gone by in the last period."""
        past = [grant for grant, end in self.went_by if end > now - PERIOD]
        if self.beat is not None and self.beat.valid_until > now - PERIOD:
            past.append(self.beat.grants[TOKEN])
        return max(past, default=0)


class Fleet:
    """Hosts on a real database, in which time goes on only when told to."""

    def __init__(self, url: str, rate: int) -> None:
        self.database = Database(url)
        self.rate = Rate(rate, PERIOD)
        self.now = START
        self.hosts: list[Host] = []
        self.parts = 0
        self.database.open("maker").close()
        self.database.use_clock(START)

    def advance(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)
        self.database.set_clock(self.now)

    def join(self) -> Host:
        self.parts += 1
        part = f"part{self.parts}"
        with closing(self.database.open(part)) as ledger:
            run = ledger.begin_run(120).run
        url, harvest = self.database.url, self.database.harvest
        membership = Membership(url, harvest, part, lambda: self.now)
        membership.join(run)
        host = Host(membership, run)
        self.hosts.append(host)
        return host

    def beat(self, host: Host) -> None:
        host.take(host.membership.beat({TOKEN: self.rate}), self.now)

    def check(self) -> None:
        in_force = sum(host.most(self.now) for host in self.hosts)
        assert in_force <= self.rate.calls

    def live(self, seconds: float, hosts: list[Host]) -> None:
        """Let hosts beat as they should for a while."""
        end = self.now + seconds
        while self.now < end:
            for host in hosts:
                heard = host.membership.wait(0)
                if self.now >= host.next_beat or heard:
                    self.beat(host)
                self.check()
            self.advance(TICK)

    def close(self) -> None:
        for host in self.hosts:
            host.membership.close()
        self.database.close()


@pytest.fixture
def fleet(fleet_url: str, postgres: Postgres) -> Iterator[Fleet]:
    postgres.start()
    with closing(Fleet(fleet_url, 10)) as fleet:
        yield fleet


# Shares


def shares(fleet: Fleet, hosts: list[Host]) -> list[int]:
    return [host.grant(fleet.now) for host in hosts]


def test_a_single_host_has_the_whole_rate_at_once(fleet: Fleet) -> None:
    host = fleet.join()
    fleet.beat(host)
    assert host.grant(fleet.now) == 10
    assert host.beat is not None
    assert (host.beat.members, host.beat.stops) == (1, {})


@pytest.mark.parametrize("before", [1, 2, 4])
def test_when_a_host_joins_all_have_their_shares_within_two_seconds(
    fleet: Fleet, before: int
) -> None:
    hosts = [fleet.join() for _ in range(before)]
    fleet.live(5, hosts)
    assert shares(fleet, hosts) == [fair(10, rank, before) for rank in range(before)]
    hosts.append(fleet.join())
    fleet.live(2, hosts)
    assert shares(fleet, hosts) == [fair(10, rank, before + 1) for rank in range(before + 1)]


def test_when_a_host_leaves_the_others_have_its_share_within_two_seconds(fleet: Fleet) -> None:
    hosts = [fleet.join() for _ in range(3)]
    fleet.live(5, hosts)
    gone = hosts.pop(0)
    gone.membership.leave()
    gone.rest(fleet.now)
    fleet.live(1.5, hosts)
    assert shares(fleet, hosts) == [5, 5]


def test_when_a_host_dies_the_others_have_its_share_within_two_seconds(fleet: Fleet) -> None:
    hosts = [fleet.join() for _ in range(3)]
    fleet.live(5, hosts)
    dead = hosts.pop(1)
    fleet.live(2.0 + TICK, hosts)
    assert shares(fleet, hosts) == [5, 5]
    assert dead.grant(fleet.now) == 0
    # It comes back, as after a stop of its process.
    hosts.insert(1, dead)
    fleet.live(2, hosts)
    assert shares(fleet, hosts) == [4, 3, 3]


def test_with_fewer_calls_than_hosts_the_rest_waits_in_reserve(fleet_url: str) -> None:
    with closing(Fleet(fleet_url, 2)) as fleet:
        hosts = [fleet.join() for _ in range(3)]
        fleet.live(4, hosts)
        assert shares(fleet, hosts) == [1, 1, 0]
        hosts.pop(0)
        fleet.live(2 + TICK, hosts)
        assert shares(fleet, hosts) == [1, 1]


def test_each_token_has_its_own_rate(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    fleet.beat(a)
    two = a.membership.beat({TOKEN: fleet.rate, OTHER: Rate(300, 60)})
    assert dict(two.grants) == {TOKEN: 10, OTHER: 5}
    assert dict(b.membership.beat({OTHER: Rate(300, 60)}).grants) == {OTHER: 0}


def test_hosts_that_were_told_different_rates_for_a_token_do_not_go_on(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    fleet.beat(a)
    with pytest.raises(UsageError, match="10 calls/s, not 5"):
        b.membership.beat({TOKEN: Rate(300, 60)})
    fleet.advance(ALIVE_FOR)
    b.membership.beat({TOKEN: Rate(300, 60)})


class FleetMachine(RuleBasedStateMachine):
    """Whatever hosts do, and whenever, they keep to the rate together."""

    url = ""

    @initialize(rate=st.integers(1, 12))
    def begin(self, rate: int) -> None:
        self.fleet = Fleet(self.url, rate)

    def teardown(self) -> None:
        if hasattr(self, "fleet"):
            self.fleet.close()

    @rule(seconds=st.integers(0, 14).map(lambda tenths: tenths / 10))
    def advance(self, seconds: float) -> None:
        self.fleet.advance(seconds)

    @rule()
    def join(self) -> None:
        if len(self.fleet.hosts) < 5:
            self.fleet.beat(self.fleet.join())

    @rule(which=st.integers(0, 4))
    def beat(self, which: int) -> None:
        """A host that does not beat is dead for the others; one that does again has returned."""
        if which < len(self.fleet.hosts):
            self.fleet.beat(self.fleet.hosts[which])

    @rule(which=st.integers(0, 4))
    def lose_an_answer(self, which: int) -> None:
        """The heartbeat arrives, its answer does not: the host goes on as before."""
        if which < len(self.fleet.hosts):
            host = self.fleet.hosts[which].membership
            using = dict(host._using)  # noqa: SLF001 - as if `beat` had not returned
            host.beat({TOKEN: self.fleet.rate})
            host._using = using  # noqa: SLF001 - the same

    @rule(which=st.integers(0, 4))
    def leave(self, which: int) -> None:
        if which < len(self.fleet.hosts):
            host = self.fleet.hosts[which]
            host.membership.leave()
            host.rest(self.fleet.now)

    @rule(seconds=st.integers(1, 20).map(lambda tenths: tenths / 10))
    def live(self, seconds: float) -> None:
        self.fleet.live(seconds, self.fleet.hosts)

    @invariant()
    def the_rate_is_kept(self) -> None:
        if hasattr(self, "fleet"):
            self.fleet.check()

    @rule()
    def peace_comes_within_two_seconds(self) -> None:
        hosts = self.fleet.hosts
        self.fleet.live(ALIVE_FOR + PERIOD + 2 * BEAT_EVERY + PERIOD, hosts)
        expected = [fair(int(self.fleet.rate.calls), n, len(hosts)) for n in range(len(hosts))]
        assert shares(self.fleet, hosts) == expected


def test_whatever_hosts_do_their_grants_never_exceed_the_rate(fleet_url: str) -> None:
    class Machine(FleetMachine):
        url = fleet_url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=settings().max_examples // 16,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
        ),
    )


# Telling


def hear(member: Membership) -> list[Told]:
    """What reaches a member in real time, past notices of members."""
    for _ in range(20):
        heard = [told for told in member.wait(5) if told.kind != "members"]
        if heard:
            return heard
    return []


def test_a_stop_reaches_every_other_member(fleet: Fleet) -> None:
    a, b, c = (fleet.join() for _ in range(3))
    a.membership.tell_stop(TOKEN, "quota", "daily quota used up\0" + "x" * 9000)
    for host in (b, c):
        (told,) = hear(host.membership)
        assert (told.kind, told.token, told.reason) == ("stop", TOKEN, "quota")
        assert told.detail.startswith("daily quota used up")
    fleet.beat(b)
    assert b.beat is not None
    assert b.beat.stops[TOKEN][0] == "quota"


def test_the_first_reason_of_a_stop_stays(fleet: Fleet) -> None:
    a, b = fleet.join(), fleet.join()
    a.membership.tell_stop(TOKEN, "quota", "first")
    b.membership.tell_stop(TOKEN, "balance", "second")
    fleet.beat(b)
    assert b.beat is not None
    assert dict(b.beat.stops) == {TOKEN: ("quota", "first")}


@pytest.mark.parametrize("wait", [None, 2.5])
def test_a_slow_down_reaches_every_other_member(fleet: Fleet, wait: float | None) -> None:
    a, b = fleet.join(), fleet.join()
    a.membership.tell_slow_down(TOKEN, wait)
    assert hear(b.membership) == [Told("slow down", TOKEN, wait=wait)]
    assert [t for t in a.membership.wait(0) if t.kind != "members"] == []


def test_a_wait_is_ended_by_a_wake_from_any_thread(fleet: Fleet) -> None:
    a = fleet.join()
    waiting = threading.Thread(target=lambda: a.membership.wait(60))
    waiting.start()
    a.membership.wake()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_member_that_lost_its_database_tells_its_stop_when_it_is_back(
    fleet: Fleet, fleet_url: str
) -> None:
    b = fleet.join()
    with Cut(fleet_url) as network, closing(fleet.database.open("cut")) as ledger:
        run = ledger.begin_run(120).run
        with closing(Membership(network.url, fleet.database.harvest, "cut")) as cut:
            cut.join(run)
            network.cut(Mode.RESET)
            calls: list[Callable[[], object]] = [
                lambda: cut.tell_stop(TOKEN, "quota", "used up"),
                lambda: cut.beat({TOKEN: fleet.rate}),
                lambda: cut.wait(0),
                lambda: cut.tell_slow_down(TOKEN, None),
                cut.leave,
            ]
            for call in calls:
                with pytest.raises(LocalIOError):
                    call()
            network.mend()
            assert cut.beat({TOKEN: fleet.rate}).stops == {TOKEN: ("quota", "used up")}
    assert hear(b.membership)[0].kind == "stop"


def test_a_network_that_swallows_heartbeats_is_noticed(fleet: Fleet, fleet_url: str) -> None:
    with Cut(fleet_url) as network, closing(fleet.database.open("cut")) as ledger:
        run = ledger.begin_run(120).run
        with closing(Membership(network.url, fleet.database.harvest, "cut")) as cut:
            cut.join(run)
            network.cut()
            with pytest.raises(LocalIOError):
                cut.beat({TOKEN: fleet.rate})
            network.mend()
            assert cut.beat({TOKEN: fleet.rate}).grants == {TOKEN: 10}
