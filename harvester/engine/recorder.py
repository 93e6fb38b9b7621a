"""Write, then commit: lines of saves go to OUTPUT before the ledger says done."""

from __future__ import annotations

import asyncio

from harvester.engine.ports import Ports
from harvester.engine.progress import Progress
from harvester.engine.stop import Stop
from harvester.errors import HarvesterError
from harvester.ledger.protocol import FoundLine
from harvester.model import Outcome, State, StopReason

_LARGEST_GROUP = 500
# A power cut loses at most what was not settled: about a second, as the contract says.
_SETTLE_EVERY = 1.0


class Recorder:
    """Takes outcomes from the workers and records them in groups, in the order they came.

    When the disk fails, the run stops and the outcomes are kept: they are tried once more when
    all calls have landed, since a paid answer is not to be lost while there is hope.
    """

    def __init__(self, ports: Ports, progress: Progress, stop: Stop, *, sync: bool) -> None:
        self._ports = ports
        self._progress = progress
        self._stop = stop
        self._sync = sync
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._kept: list[Outcome] = []
        self._pending = 0
        self._is_dirty = False
        self.recorded = asyncio.Event()

    @property
    def pending(self) -> int:
        """Outcomes that are not in the ledger yet."""
        return self._pending

    def put(self, outcome: Outcome) -> None:
        """Take an outcome to record."""
        self._pending += 1
        self._queue.put_nowait(outcome)

    def finish(self) -> None:
        """Say that no more outcomes will come."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Record until finished."""
        while group := await self._take_group():
            if self._kept:
                self._kept += group
                continue
            try:
                await self._record(group)
            except HarvesterError as error:
                self._kept = group
                self._stop.set(StopReason.LOCAL_IO, str(error))
        await self._record_kept()

    async def _take_group(self) -> list[Outcome]:
        """All outcomes there are, at least one; none when finished."""
        group: list[Outcome] = []
        outcome = await self._queue.get()
        while outcome is not None:
            group.append(outcome)
            if self._queue.empty() or len(group) == _LARGEST_GROUP:
                return group
            outcome = self._queue.get_nowait()
        if group:
            self._queue.put_nowait(None)
        return group

    async def _record(self, group: list[Outcome]) -> None:
        lines = [outcome.line for outcome in group if outcome.line is not None]
        ends, extent = await self._ports.sink.append(lines)
        if self._sync and lines:
            await self._ports.sink.sync()
        late = await self._ports.ledger.record(group, ends, extent)
        if late:
            await self._adopt(group, ends, late)
        for outcome in group:
            self._progress.recorded(outcome)
        self._is_dirty = True
        self._pending -= len(group)
        self.recorded.set()

    async def _adopt(self, group: list[Outcome], ends: list[int], late: list[Outcome]) -> None:
        """A save whose lease lapsed is paid for and written all the same: it is done."""
        saves = [outcome for outcome in group if outcome.state is State.DONE]
        lines = [
            FoundLine(o.job.note_id, o.job.attempts + 1, o.fetched_at, end)
            for o, end in zip(saves, ends, strict=True)
            if o in late
        ]
        _, extent = await self._ports.sink.append([])
        await self._ports.ledger.adopt(lines, extent, paid_now=True)

    async def _record_kept(self) -> None:
        if not self._kept:
            return
        try:
            await self._record(self._kept)
        except HarvesterError as error:
            lost = sum(outcome.state is State.DONE for outcome in self._kept)
            self._stop.detail = f"{error} {lost} answers that were paid for could not be written."

    async def settle_often(self) -> None:
        """Make what is recorded durable every second, until cancelled."""
        while True:
            await asyncio.sleep(_SETTLE_EVERY)
            await self.settle()

    async def settle(self) -> None:
        """Make OUTPUT durable, then the ledger, so that the ledger is never ahead."""
        if not self._is_dirty:
            return
        self._is_dirty = False
        try:
            await self._ports.ledger.settle(await self._ports.sink.sync())
        except HarvesterError as error:
            self._stop.set(StopReason.LOCAL_IO, str(error))
