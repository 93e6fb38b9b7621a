"""How long a host waits for a database that is away, and what it says without a thread."""

from __future__ import annotations

import _thread
import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from harvester.engine.fleet import FleetSession
from harvester.errors import LocalIOError
from harvester.ledger.fleet import FleetAddress, Outage
from tests.flow.conftest import CONFIG


def test_a_host_that_is_opening_or_ending_waits_for_some_seconds_from_when_it_has_to() -> None:
    now, patience = 0.0, None
    outage = Outage(lambda: patience, clock=lambda: now)
    assert not outage.give_up()
    now, patience = 1000.0, 15.0
    assert not outage.give_up()
    now += 14
    assert not outage.give_up()
    now += 2
    assert outage.give_up()


def test_each_outage_is_waited_for_anew() -> None:
    now = 0.0
    outage = Outage(lambda: 15.0, clock=lambda: now)
    assert not outage.give_up()
    now += 14
    outage.is_over()
    now += 14
    assert not outage.give_up()
    now += 16
    assert outage.give_up()


def test_once_given_up_the_end_of_the_run_is_waited_for_no_longer() -> None:
    now = 0.0
    outage = Outage(lambda: 15.0, clock=lambda: now)
    assert not outage.give_up()
    now += 16
    assert outage.give_up()
    assert outage.give_up()


def test_a_member_that_can_have_no_thread_is_told_so_and_waits_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_work: object, _args: object) -> int:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        session = FleetSession(FleetAddress("postgresql://127.0.0.1:1/none"), CONFIG)
        session._part = "00000000000000000000000000000000"  # noqa: SLF001 - which opening names
        run: Any = SimpleNamespace(pool=[None], state=None)
        async with session.joined(run, 1):
            pass

    monkeypatch.setattr(_thread, "start_new_thread", refused)
    with pytest.raises(LocalIOError, match="memory"):
        asyncio.run(main())
