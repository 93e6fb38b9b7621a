"""Sends claimed jobs with one token as the turns of its throttle come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from harvester.descriptors import few_descriptors
from harvester.engine.answers import AnswerHandler
from harvester.engine.clients import TokenClient
from harvester.engine.feeder import Feeder
from harvester.engine.ports import Notice, Ports
from harvester.engine.state import RunState
from harvester.errors import HarvesterError
from harvester.model import Answer, Fault, Job, StopReason
from harvester.rules.backoff import backoff_delay
from harvester.rules.breaker import MOST_PROBES
from harvester.rules.budget import DAILY, calls_allowed, is_reached
from harvester.threads import died

LARGEST_BATCH = 64
# With all workers busy, those free within so many seconds go out again together: recording
# one call as sent costs as much as recording twenty.
_TOGETHER = 0.001
# A descriptor of our own is waited for so many seconds before its note is sent again.
_TILL_ONE_IS_FREE = 0.2


class Dispatcher:
    """The calls of one client: one task takes the turns and records what is sent; workers call."""

    def __init__(
        self,
        client: TokenClient,
        ports: Ports,
        state: RunState,
        feeder: Feeder,
        answers: AnswerHandler,
    ) -> None:
        self._client = client
        self._throttle = client.throttle
        self._ports = ports
        self._state = state
        self._feeder = feeder
        self._answers = answers
        self._limits = ports.config.limits
        self._most_workers = ports.config.most_workers
        self._loop = asyncio.get_running_loop()
        self._idle: list[asyncio.Future[Job | None]] = []
        self._is_over = False
        self._gate = asyncio.Lock()

    async def send(self, group: asyncio.TaskGroup) -> None:
        """Send claimed jobs until cancelled; workers belong to the group."""
        try:
            while True:
                await self._permission()
                await self._throttle.turn()
                # Not sooner: a note in hand is one that no other client can send.
                batch = await self._gather(await self._feeder.take())
                await self._dispatch(batch, group)
        except Exception as error:  # noqa: BLE001 - what is in flight is to be saved
            self._fail(error)

    def dismiss(self) -> None:
        """Let the workers go once their calls are complete."""
        self._is_over = True
        for worker in self._idle:
            worker.set_result(None)

    def _fail(self, error: Exception) -> None:
        """Stop; what was sent and is not answered is given back as unanswered in the end."""
        told = error if isinstance(error, HarvesterError) else died(error)
        self._state.stop(StopReason.LOCAL_IO, str(told))
        self._state.room.set()

    # Whether to call

    @property
    def _most(self) -> int:
        """How many calls may be in flight at once."""
        return min(self._most_workers, self._client.most)

    async def _permission(self) -> None:
        """Wait until the run may start a call."""
        state = self._state
        while True:
            state.room.clear()
            self._heed_limits()
            if self._client.disabled is None:
                if state.health.breaker.is_tripped and not state.busy:
                    await self._before_probe()
                if self._room() > 0:
                    return
                self._tell_full()
            else:
                await self._feeder.leave_while_disabled()
            await state.room.wait()
            if self._most - self._client.in_flight < self._most // 4:
                await asyncio.sleep(_TOGETHER)

    def _heed_limits(self) -> None:
        limit = is_reached(self._limits, self._state.spent)
        if limit == DAILY:
            self._state.use_up_day(StopReason.LIMIT, f"{limit} is reached")
        elif limit is not None:
            self._state.stop(StopReason.LIMIT, f"{limit} is reached")

    def _room(self) -> int:
        """How many calls may start at this moment."""
        state, busy = self._state, self._state.busy
        room = min(self._most - self._client.in_flight, self._answers.room - busy)
        room = min(room, self._client.room)
        allowed = calls_allowed(self._limits, state.spent, busy, state.reserved)
        if allowed is not None:
            room = min(room, allowed)
        return min(room, 1 - busy) if state.health.is_single else room

    def _tell_full(self) -> None:
        """Say once where it is the disk that allows no more calls; stop where it allows none."""
        calls = self._ports.sink.calls
        if not calls:
            if not self._state.busy:
                text = "the disk has no room to be sure of for one more answer: make room"
                self._state.stop(StopReason.LOCAL_IO, text)
        elif calls < self._most and self._state.busy >= calls:
            text = f"the disk has little room left: {calls} answers could be kept beside OUTPUT, "
            text += "should it take none, so no more calls are in flight at once: make room"
            self._state.emit_once("disk", text)

    async def _before_probe(self) -> None:
        """With the upstream failing, one call at a time after a growing pause."""
        nth = self._state.health.breaker.failed_probes + 1
        delay = backoff_delay(nth, self._ports.config.retry_limits, self._ports.jitter)
        await self._feeder.leave_to_others()
        if nth <= MOST_PROBES:  # else the run is about to end
            self._state.emit(Notice("probe", f"call {nth} of {MOST_PROBES} in {delay:.1f} s"))
        await asyncio.sleep(delay)

    # Sending

    async def _gather(self, first: Job) -> list[Job]:
        """All jobs whose turns have come, so that one commit serves them all.

        None where another client has taken what was allowed in the meantime.
        """
        room = min(self._room(), LARGEST_BATCH)
        if room <= 0 or self._client.disabled is not None or self._throttle.is_paused:
            self._feeder.put_back(first)
            return []
        # Nothing is waited for in between, so the room stays what it is.
        more = await self._throttle.turns(min(room - 1, self._feeder.ready))
        batch = [first, *(self._feeder.take_now() for _ in range(more))]
        self._reserve(len(batch))
        return batch

    def _reserve(self, calls: int) -> None:
        """Count calls that are about to be sent, so that no other client takes their room."""
        self._state.reserve(calls)
        self._client.reserve(calls)

    async def _dispatch(self, batch: list[Job], group: asyncio.TaskGroup) -> None:
        """Record the calls before they are sent, then let workers send them."""
        if not batch:
            return
        held: list[Job] = []
        try:
            held = await self._feeder.mark_sent(batch, self._throttle)
        finally:
            self._reserve(len(held) - len(batch))
        for job in held:
            self._state.health.mark_sent(job)
            if self._idle:
                self._idle.pop().set_result(job)
            else:
                group.create_task(self._work(job))

    async def _work(self, first: Job) -> None:
        job: Job | None = first
        while job is not None:
            try:
                await self._call(job)
            except Exception as error:  # noqa: BLE001 - what others have in hand is to be saved
                self._fail(error)
            job = None if self._is_over else await self._next()

    def _next(self) -> asyncio.Future[Job | None]:
        """What a worker that is idle is given next."""
        given: asyncio.Future[Job | None] = self._loop.create_future()
        self._idle.append(given)
        return given

    async def _call(self, job: Job) -> None:
        answer = await self._client.fetcher.fetch(job.note_id, partial(self._start, job))
        if answer is None or answer.fault is Fault.NO_DESCRIPTOR:
            await self._take_back(job, answer)
            return
        if job.seq not in self._state.in_flight:  # there was no connection to start it on
            self._state.mark_sent(job)
        await self._answers.take(self._client, job, answer)

    async def _start(self, job: Job, is_fit: Callable[[], bool]) -> bool | None:
        """Wait until the window allows the call; returns whether it may still be sent then.

        None where its connection is not fit any more: a turn is for a call that goes out at once.
        Where its turn went by meanwhile, it waits for another.
        """
        state, throttle = self._state, self._throttle
        async with self._gate:
            while not (state.is_stopping or self._client.disabled or throttle.is_paused):
                if self._client.is_doubted and self._client.room < 0:
                    break
                if not is_fit():
                    return None
                delay = throttle.start()
                if delay is None:
                    break
                if not delay:
                    state.mark_sent(job)
                    return True
                await state.sleep(delay)
        return False

    async def _take_back(self, job: Job, answer: Answer | None) -> None:
        """Put a job back that was not sent."""
        if answer is not None:
            self._client.shrink()
            self._state.emit_once("few descriptors", few_descriptors(self._most))
            await self._state.sleep(_TILL_ONE_IS_FREE)
        self._reserve(-1)
        await self._feeder.give_back([job])
        self._state.room.set()
