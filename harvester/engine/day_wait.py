"""Sits the rest of a day out whose quota is used up, where the run was told to."""

from __future__ import annotations

import asyncio
from datetime import datetime

from harvester.engine.clients import TokenPool
from harvester.engine.ports import NEXT_DAY, Notice, Ports
from harvester.engine.state import RunState
from harvester.errors import HarvesterError
from harvester.formatting import duration
from harvester.model import StopReason
from harvester.rules.day import day_ends, quota_returns


class DayWait:
    """Waits for the next day whenever one is used up; at most as long as the run may in all."""

    def __init__(self, ports: Ports, state: RunState, pool: TokenPool) -> None:
        self._ports = ports
        self._config = ports.config
        self._state = state
        self._pool = pool
        self._left = ports.config.wait_quota or 0.0

    async def run(self) -> None:
        """Wait whenever that is to be done, until the run stops or it takes too long."""
        max_runtime = self._config.max_runtime
        loop_time = asyncio.get_running_loop().time
        ends = float("inf") if max_runtime is None else loop_time() + max_runtime
        while not self._state.is_stopping:
            reason, detail = await self._state.day_used_up()
            until = self._next_day(reason)
            seconds = until - self._ports.clock()
            if seconds > min(self._left, ends - loop_time()):
                text = f"the next day begins in {duration(seconds)}: longer than the run may wait"
                self._state.stop(reason, f"{detail}; {text}")
                return
            self._left -= seconds
            await self._wait(detail, seconds, until)

    def _next_day(self, reason: StopReason) -> float:
        """When to go on, in Unix seconds."""
        now, zone = self._ports.clock(), self._config.day_timezone
        return quota_returns(now, zone) if reason is StopReason.QUOTA else day_ends(now, zone)

    async def _wait(self, detail: str, seconds: float, until: float) -> None:
        state, zone = self._state, self._config.day_timezone
        when = f"{datetime.fromtimestamp(until, zone):%Y-%m-%d %H:%M} ({zone})"
        state.wait_until(until)
        state.emit(Notice(NEXT_DAY, f"{detail}: waiting until {when}, then going on"))
        await self._note(until)
        await state.sleep(seconds)
        if not state.is_stopping:
            await self._note(None)
            self._pool.wake()
            state.go_on()

    async def _note(self, until: float | None) -> None:
        """Tell those who look at the ledger."""
        try:
            await self._ports.thread.run(self._ports.ledger.note_wait, until)
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))
