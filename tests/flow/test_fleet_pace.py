"""Paces of hosts that share one rate, on virtual time: each call starts at a moment given out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from harvester.pace import LedgerClock, SharedThrottle
from harvester.parsing import Rate
from harvester.rules.turns import Allotted, Turn, turns_of
from tests.virtual import VirtualLoop, run_virtually

RATE = Rate(20, 1.0)
# The ledger's clock is so many seconds ahead of ours.
AHEAD = 1_700_000_000.0


class Ledger:
    """Gives out turns as the database does."""

    def __init__(self) -> None:
        self.next = 0.0
        self.free = dict.fromkeys(range(turns_of(RATE)[0]), 0.0)

    async def give(self, pace: SharedThrottle, calls: int, trip: float) -> int:
        """Give turns for calls to a host from which an exchange takes so many seconds."""
        turns = pace.asking()
        await asyncio.sleep(trip / 2)
        now = asyncio.get_running_loop().time() + AHEAD
        for turn, free in turns.used:
            if abs(self.free[turn.number] - turn.latest - turns.period) < 0.001:
                self.free[turn.number] = free
        given: list[Turn] = []
        at = max(self.next, now + turns.lead)
        for number, free in sorted(self.free.items(), key=lambda item: item[1]):
            at = max(at, free)
            if len(given) == calls or at > now + turns.ahead:
                break
            given.append(Turn(number, at, at + turns.late))
            self.free[number] = at + turns.period + turns.late
            self.next = at = at + turns.interval
        await asyncio.sleep(trip / 2)
        pace.allot(Allotted(given, at))
        return len(given)


class Host:
    """One host that starts a call whenever it may; its starts in loop seconds."""

    def __init__(self, ledger: Ledger, trip: float) -> None:
        clock, now = LedgerClock(), asyncio.get_running_loop().time()
        clock.look(now, now + trip, now + trip / 2 + AHEAD)
        self.pace = SharedThrottle(RATE, None, "token", clock)
        self.starts: list[float] = []
        self.trip = trip
        self._ledger = ledger
        self._sent: asyncio.Queue[None] = asyncio.Queue()

    async def send(self) -> None:
        """Record calls in batches, until cancelled."""
        while True:
            await self.pace.turn()
            calls = 1 + await self.pace.turns(1000)
            for _ in range(await self._ledger.give(self.pace, calls, self.trip)):
                self._sent.put_nowait(None)

    async def call(self) -> None:
        """Start what is recorded, until cancelled."""
        while True:
            await self._sent.get()
            while not self.pace.is_paused and (delay := self.pace.start()) is not None:
                if not delay:
                    self.starts.append(asyncio.get_running_loop().time())
                    break
                await asyncio.sleep(delay)


def play(
    trips: list[float], script: Callable[[list[Host]], Coroutine[Any, Any, None]]
) -> list[Host]:
    """Let hosts call, each so many seconds away from the ledger, there and back."""

    async def main() -> list[Host]:
        ledger = Ledger()
        hosts = [Host(ledger, trip) for trip in trips]
        for host in hosts:
            host.pace.share_with(len(hosts))
        tasks = [asyncio.create_task(each()) for h in hosts for each in (h.send, h.call)]
        await script(hosts)
        for task in tasks:
            task.cancel()
        return hosts

    return run_virtually(main())


def most_in(period: float, starts: list[float]) -> int:
    """The most starts in any window of so many seconds."""
    return max(sum(begin <= start < begin + period for start in starts) for begin in starts)


async def half_a_minute(_hosts: list[Host]) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    "trips", [[0.002] * 8, [0.1] * 30, [0.4], [0.4, 0.002], [0.002, 0.4, 0.002, 0.1]]
)
def test_hosts_use_the_whole_rate_together_never_more_and_about_the_same_each(
    trips: list[float],
) -> None:
    hosts = play(trips, half_a_minute)
    together = sorted(start for host in hosts for start in host.starts)
    assert most_in(RATE.period, together) <= RATE.calls
    assert len(together) >= 0.98 * RATE.per_second * 29
    assert min(len(host.starts) for host in hosts) > 0.6 * len(together) / len(hosts)


def test_an_exchange_that_waits_behind_others_leaves_no_moment_unused() -> None:
    async def script(hosts: list[Host]) -> None:
        for n in range(30):
            hosts[0].trip = 0.1 if n % 3 else 0.3
            await asyncio.sleep(1)

    (host,) = play([0.1], script)
    assert len(host.starts) >= 0.98 * RATE.per_second * 29


def test_a_host_that_stood_still_starts_nothing_at_moments_that_went_by() -> None:
    async def script(_hosts: list[Host]) -> None:
        await asyncio.sleep(2.01)
        cast("VirtualLoop", asyncio.get_running_loop()).elapse(60)
        await asyncio.sleep(3)

    (host,) = play([0.002], script)
    assert [start for start in host.starts if 2.1 < start < 62] == []
    assert most_in(RATE.period, host.starts) <= RATE.calls
    assert sum(start > 62 for start in host.starts) > 50


def test_a_host_that_is_slowed_down_rests_and_asks_for_less() -> None:
    async def script(hosts: list[Host]) -> None:
        await asyncio.sleep(5)
        hosts[0].pace.slow_down(2.0, 0.0)
        await asyncio.sleep(4)

    (host,) = play([0.002], script)
    assert [start for start in host.starts if 5.0 < start < 7.0] == []
    assert 25 < sum(start >= 7.0 for start in host.starts) < 40


def test_calls_that_start_late_lose_no_turn_and_do_not_bunch_with_the_next() -> None:
    """The event loop stands still for a moment, again and again: on a machine that is busy."""

    async def script(_hosts: list[Host]) -> None:
        for _ in range(60):
            await asyncio.sleep(0.47)
            cast("VirtualLoop", asyncio.get_running_loop()).elapse(0.03)

    hosts = play([0.002] * 3, script)
    together = sorted(start for host in hosts for start in host.starts)
    assert most_in(RATE.period, together) <= RATE.calls
    assert len(together) >= 0.985 * RATE.per_second * together[-1]


def test_a_turn_is_busy_for_a_period_from_when_its_call_was_sent() -> None:
    """A busy machine holds the process up between its look at the clock and then."""

    async def main() -> None:
        loop = cast("VirtualLoop", asyncio.get_running_loop())
        ledger = Ledger()
        pace = Host(ledger, 0.002).pace
        await pace.turn()
        await ledger.give(pace, 1, 0.002)
        while delay := pace.start():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(delay)
        loop.elapse(0.05)
        sent = loop.time()
        await asyncio.sleep(0)
        ((_, free),) = pace.asking().used
        assert free >= sent + AHEAD + RATE.period

    run_virtually(main())


def test_a_rate_has_a_turn_for_each_call_of_a_part_of_its_period() -> None:
    for rate in (Rate(1, 1.0), Rate(20, 1.0), Rate(20_000, 86_400.0), Rate(1000, 1.0)):
        calls, period = turns_of(rate)
        assert rate.period < period * -(-rate.calls // calls) < 1.02 * rate.period
        assert calls <= 512


def test_the_quickest_look_at_the_ledgers_clock_counts_until_the_clock_is_set() -> None:
    clock = LedgerClock()
    clock.look(0.0, 0.2, 1000.0)
    clock.look(1.0, 1.01, 1001.0)
    clock.look(2.0, 2.4, 1002.0)
    assert clock.trip == pytest.approx(0.01)
    assert clock.ours(1001.0) == pytest.approx(1.005)
    clock.look(3.0, 3.1, 500.0)
    assert clock.ours(500.0) == pytest.approx(3.05)
