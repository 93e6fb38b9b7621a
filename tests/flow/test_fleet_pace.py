"""Paces of hosts that share one rate, on virtual time: nothing starts that is not granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from harvester.pace import RateShare, Throttle
from harvester.parsing import Rate
from tests.virtual import VirtualLoop, run_virtually

RATE = Rate(20, 1.0)
FOR_EVER = 1e9

Starts = list[float]


class Host:
    """One host that starts a call whenever it may; its starts in loop seconds.

    `mark_sent` is done between its turn and its start, as calls are recorded then.
    """

    def __init__(self, depart: Callable[[int], None] = lambda _nth: None) -> None:
        self.pace = Throttle(RATE, share=RateShare(int(RATE.calls)))
        self.starts: Starts = []
        self._depart = depart

    async def call(self) -> None:
        """Call until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.pace.turn()
            self._depart(len(self.starts))
            while not self.pace.is_paused:
                if not (delay := self.pace.start()):
                    self.starts.append(loop.time())
                    break
                await asyncio.sleep(delay)

    def within(self, begin: float, end: float) -> int:
        return sum(begin <= start < end for start in self.starts)


async def while_calling(hosts: list[Host], script: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(host.call()) for host in hosts]
    await script
    for task in tasks:
        task.cancel()


def play(many: int, script: Callable[[list[Host]], Coroutine[Any, Any, None]]) -> list[Host]:
    async def main() -> list[Host]:
        hosts = [Host() for _ in range(many)]
        await while_calling(hosts, script(hosts))
        return hosts

    return run_virtually(main())


def most_in(period: float, starts: Starts) -> int:
    """The most starts in any window of so many seconds."""
    return max(sum(begin <= start < begin + period for start in starts) for begin in starts)


def test_nothing_starts_before_a_grant() -> None:
    async def script(hosts: list[Host]) -> None:
        await asyncio.sleep(5)
        assert hosts[0].pace.is_paused
        assert hosts[0].starts == []
        hosts[0].pace.grant(20, FOR_EVER)
        await asyncio.sleep(2)

    (host,) = play(1, script)
    assert min(host.starts) >= 5
    assert host.within(5, 7) >= 36


def test_nothing_starts_once_a_grant_has_ended() -> None:
    async def script(hosts: list[Host]) -> None:
        hosts[0].pace.grant(20, 0.9)
        await asyncio.sleep(10)
        assert hosts[0].pace.is_paused
        hosts[0].pace.grant(20, 10.9)
        await asyncio.sleep(10)

    (host,) = play(1, script)
    assert host.within(0, 0.9) > 15
    assert host.within(0.9, 10) == 0
    assert host.within(10, 10.9) > 15
    assert host.within(10.9, 20) == 0


def test_a_grant_that_is_renewed_in_time_has_no_gaps() -> None:
    async def script(hosts: list[Host]) -> None:
        for beat in range(30):
            hosts[0].pace.grant(20, beat * 0.3 + 0.9)
            await asyncio.sleep(0.3)

    (host,) = play(1, script)
    gaps = [after - before for before, after in zip(host.starts, host.starts[1:], strict=False)]
    assert max(gaps) < 0.12
    assert most_in(1.0, host.starts) <= 20


@pytest.mark.parametrize("lower", [0, 1, 5, 19])
def test_a_lower_grant_holds_at_once(lower: int) -> None:
    """The calls before it count: no window holds more than it allows from that moment on."""

    async def script(hosts: list[Host]) -> None:
        hosts[0].pace.grant(20, FOR_EVER)
        await asyncio.sleep(3.01)
        hosts[0].pace.grant(lower, FOR_EVER)
        await asyncio.sleep(5)

    (host,) = play(1, script)
    before = [start for start in host.starts if start < 3.01]
    after = [start for start in host.starts if start >= 3.01]
    assert len(before) > 50
    for start in after:
        assert sum(start - 1 < other <= start for other in host.starts) <= lower
    assert len(after) >= lower * 3.5
    assert bool(after) == bool(lower)


def test_a_grant_of_nothing_pauses_whoever_waits_for_the_window() -> None:
    async def script(hosts: list[Host]) -> None:
        pace = hosts[0].pace
        pace.grant(1, FOR_EVER)
        await asyncio.sleep(0.5)
        pace.grant(0, FOR_EVER)
        await asyncio.sleep(10)
        pace.grant(1, FOR_EVER)
        await asyncio.sleep(3)

    (host,) = play(1, script)
    assert host.within(0, 10.5) == 1
    assert host.within(10.5, 13.5) == 3


@pytest.mark.parametrize("step", [0.0, 0.1, 0.37, 0.5, 0.99])
def test_two_hosts_never_exceed_the_rate_together_while_shares_move(step: float) -> None:
    """As hosts are told: what one gave up is used by the other one period later."""
    moves = [(20, 0), (10, 10), (1, 19), (0, 20), (13, 7), (20, 0), (5, 15), (10, 10)]

    async def script(hosts: list[Host]) -> None:
        granted = [0, 0]
        for shares in moves:
            for host, share in enumerate(shares):
                if share < granted[host]:
                    hosts[host].pace.grant(share, FOR_EVER)
            await asyncio.sleep(RATE.period)
            for host, share in enumerate(shares):
                hosts[host].pace.grant(share, FOR_EVER)
            granted = list(shares)
            await asyncio.sleep(2 + step)

    one, two = play(2, script)
    together = sorted(one.starts + two.starts)
    assert most_in(RATE.period, together) <= RATE.calls
    # A period in three goes by half used, while a share is on its way.
    assert len(together) > 0.6 * RATE.per_second * len(moves) * (3 + step)


@pytest.mark.parametrize("is_departing", [False, True])
def test_a_host_that_stood_still_starts_nothing_on_an_old_grant(*, is_departing: bool) -> None:
    """Stopped for longer than its grant: as it waits for its turn, or has had it."""

    async def main() -> Host:
        loop = cast("VirtualLoop", asyncio.get_running_loop())

        def depart(nth: int) -> None:
            if is_departing and nth == 8 and loop.time() < 1:
                loop.elapse(60)

        host = Host(depart)

        async def script() -> None:
            host.pace.grant(20, 0.9)
            await asyncio.sleep(0.51)
            if not is_departing:
                loop.elapse(60)
            await asyncio.sleep(5)

        await while_calling([host], script())
        return host

    host = run_virtually(main())
    assert host.starts
    assert max(host.starts) < 0.9
