"""Sits the rest of a day out whose quota is used up, where the run was told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from harvester.engine.clients import TokenPool
from harvester.engine.ports import NEXT_DAY, Notice, Ports
from harvester.engine.state import RunState
from harvester.errors import HarvesterError
from harvester.formatting import duration
from harvester.model import StopReason
from harvester.rules.day import day_ends, quota_returns

# The loop's time stands still while the machine sleeps, so the clock is looked at so often
# (seconds).
_LOOK_EVERY = 60.0


async def sleep_until(moment: float, clock: Callable[[], float]) -> None:
    """Wait until a clock tells a moment, though the machine may sleep meanwhile."""
    while (left := moment - clock()) > 0:  # noqa: ASYNC110 - a clock tells when
        await asyncio.sleep(min(max(left, 0.001), _LOOK_EVERY))


async def wait_for_days(ports: Ports, state: RunState, pool: TokenPool) -> None:
    """Wait for the next day whenever one is used up, at most as long as the run may in all.

    Ends where it would take too long, which stops the run.
    """
    zone = ports.config.day_timezone
    left, max_runtime = ports.config.wait_quota or 0.0, ports.config.max_runtime
    ends = float("inf") if max_runtime is None else ports.clock() + max_runtime

    async def note(until: float | None) -> None:
        """Tell those who look at the ledger."""
        try:
            await ports.thread.run(ports.ledger.note_wait, until)
        except HarvesterError as error:
            state.stop(StopReason.LOCAL_IO, str(error))

    while not state.is_stopping:
        reason, detail = await state.day_used_up()
        now = ports.clock()
        until = (quota_returns if reason is StopReason.QUOTA else day_ends)(now, zone)
        seconds = until - now
        if seconds > min(left, ends - now):
            text = f"the next day begins in {duration(seconds)}: longer than the run may wait"
            state.stop(reason, f"{detail}; {text}")
            return
        left -= seconds
        when = f"{datetime.fromtimestamp(until, zone):%Y-%m-%d %H:%M} ({zone})"
        state.wait_until(until)
        state.emit(Notice(NEXT_DAY, f"{detail}: waiting until {when}, then going on"))
        await note(until)
        await sleep_until(until, ports.clock)
        if not state.is_stopping:
            await note(None)
            pool.wake()
            state.go_on()
