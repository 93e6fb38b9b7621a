"""Enrols what is read, claims what is due into a small queue, and holds the claims on it."""

from __future__ import annotations

import asyncio
from collections import deque

from harvester.engine.clients import TokenPool
from harvester.engine.ports import INPUT, LineLeftOut, Notice, Ports
from harvester.engine.recorder import Recorder
from harvester.engine.state import RunState, wait_at_most
from harvester.errors import HarvesterError, InputError
from harvester.formatting import duration
from harvester.model import Job, Page, StopReason
from harvester.pace import Throttle
from harvester.rules.budget import DAILY

_LEAST_AHEAD, _MOST_AHEAD = 4, 1000
# In seconds.
_WHILE_ALL_REST, _WORTH_A_WORD = 1.0, 10.0


class Feeder:
    """Keeps the queue of claimed jobs filled until nothing is left to do.

    With the recorder it is the only one to touch the ledger while a run is on.
    """

    def __init__(self, ports: Ports, state: RunState, recorder: Recorder, pool: TokenPool) -> None:
        self._config = ports.config
        self._ledger = ports.ledger
        self._thread = ports.thread
        self._pages = ports.pages
        self._clock = ports.clock
        self._coordinator = ports.coordinator
        self._state = state
        self._recorder = recorder
        self._pool = pool
        self._lease = ports.config.timeout + ports.coordinator.lease_margin
        self._claimed: deque[Job] = deque()
        self._has_claimed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._ahead = _LEAST_AHEAD
        self._deadline = float("inf")
        self._renew_at = 0.0
        self.is_enrolling = False

    # For the dispatchers

    async def take(self) -> Job:
        """Take the next claimed job, as soon as there is one."""
        while not self._claimed:
            self._has_claimed.clear()
            await self._has_claimed.wait()
        return self.take_now()

    def take_now(self) -> Job:
        """Take the next claimed job, of those that are there."""
        job = self._claimed.popleft()
        if len(self._claimed) <= self._ahead // 2:
            self._wanted.set()
        return job

    def put_back(self, job: Job) -> None:
        """Have a claimed job wait for whoever takes it next, such as one that was not sent."""
        self._claimed.append(job)
        self._has_claimed.set()

    @property
    def ready(self) -> int:
        """How many jobs can be taken now."""
        return len(self._claimed)

    async def mark_sent(self, jobs: list[Job], throttle: Throttle) -> list[Job]:
        """Record that calls are about to be sent; returns those whose claims still hold.

        What there is no turn for yet goes back to the others that wait for one.
        """
        turns = throttle.asking()
        sent = await self._thread.run(self._ledger.mark_sent, jobs, self._lease, turns)
        if sent.allotted is not None:
            throttle.allot(sent.allotted)
        self._recorder.touch()
        for job in sent.kept:
            self.put_back(job)
        left = {job.seq for job in (*sent.jobs, *sent.kept)}
        for job in jobs:
            if job.seq not in left:
                self._state.given_back(job)
        return sent.jobs

    async def give_back(self, jobs: list[Job]) -> None:
        """Give jobs back that were not sent."""
        await self._thread.run(self._ledger.release, jobs)
        for job in jobs:
            self._state.given_back(job)

    async def leave_to_others(self) -> None:
        """Give back what is claimed and cannot be sent from here for now."""
        waiting = list(self._claimed)
        self._claimed.clear()
        if waiting:
            await self.give_back(waiting)
            self._wanted.set()

    async def leave_while_disabled(self) -> None:
        """Keep nothing while all tokens are disabled for the day: others may have a good one."""
        if not self._pool.per_second:
            await self.leave_to_others()

    async def give_all_back(self) -> None:
        """Leave no claim behind: unsent jobs are released, calls cut short are unanswered."""
        state = self._state
        try:
            await self.give_back(list(state.unsent.values()))
            if state.in_flight:
                cut = list(state.in_flight.values())
                await self._thread.run(self._ledger.abandon, cut, "stopped at once")
                state.abandoned(len(cut))
            if state.health.first_answers.complaint:
                await self._thread.run(self._ledger.requeue, state.health.refused)
        except HarvesterError as error:
            state.stop(StopReason.LOCAL_IO, str(error))

    # Reading

    async def read(self) -> None:
        """Enrol the whole input, page by page; after a stop, no more of what may never end."""
        refresh = self._config.refresh
        before = None if refresh is None else self._clock() - refresh
        try:
            async for page in self._pages:
                self.is_enrolling = True
                await self._enrol(page, before)
                self.is_enrolling = False
                if page.is_live and self._state.is_stopping:
                    return
            self.is_enrolling = True
            self._state.enrolled(-await self._thread.run(self._ledger.end_input))
        except InputError as error:
            self._state.stop(StopReason.INPUT, str(error))
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))
        else:
            self._state.read_all()
        self._state.claimable.set()

    async def _enrol(self, page: Page, refresh_before: float | None) -> None:
        self._state.read(page)
        for bad in page.bad:
            self._state.emit(LineLeftOut(bad))
        for text in page.told:
            self._state.emit(Notice("reading", text))
        for text in page.warned:
            self._state.emit(Notice(INPUT, text))
        if page.ids:
            enrol = self._ledger.enrol
            enrolled = await self._thread.run(enrol, page.ids, refresh_before, page.extra_fields)
            self._recorder.touch()
            self._state.enrolled(enrolled.added, enrolled.refreshed, enrolled.differed)

    # Claiming

    async def feed(self) -> None:
        """Claim due jobs until all are done or failed."""
        max_runtime = self._config.max_runtime
        if max_runtime is not None:
            self._deadline = asyncio.get_running_loop().time() + max_runtime
        try:
            while not self._is_finished(next_due := await self._claim()):
                self._tell_idle(next_due)
                await self._wait(next_due)
                await self._renew()
        except HarvesterError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))

    async def _renew(self) -> None:
        """Keep the leases of all jobs that are with us, whatever is done with them just now."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self._renew_at = now + self._lease / 6
            held = list(self._state.held.values())
            await self._thread.run(self._ledger.renew, held, self._lease)

    async def _claim(self) -> float | None:
        """Fill the queue; returns when the next job is due, in seconds, None if none ever will."""
        self._state.claimable.clear()
        self._wanted.clear()
        if not self._pool.per_second:
            await self.leave_while_disabled()
            counts = await self._thread.run(self._ledger.counts)
            return _WHILE_ALL_REST if counts.queued else None
        ahead = int(self._pool.per_second * self._coordinator.ahead_seconds)
        self._ahead = max(_LEAST_AHEAD, min(_MOST_AHEAD, ahead))
        if self._state.health.breaker.is_tripped:
            self._ahead = 1
        room = max(1, self._ahead - len(self._claimed))
        held = list(self._state.held.values())
        claimed = await self._thread.run(self._ledger.claim, room, self._lease, held)
        for job in claimed.jobs:
            self._state.claimed(job)
            self.put_back(job)
        if claimed.limit is not None:
            end = self._state.use_up_day if claimed.limit == DAILY else self._state.stop
            end(StopReason.LIMIT, f"{claimed.limit} is reached by the fleet")
        return claimed.next_due

    def _is_finished(self, next_due: float | None) -> bool:
        """Whether nothing is left to claim, in flight or unrecorded; or nothing due in time."""
        state = self._state
        if state.unsent or state.in_flight or self._recorder.pending or not state.is_read:
            return False
        if next_due is None:
            return True
        if asyncio.get_running_loop().time() + next_due > self._deadline:
            state.stop(StopReason.LIMIT, "nothing is due before --max-runtime is reached")
            return True
        return False

    def _tell_idle(self, next_due: float | None) -> None:
        """Say where nothing can be sent for a while, as all that is left waits for its moment."""
        idle = 0.0 if next_due is None or self._state.held else next_due
        self._state.idle_until(self._clock() + idle if idle > _WHILE_ALL_REST else None)
        if idle >= _WORTH_A_WORD:
            text = f"nothing to send for {duration(idle)}: what is left waits to be tried again"
            self._state.emit_once("backoff", text)

    async def _wait(self, next_due: float | None) -> None:
        """Wait for room or for jobs, but never so long that a lease could lapse."""
        is_full = len(self._claimed) > self._ahead // 2
        event = self._wanted if is_full else self._state.claimable
        longest = self._lease / 3
        seconds = longest if is_full or next_due is None else min(next_due, longest)
        if seconds:
            await wait_at_most(event, seconds)
