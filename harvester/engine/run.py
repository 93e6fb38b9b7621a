"""One run from beginning to end: its tasks, its stop, its summary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from harvester.api.endpoints import DEPRECATED, endpoint_advice
from harvester.engine.answers import AnswerHandler
from harvester.engine.audit import Audit
from harvester.engine.clients import TokenClient, TokenPool
from harvester.engine.day_wait import sleep_until, wait_for_days
from harvester.engine.dispatcher import Dispatcher
from harvester.engine.feeder import Feeder
from harvester.engine.ports import Ports, Stopping
from harvester.engine.recorder import Recorder
from harvester.engine.state import RunState
from harvester.errors import HarvesterError
from harvester.model import Counts, StopReason, Summary
from harvester.rules.day import day_began, day_ends, quota_returns
from harvester.rules.health import RunHealth
from harvester.source.options import may_wait

# After a stop, input that gives nothing for so many seconds is not waited for.
_QUIET = 1.0
# What a run that dies started within so many seconds, or this part of the limit's period, counts as
# started when the next one begins.
_REMEMBER_EVERY = 1.0
_REMEMBER_PART = 1 / 200
QUEUE_LOST = "what was still queued is not known: name the INPUT to go on with it"


class PriorState(Struct, frozen=True):
    """What was found when a run was opened.

    `simulated` tells which notes OUTPUT holds, None if none; `found_unanswered` calls of the last
    run may have been charged without an answer; `adopted` lines were paid for and not yet known.
    """

    simulated: bool | None = None
    found_unanswered: int = 0
    adopted: int = 0
    is_queue_lost: bool = False


class Run:
    """The line of one harvest; `stop` and `abort` are its handles from outside.

    `summary` is there once it has ended.
    """

    def __init__(self, ports: Ports, clients: Sequence[TokenClient], prior: PriorState) -> None:
        self._ports = ports
        self._config = ports.config
        self._prior = prior
        self.summary: Summary | None = None
        is_unproven = bool(prior.simulated) and not ports.config.simulate
        health = RunHealth(
            simulated=prior.simulated,
            is_unproven=is_unproven,
            advice=endpoint_advice(ports.config.endpoint),
            is_deprecated=ports.config.endpoint in DEPRECATED,
        )
        can_wait = ports.config.wait_quota is not None
        state = RunState(ports.observers, health, can_wait=can_wait)
        self.state = state
        self.pool = TokenPool(clients, state, ports.coordinator)
        self._recorder = Recorder(ports, state)
        self._feeder = Feeder(ports, state, self._recorder, self.pool)
        answers = AnswerHandler(ports, state, self.pool, self._recorder)
        self._dispatchers = [
            Dispatcher(client, ports, state, self._feeder, answers) for client in clients
        ]
        self._audit = Audit(ports, state)
        self._calls: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def price(self) -> Decimal | None:
        """What a charged call costs, as far as that is known."""
        return self._audit.price

    def stop(self, reason: StopReason) -> None:
        """Send nothing new; await and save what is in flight."""
        self.state.stop(reason)

    def abort(self) -> None:
        """Do not even await what is in flight: those calls are recorded as unanswered."""
        self.state.abort()
        for task in (self._calls, self._ending):
            if task is not None:
                task.cancel()

    async def run(self) -> Summary:
        """Harvest until done or stopped."""
        began, failure = asyncio.get_running_loop().time(), None
        await self._begin()
        async with asyncio.TaskGroup() as group:
            # Ahead of the calls, so that none of them shows in it.
            self._audit.begin(group)
            recording = group.create_task(self._recorder.run())
            background = (
                self._recorder.settle_often(),
                self._remember_often(),
                self._ports.coordinator.keep(),
            )
            beside = [group.create_task(task) for task in background]
            self._calls = group.create_task(self._make_calls())
            await asyncio.wait([self._calls])
            self._recorder.finish()
            await recording
            await self._feeder.give_all_back()
            for task in beside:
                task.cancel()
            await self._remember_starts()
            self._recorder.touch()
            await self._recorder.settle()
            # Whatever becomes of what follows, this is how it ended.
            try:
                self.summary = await self._summary(asyncio.get_running_loop().time() - began)
            except HarvesterError as error:
                failure = error
            else:
                self._ending = group.create_task(self._audit.end(group))
                await asyncio.wait([self._ending])
        # Not within the group, which would wrap it.
        if failure is not None or self.summary is None:
            raise failure or AssertionError
        self.summary = replace(self.summary, spending=self._audit.spending)
        return self.summary

    async def _begin(self) -> None:
        ledger, thread, clock = self._ports.ledger, self._ports.thread, self._ports.clock
        counts, charged_today = await thread.run(ledger.counts), 0
        self.pool.restore(await thread.run(ledger.starts), clock())
        if self._config.max_charged_daily is not None:
            began = day_began(clock(), self._config.day_timezone)
            charged_today = await thread.run(ledger.charged_since, began)
        self.state.begin(counts, charged_today)

    async def _make_calls(self) -> None:
        """The part of the run that a second signal cuts short."""
        async with asyncio.TaskGroup() as workers:
            await self._take_in(workers)
            for dispatcher in self._dispatchers:
                dispatcher.dismiss()

    async def _take_in(self, workers: asyncio.TaskGroup) -> None:
        """Read, claim and send, until all is done or the run is stopping."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._feeder.read())
            feeding = group.create_task(self._feeder.feed())
            sending = [group.create_task(each.send(workers)) for each in self._dispatchers]
            timing = [
                group.create_task(self._end_in_time()),
                group.create_task(self._follow(day_ends, self.state.begin_day)),
                group.create_task(self._follow(quota_returns, self._wake)),
                group.create_task(wait_for_days(self._ports, self.state, self.pool)),
            ]
            stopped = group.create_task(self.state.stopped())
            hurried = group.create_task(self.state.hurried())
            await asyncio.wait([feeding, stopped], return_when=asyncio.FIRST_COMPLETED)
            state = self.state
            if state.reason is not None:
                state.emit(Stopping(state.reason.value, state.detail, len(state.in_flight)))
            for task in (feeding, stopped, *sending):
                task.cancel()
            await self._read_on(reading, hurried)
            for task in (reading, hurried, *timing):
                task.cancel()

    async def _read_on(self, reading: asyncio.Task[None], hurried: asyncio.Task[None]) -> None:
        """Read a file to its end, so that the whole list is known, but wait for nobody.

        An iterator may have no end: it is read on for a moment.
        """
        either, lines = (reading, hurried), -1
        while self._feeder.is_enrolling or lines != self.state.lines:
            lines = self.state.lines
            await asyncio.wait(either, timeout=_QUIET, return_when=asyncio.FIRST_COMPLETED)
            is_over = reading.done() or hurried.done()
            if is_over or may_wait(self._config.inputs):
                return

    async def _end_in_time(self) -> None:
        seconds = self._config.max_runtime
        if seconds is not None:
            clock = self._ports.clock
            await sleep_until(clock() + seconds, clock)
            self.state.stop(StopReason.LIMIT, "--max-runtime is reached", at_once=True)

    async def _remember_often(self) -> None:
        """Keep the latest starts for the next run, until cancelled."""
        kept = 0
        period = self._config.top_rate.period
        while True:
            await asyncio.sleep(max(_REMEMBER_EVERY, _REMEMBER_PART * period))
            if kept != self.state.spent.calls:
                kept = self.state.spent.calls
                await self._remember_starts()

    async def _remember_starts(self) -> None:
        calls, starts = self.state.spent.calls, self.pool.starts(self._ports.clock())
        try:
            await self._ports.thread.run(self._ports.ledger.remember_starts, calls, starts)
        except HarvesterError as error:
            self.state.stop(StopReason.LOCAL_IO, str(error))

    async def _follow(
        self, next_of: Callable[[float, ZoneInfo], float], act: Callable[[], None]
    ) -> None:
        """Act whenever such a moment of the calendar day comes, until cancelled."""
        clock, zone = self._ports.clock, self._config.day_timezone
        while True:
            await sleep_until(next_of(clock(), zone), clock)
            act()

    def _wake(self) -> None:
        """Ask tokens again whose quota was used up, while others go on."""
        if self.state.resumes_at is None:
            self.pool.wake()

    async def _summary(self, elapsed: float) -> Summary:
        counts = await self._ports.thread.run(self._ports.ledger.counts)
        state, spent, prior = self.state, self.state.spent, self._prior
        reason, detail = _ending(state, counts)
        return Summary(
            reason=reason.value,
            exit_code=reason.exit_code,
            done=counts.done,
            queued=counts.queued,
            failed=counts.failed,
            charged=spent.charged,
            unanswered=spent.unanswered,
            calls=spent.calls,
            by_code=dict(sorted(state.by_code.items())),
            saved=spent.notes - self._recorder.unwritten,
            waiting=counts.waiting,
            rejected=counts.rejected,
            exhausted=counts.exhausted,
            detail=f"{detail} {QUEUE_LOST}".strip() if prior.is_queue_lost else detail,
            found_unanswered=prior.found_unanswered,
            adopted=prior.adopted,
            is_queue_lost=prior.is_queue_lost,
            elapsed=elapsed,
            sustained_rate=self.pool.sustained_rate,
            bad_lines=state.bad_lines,
            differed=state.differed,
            bad_examples=tuple(state.bad_examples),
            closed=state.closed,
            empty=state.empty,
            gone=counts.gone,
        )


def _ending(state: RunState, counts: Counts) -> tuple[StopReason, str]:
    """Returns why a run has ended, and more of it in words."""
    reason = state.reason
    if reason is StopReason.LIMIT and not counts.queued and state.is_read:
        reason = None
    if reason is not None:
        return reason, state.detail
    # Of notes that are gone it was told when they were found to be.
    if counts.failed == min(counts.gone, state.gone_before):
        return StopReason.DONE, state.detail
    if state.spent.calls and not state.answered:
        text = f"not one answer in {state.spent.calls} calls; the last: {state.last_fault}"
        return StopReason.UPSTREAM, text
    return StopReason.FAILED, state.detail
