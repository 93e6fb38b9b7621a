"""Enrols what is read, and claims what is due into a small queue."""

from __future__ import annotations

import asyncio

from harvester.config import RunConfig
from harvester.engine.lane import Lanes
from harvester.engine.ports import NO_NOTE, LineLeftOut, Notice, Ports
from harvester.engine.progress import Progress
from harvester.engine.recorder import Recorder
from harvester.engine.stop import Stop
from harvester.errors import HarvesterError, InputError
from harvester.model import Job, Page, StopReason

# Claimed ahead: what can be sent in so many seconds, within these bounds; in a fleet less, since
# what one host holds, no other can send.
_AHEAD_SECONDS, _SHARED_AHEAD_SECONDS = 10.0, 1.0
_LEAST_AHEAD, _MOST_AHEAD = 4, 1000


class Feeder:
    """Keeps the queue of claimed jobs filled until nothing is left to do."""

    def __init__(
        self,
        ports: Ports,
        progress: Progress,
        recorder: Recorder,
        stop: Stop,
        lanes: Lanes,
        config: RunConfig,
        lease: float,
        *,
        is_shared: bool = False,
    ) -> None:
        self._ports = ports
        self._progress = progress
        self._recorder = recorder
        self._stop = stop
        self._lanes = lanes
        self._config = config
        self._lease = lease
        self._claimed: asyncio.Queue[Job] = asyncio.Queue()
        self._wanted = asyncio.Event()
        self._ahead_seconds = _SHARED_AHEAD_SECONDS if is_shared else _AHEAD_SECONDS
        self._ahead = _LEAST_AHEAD
        self._deadline = float("inf")
        self._renew_at = 0.0
        self.is_enrolling = False

    async def take(self) -> Job:
        """Take the next claimed job, as soon as there is one."""
        job = await self._claimed.get()
        if self._claimed.qsize() <= self._ahead // 2:
            self._wanted.set()
        return job

    def put_back(self, job: Job) -> None:
        """Give a job back that was taken and is not sent."""
        self._claimed.put_nowait(job)

    @property
    def has_more(self) -> bool:
        """Whether another job can be taken at once."""
        return not self._claimed.empty()

    async def read(self) -> None:
        """Enrol the whole input, page by page; after a stop, no more of what may never end."""
        refresh = self._config.refresh
        before = None if refresh is None else self._ports.clock() - refresh
        try:
            async for page in self._ports.pages:
                self.is_enrolling = True
                await self._enrol(page, before)
                self.is_enrolling = False
                if page.is_live and self._stop.is_set:
                    return
            self.is_enrolling = True
            self._progress.enrolled(-await self._ports.thread.run(self._ports.ledger.end_input), 0)
        except InputError as error:
            self._stop.set(StopReason.INPUT, str(error))
        except HarvesterError as error:
            self._stop.set(StopReason.LOCAL_IO, str(error))
        else:
            self._check_read()
        self._recorder.recorded.set()

    async def _enrol(self, page: Page, refresh_before: float | None) -> None:
        self._progress.read(len(page.ids), page.bad)
        for bad in page.bad:
            self._lanes.tell(LineLeftOut(bad))
        if page.without:
            self._lanes.tell(Notice(NO_NOTE, f"{page.without} names no note"))
        if page.ids:
            enrolled = await self._ports.thread.run(
                self._ports.ledger.enrol, page.ids, refresh_before, page.carried
            )
            self._recorder.touch()
            self._progress.enrolled(enrolled.added, enrolled.refreshed)
            self._recorder.recorded.set()

    def _check_read(self) -> None:
        self._progress.is_read = True
        if self._progress.bad_lines and not self._progress.good_lines:
            first = self._progress.bad_examples[0]
            self._stop.set(StopReason.INPUT, f"INPUT names no note at all; the first line: {first}")

    async def feed(self) -> None:
        """Claim due jobs until all are done or failed."""
        max_runtime = self._config.max_runtime
        if max_runtime is not None:
            self._deadline = asyncio.get_running_loop().time() + max_runtime
        try:
            while not self._is_finished(next_due := await self._claim()):
                await self._wait(next_due)
                await self._renew()
        except HarvesterError as error:
            self._stop.set(StopReason.LOCAL_IO, str(error))

    async def _renew(self) -> None:
        """Keep the leases of all jobs that are with us, whatever is done with them just now."""
        now = asyncio.get_running_loop().time()
        if now < self._renew_at:
            return
        self._renew_at = now + self._lease / 6
        await self._ports.thread.run(
            self._ports.ledger.renew, list(self._progress.held.values()), self._lease
        )

    async def _claim(self) -> float | None:
        """Fill the queue; gives when the next job is due, in seconds, None if none will ever be."""
        self._recorder.recorded.clear()
        self._wanted.clear()
        ahead = int(self._lanes.per_second * self._ahead_seconds)
        self._ahead = max(_LEAST_AHEAD, min(_MOST_AHEAD, ahead))
        room = max(1, self._ahead - self._claimed.qsize())
        held = list(self._progress.held.values())
        claimed = await self._ports.thread.run(self._ports.ledger.claim, room, self._lease, held)
        for job in claimed.jobs:
            self._progress.claimed(job)
            self._claimed.put_nowait(job)
        if claimed.limit is not None:
            self._stop.set(StopReason.LIMIT, f"{claimed.limit} is reached by the fleet")
        return claimed.next_due

    def _is_finished(self, next_due: float | None) -> bool:
        """Whether nothing is left to claim, in flight or unrecorded; or nothing due in time."""
        progress = self._progress
        if progress.unsent or progress.flying or self._recorder.pending or not progress.is_read:
            return False
        if next_due is None:
            return True
        if asyncio.get_running_loop().time() + next_due > self._deadline:
            self._stop.set(StopReason.LIMIT, "nothing is due before --max-runtime is reached")
            return True
        return False

    async def _wait(self, next_due: float | None) -> None:
        """Wait for room or for jobs, but never so long that a lease could lapse."""
        is_full = self._claimed.qsize() > self._ahead // 2
        event = self._wanted if is_full else self._recorder.recorded
        longest = self._lease / 3
        seconds = longest if is_full or next_due is None else min(next_due, longest)
        if seconds:
            # Not wait_for: in Python 3.11 it can swallow the cancellation that ends this task.
            try:
                async with asyncio.timeout(seconds):
                    await event.wait()
            except TimeoutError:
                return
