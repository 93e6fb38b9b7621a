"""Write, then commit: lines of saves go to OUTPUT before the ledger says done."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from harvester.engine.ports import Ports
from harvester.engine.state import RunState
from harvester.errors import HarvesterError
from harvester.ledger.protocol import Checkpoint, FoundLine
from harvester.model import Outcome, State, StopReason

_LARGEST_GROUP = 500
# When answers come in thousands a second, those of so many seconds are written, and committed,
# together: handing work to a thread costs as much as a call does. When they come slowly, at once.
_WRITE_EVERY = 0.01
# A power cut loses at most what was not settled: about a second, as the contract says.
_SETTLE_EVERY = 1.0


class _Written(Struct, frozen=True):
    """A group whose lines are in OUTPUT: where they end, and OUTPUT's checkpoint then."""

    outcomes: list[Outcome]
    ends: list[int]
    checkpoint: Checkpoint


class MinInterval:
    """Keeps the beginnings of steps at least `seconds` apart; who comes later need not wait."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._next = float("-inf")

    async def wait(self) -> None:
        """Wait, if it is too soon for the next step."""
        if (rest := self._next - self._clock()) > 0:
            await asyncio.sleep(rest)

    def begin(self) -> None:
        """Say that a step begins now."""
        self._next = self._clock() + self._seconds


class Recorder:
    """Takes outcomes from the workers and records them in groups, in the order they came.

    One task writes and one commits, so that a ledger that is busy keeps no answer from OUTPUT. When
    the disk fails the run stops, and what could not be done is kept: each group that still
    comes tries it again, lines that are in OUTPUT are never written twice, and lines go on being
    written though the ledger fails, since the next run adopts them. What OUTPUT does not take is
    kept beside it at once, for the next run to find whatever becomes of this one. Lines that are in
    OUTPUT need no room beside it any more.
    """

    def __init__(self, ports: Ports, state: RunState) -> None:
        self._ledger = ports.ledger
        self._thread = ports.thread
        self._sink = ports.sink
        self._state = state
        self._sync = ports.config.sync
        self._commit_every = ports.coordinator.commit_every
        self._taken: list[Outcome] = []
        self._is_finished = False
        self._has_news = asyncio.Event()
        self._unwritten: list[Outcome] = []
        self._kept = self._lost = 0
        self._waiting = 0
        self._written: asyncio.Queue[_Written | None] = asyncio.Queue()
        self._uncommitted: list[_Written] = []
        self._late: tuple[list[FoundLine], Checkpoint] | None = None
        self._pending = 0
        self._is_dirty = False

    @property
    def pending(self) -> int:
        """Outcomes that are not in the ledger yet."""
        return self._pending

    @property
    def unwritten(self) -> int:
        """Notes whose lines OUTPUT did not take."""
        return sum(outcome.line is not None for outcome in self._unwritten)

    @property
    def room(self) -> int:
        """How many calls there may be: what is in flight must find room though OUTPUT fails."""
        return self._sink.calls - self._waiting

    def put(self, outcome: Outcome) -> None:
        """Take an outcome to record."""
        self._pending += 1
        self._waiting += 1
        self._taken.append(outcome)
        self._has_news.set()

    def touch(self) -> None:
        """Say that the ledger changed by other hands, so that it is settled too."""
        self._is_dirty = True

    def finish(self) -> None:
        """Say that no more outcomes will come."""
        self._is_finished = True
        self._has_news.set()

    async def run(self) -> None:
        """Record until finished."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_all())
            group.create_task(self._commit_all())
        self._tell_unwritten()

    async def _write_all(self) -> None:
        interval = MinInterval(_WRITE_EVERY)
        while await self._take_group(interval):
            interval.begin()
            await self._write()
        if self._unwritten:
            await self._write()
        self._written.put_nowait(None)

    async def _commit_all(self) -> None:
        interval = MinInterval(self._commit_every)
        while (written := await self._written.get()) is not None:
            self._uncommitted.append(written)
            # Before it, not behind it: after the last one a run would wait for nothing.
            if self._written.empty():
                await interval.wait()
            if self._written.empty():
                interval.begin()
                await self._commit()
        if self._uncommitted:
            await self._commit()

    async def _keep(self) -> None:
        """Keep what OUTPUT would not take where the next run finds it."""
        texts = (outcome.line or outcome.unread for outcome in self._unwritten[self._kept :])
        if await self._save([text for text in texts if text is not None]):
            self._kept = len(self._unwritten)

    async def _save(self, lines: list[bytes]) -> bool:
        with suppress(HarvesterError):
            return not lines or await self._sink.save(lines)
        return False

    def _tell_unwritten(self) -> None:
        lost = sum(outcome.line is not None for outcome in self._unwritten[self._kept :])
        kept, lost = self.unwritten - lost, lost + self._lost
        if kept:
            self._state.explain(f"{kept} paid answers are kept beside it for the next run.")
        if lost:
            self._state.explain(f"{lost} answers that were paid for could not be written.")

    async def _take_group(self, interval: MinInterval) -> bool:
        """Take the outcomes there are, at least one; gives False when finished."""
        await self._has_news.wait()
        if self._taken:
            await interval.wait()
        group, self._taken = self._taken[:_LARGEST_GROUP], self._taken[_LARGEST_GROUP:]
        self._unwritten += group
        if not self._taken and not self._is_finished:
            self._has_news.clear()
        return bool(group)

    async def _write(self) -> None:
        """Write what is unwritten, as far as the disk allows."""
        group = self._unwritten
        lines = [outcome.line for outcome in group if outcome.line is not None]
        try:
            ends, checkpoint = await self._sink.append(lines)
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))
            await self._keep()
            _release(group)
            return
        unkept = group[self._kept :]
        self._unwritten, self._kept = [], 0
        self._waiting -= len(group)
        self._state.room.set()
        await self._keep_unread(unkept)
        if self._sync and lines:
            await self._make_durable()
        _release(group)
        # Their text is not needed any more, and a ledger that is busy would hold it for long.
        bare = [replace(outcome, line=None, unread=None) for outcome in group]
        self._written.put_nowait(_Written(bare, ends, checkpoint))

    async def _keep_unread(self, group: list[Outcome]) -> None:
        """Write answers that could not be read beside OUTPUT."""
        lines = [outcome.unread for outcome in group if outcome.unread is not None]
        if not lines:
            return
        try:
            await self._sink.keep_unread(lines)
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))
            if not await self._save(lines):
                self._lost += len(lines)

    async def _make_durable(self) -> None:
        try:
            await self._sink.sync()
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))

    async def _commit(self) -> None:
        """Commit what is uncommitted, in one transaction, as far as the ledger allows."""
        written = _Written(
            [outcome for group in self._uncommitted for outcome in group.outcomes],
            [end for group in self._uncommitted for end in group.ends],
            self._uncommitted[-1].checkpoint,
        )
        try:
            # What is vouched for next lies behind lines that could not be adopted the last time.
            await self._adopt()
            late = await self._thread.run(
                self._ledger.record, written.outcomes, written.ends, written.checkpoint
            )
            self._uncommitted = []
            if late:
                self._late = _lines_of(written, late), written.checkpoint
                await self._adopt()
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))
            return
        for outcome in written.outcomes:
            self._state.recorded(outcome)
        self._is_dirty = True
        self._pending -= len(written.outcomes)

    async def _adopt(self) -> None:
        """A save whose lease lapsed is paid for and written all the same: it is done."""
        if self._late is not None:
            lines, checkpoint = self._late
            await self._thread.run(self._ledger.adopt, lines, checkpoint)
            self._late = None

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
            await self._thread.run(self._ledger.settle, await self._sink.sync())
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))


def _release(group: list[Outcome]) -> None:
    """Let others of the long answers be read."""
    for outcome in group:
        outcome.release()


def _lines_of(written: _Written, late: list[Outcome]) -> list[FoundLine]:
    """The lines of those saves of a group that came late."""
    saves = [outcome for outcome in written.outcomes if outcome.state is State.DONE]
    return [
        FoundLine(o.job.note_id, o.job.attempts + 1, o.fetched_at, end, o.is_empty)
        for o, end in zip(saves, written.ends, strict=True)
        if o in late
    ]
