"""One run from beginning to end: its tasks, its stop, its summary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import Struct

from harvester.config import RunConfig
from harvester.engine.audience import Audience
from harvester.engine.caller import Caller, Watch
from harvester.engine.feeder import Feeder
from harvester.engine.lane import Lane, Lanes
from harvester.engine.ports import Event, Ports, Stopping
from harvester.engine.progress import Progress
from harvester.engine.recorder import Recorder
from harvester.engine.stop import Stop
from harvester.errors import HarvesterError
from harvester.model import Counts, StopReason, Summary
from harvester.rules.day import day_began, day_ends

# A lease outlives the call it covers by this many seconds; in a fleet others wait for its end.
_LEASE_MARGIN, _SHARED_LEASE_MARGIN = 60.0, 15.0
# After a stop, input that gives nothing for so many seconds is not waited for.
_QUIET = 1.0
# What a run that dies started within so many seconds, or this part of the limit's period, counts as
# started when the next one begins.
_REMEMBER_EVERY = 1.0
_REMEMBER_PART = 1 / 200
QUEUE_LOST = "what was still queued is not known: name the INPUT to go on with it"
Companion = Callable[[Lanes], Coroutine[Any, Any, None]]


class RunStart(Struct, frozen=True):
    """What was found when a run was opened.

    `simulated` tells which notes OUTPUT holds, None if none; `found_unanswered` calls of the last
    run may have been charged without an answer; `adopted` lines were paid for and not yet known.
    """

    simulated: bool | None = None
    found_unanswered: int = 0
    adopted: int = 0
    is_queue_lost: bool = False


_NOTHING_FOUND = RunStart()


class Run:
    """The line of one harvest; `stop` and `abort` are its handles from outside.

    `companion` is run beside it from beginning to end: what keeps this host in its fleet.
    `summary` is there once it has ended.
    """

    def __init__(
        self,
        config: RunConfig,
        ports: Ports,
        lanes: Sequence[Lane],
        companion: Companion | None = None,
        start: RunStart = _NOTHING_FOUND,
    ) -> None:
        self._config = config
        self._ports = ports
        self._start = start
        self.summary: Summary | None = None
        self.progress = Progress()
        self._stop = Stop()
        self._audience = Audience(ports.observers, self._fail)
        self._companion = companion
        margin = _LEASE_MARGIN if companion is None else _SHARED_LEASE_MARGIN
        lease = config.timeout + margin
        self._watch = Watch(
            simulated=start.simulated,
            is_unproven=bool(start.simulated) and not config.simulate,
        )
        self._recorder = Recorder(
            ports, self.progress, self._stop, self._watch.landed, sync=config.sync
        )
        self.lanes = Lanes(lanes, self._stop, self._audience)
        self._feeder = Feeder(
            ports,
            self.progress,
            self._recorder,
            self._stop,
            self.lanes,
            config,
            lease,
            is_shared=companion is not None,
        )
        self._callers = [
            Caller(
                lane,
                self.lanes,
                self._watch,
                ports,
                self.progress,
                self._feeder,
                self._recorder,
                self._stop,
                self._audience,
                config,
                lease,
            )
            for lane in lanes
        ]
        self._calls: asyncio.Task[None] | None = None
        self._is_aborted = False

    @property
    def is_aborted(self) -> bool:
        """Whether not even what is in flight is awaited."""
        return self._is_aborted

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run is stopping, if it is."""
        return self._stop.reason

    @property
    def failure(self) -> Exception | None:
        """What an observer raised, if one did; the run drained for it."""
        return self._audience.failure

    def tell(self, event: Event) -> None:
        """Tell the observers."""
        self._audience.tell(event)

    def _fail(self) -> None:
        self._stop.set(StopReason.CANCELLED, "an observer of the run failed")

    def stop(self, reason: StopReason) -> None:
        """Send nothing new; await and save what is in flight."""
        self._stop.set(reason)

    def abort(self) -> None:
        """Do not even await what is in flight: those calls are recorded as unanswered."""
        self._is_aborted = True
        if self._calls is not None:
            self._calls.cancel()

    async def run(self) -> Summary:
        """Harvest until done or stopped."""
        began = asyncio.get_running_loop().time()
        await self._begin()
        async with asyncio.TaskGroup() as group:
            recording = group.create_task(self._recorder.run())
            beside = [
                group.create_task(self._recorder.settle_often()),
                group.create_task(self._remember_often()),
            ]
            if self._companion is not None:
                beside.append(group.create_task(self._companion(self.lanes)))
            self._calls = group.create_task(self._make_calls())
            await asyncio.wait([self._calls])
            self._recorder.finish()
            await recording
            await self._give_back()
            for task in beside:
                task.cancel()
            await self._remember_starts()
            await self._recorder.settle()
        self.summary = await self._summary(asyncio.get_running_loop().time() - began)
        return self.summary

    async def _begin(self) -> None:
        ledger, thread, spent = self._ports.ledger, self._ports.thread, self.progress.spent
        self.progress.begin(await thread.run(ledger.counts))
        self.lanes.restore(await thread.run(ledger.starts), self._ports.clock())
        if self._config.max_charged_daily is not None:
            began = day_began(self._ports.clock(), self._config.day_timezone)
            spent.charged_today = await thread.run(ledger.charged_since, began)

    async def _make_calls(self) -> None:
        """The part of the run that a second signal cuts short."""
        async with asyncio.TaskGroup() as workers:
            await self._take_in(workers)
            for caller in self._callers:
                caller.dismiss()

    async def _take_in(self, workers: asyncio.TaskGroup) -> None:
        """Read, claim and send, until all is done or the run is stopping."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._feeder.read())
            feeding = group.create_task(self._feeder.feed())
            sending = [group.create_task(caller.send(workers)) for caller in self._callers]
            timing = [
                group.create_task(self._end_in_time()),
                group.create_task(self._follow_day()),
            ]
            stopped = group.create_task(self._stop.wait())
            hurried = group.create_task(self._stop.wait_hurried())
            await asyncio.wait([feeding, stopped], return_when=asyncio.FIRST_COMPLETED)
            self._tell_stopping()
            for task in (feeding, stopped, *sending):
                task.cancel()
            await self._read_on(reading, hurried)
            for task in (reading, hurried, *timing):
                task.cancel()

    async def _read_on(self, reading: asyncio.Task[None], hurried: asyncio.Task[None]) -> None:
        """Read a file to its end, so that the whole list is known, but wait for nobody."""
        either, lines = (reading, hurried), -1
        while self._feeder.is_enrolling or lines != self.progress.lines:
            lines = self.progress.lines
            await asyncio.wait(either, timeout=_QUIET, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() or hurried.done():
                return

    def _tell_stopping(self) -> None:
        stop = self._stop
        if stop.reason is not None:
            self.tell(Stopping(stop.reason.value, stop.detail, len(self.progress.flying)))

    async def _end_in_time(self) -> None:
        seconds = self._config.max_runtime
        if seconds is not None:
            await asyncio.sleep(seconds)
            self._stop.set(StopReason.LIMIT, "--max-runtime is reached", at_once=True)

    async def _remember_often(self) -> None:
        """Keep the latest starts for the next run, until cancelled."""
        kept = 0
        period = self._config.top_rate.period
        while True:
            await asyncio.sleep(max(_REMEMBER_EVERY, _REMEMBER_PART * period))
            if kept != self.progress.spent.calls:
                kept = self.progress.spent.calls
                await self._remember_starts()

    async def _remember_starts(self) -> None:
        calls, starts = self.progress.spent.calls, self.lanes.starts(self._ports.clock())
        try:
            await self._ports.thread.run(self._ports.ledger.remember_starts, calls, starts)
        except HarvesterError as error:
            self._stop.set(StopReason.LOCAL_IO, str(error))

    async def _follow_day(self) -> None:
        """Count the day's charges anew when the calendar day changes."""
        if self._config.max_charged_daily is None:
            return
        clock, zone = self._ports.clock, self._config.day_timezone
        while True:
            now = clock()
            await asyncio.sleep(max(0.001, day_ends(now, zone) - now))
            self.progress.spent.charged_today = 0

    async def _give_back(self) -> None:
        """Leave no claim behind: unsent jobs are released, calls cut short are unanswered."""
        progress = self.progress
        try:
            await self._ports.thread.run(self._ports.ledger.release, list(progress.unsent.values()))
            if progress.flying:
                jobs = list(progress.flying.values())
                await self._ports.thread.run(self._ports.ledger.abandon, jobs, "stopped at once")
                progress.spent.unanswered += len(jobs)
            if self._watch.first_answers.is_suspicious:
                await self._ports.thread.run(self._ports.ledger.requeue, self._watch.refused)
        except HarvesterError as error:
            self._stop.set(StopReason.LOCAL_IO, str(error))

    async def _summary(self, elapsed: float) -> Summary:
        counts = await self._ports.thread.run(self._ports.ledger.counts)
        progress, spent = self.progress, self.progress.spent
        reason = self._reason(counts)
        return Summary(
            reason=reason.value,
            exit_code=reason.exit_code,
            done=counts.done,
            queued=counts.queued,
            failed=counts.failed,
            charged=spent.charged,
            unanswered=spent.unanswered,
            calls=spent.calls,
            by_code=dict(sorted(progress.by_code.items())),
            saved=spent.notes - self._recorder.unwritten,
            waiting=counts.waiting,
            rejected=counts.rejected,
            exhausted=counts.exhausted,
            detail=f"{self._stop.detail} {QUEUE_LOST}".strip()
            if self._start.is_queue_lost
            else self._stop.detail,
            found_unanswered=self._start.found_unanswered,
            adopted=self._start.adopted,
            is_queue_lost=self._start.is_queue_lost,
            elapsed=elapsed,
            sustained_rate=self.lanes.sustained_rate,
            bad_lines=progress.bad_lines,
            bad_examples=tuple(progress.bad_examples),
            closed=progress.closed,
        )

    def _reason(self, counts: Counts) -> StopReason:
        reason = self._stop.reason
        if reason is StopReason.LIMIT and not counts.queued and self.progress.is_read:
            reason = None
        if reason is not None:
            return reason
        if not counts.failed:
            return StopReason.DONE
        if self.progress.spent.calls and not self.progress.answered:
            self._stop.detail = f"not one answer in {self.progress.spent.calls} calls; the last: "
            self._stop.detail += self.progress.last_fault
            return StopReason.UPSTREAM
        return StopReason.FAILED
