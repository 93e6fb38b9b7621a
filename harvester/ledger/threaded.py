"""A ledger on a thread of its own, so that no commit and no fsync blocks the event loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from harvester.ledger.protocol import Claimed, DirectLedger, Enrolled, Extent, FoundLine
from harvester.model import Counts, Job, Outcome
from harvester.threads import done_on

T = TypeVar("T")


class ThreadedLedger:
    """The `Ledger` protocol over a direct one; `thread` runs one call at a time, in order."""

    def __init__(self, ledger: DirectLedger, thread: Executor) -> None:
        self._ledger = ledger
        self._thread = thread

    async def _do(self, call: Callable[..., T], *args: object) -> T:
        return await done_on(self._thread, call, *args)

    async def enrol(
        self,
        ids: Sequence[str],
        refresh_before: float | None,
        carried: Mapping[str, str] | None = None,
    ) -> Enrolled:
        """See `Ledger.enrol`."""
        return await self._do(self._ledger.enrol, ids, refresh_before, carried)

    async def end_input(self) -> int:
        """See `Ledger.end_input`."""
        return await self._do(self._ledger.end_input)

    async def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        """See `Ledger.claim`."""
        return await self._do(self._ledger.claim, limit, lease, held)

    async def renew(self, jobs: Sequence[Job], lease: float) -> None:
        """See `Ledger.renew`."""
        await self._do(self._ledger.renew, jobs, lease)

    async def depart(self, jobs: Sequence[Job], lease: float) -> list[Job]:
        """See `Ledger.depart`."""
        return await self._do(self._ledger.depart, jobs, lease)

    async def record(
        self, outcomes: Sequence[Outcome], ends: Sequence[int], extent: Extent
    ) -> list[Outcome]:
        """See `Ledger.record`."""
        return await self._do(self._ledger.record, outcomes, ends, extent)

    async def release(self, jobs: Sequence[Job]) -> None:
        """See `Ledger.release`."""
        await self._do(self._ledger.release, jobs)

    async def abandon(self, jobs: Sequence[Job], how: str) -> None:
        """See `Ledger.abandon`."""
        await self._do(self._ledger.abandon, jobs, how)

    async def requeue(self, seqs: Sequence[int]) -> None:
        """See `Ledger.requeue`."""
        await self._do(self._ledger.requeue, seqs)

    async def adopt(self, lines: Sequence[FoundLine], extent: Extent) -> int:
        """See `Ledger.adopt`."""
        return await self._do(self._ledger.adopt, lines, extent)

    async def counts(self) -> Counts:
        """See `Ledger.counts`."""
        return await self._do(self._ledger.counts)

    async def charged_since(self, since: float) -> int:
        """See `Ledger.charged_since`."""
        return await self._do(self._ledger.charged_since, since)

    async def starts(self) -> dict[str, list[float]]:
        """See `Ledger.starts`."""
        return await self._do(self._ledger.starts)

    async def remember_starts(self, calls: int, starts: Mapping[str, Sequence[float]]) -> None:
        """See `Ledger.remember_starts`."""
        await self._do(self._ledger.remember_starts, calls, starts)

    async def settle(self, synced: int) -> None:
        """See `Ledger.settle`."""
        await self._do(self._ledger.settle, synced)
