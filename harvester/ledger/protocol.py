"""What every ledger backend promises: claims are leases, records hold only while a claim does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harvester.model import Counts, Job, Outcome


@dataclass(frozen=True, slots=True)
class Identity:
    """What one ledger and its OUTPUT hold: answers of one endpoint, simulated or real."""

    endpoint: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of OUTPUT the ledger vouches for: its length in bytes, and its last bytes."""

    length: int = 0
    tail: bytes = b""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of a page of note ids: `added` were new, `refreshed` are to be fetched again."""

    added: int = 0
    refreshed: int = 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """Jobs under a lease, and when to ask again: seconds until another is due, None if never."""

    jobs: list[Job] = field(default_factory=list)
    next_due: float | None = None


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line found in OUTPUT: whose it is, when it was fetched (Unix seconds), where it ends."""

    note_id: str
    attempts: int
    fetched_at: float
    end: int


@dataclass(frozen=True, slots=True)
class Opening:
    """What a beginning run met: its number, and the unanswered calls that a dead run left."""

    run: int
    found_unanswered: int


class Ledger(Protocol):
    """The truth about every job, for one run at a time on one host.

    "Now" is the ledger's own. Errors: LocalIOError when the disk fails, LedgerError when the
    ledger itself is unusable.
    """

    async def enrol(self, ids: Sequence[str], refresh_before: float | None) -> Enrolled:
        """Add the note ids that are not known yet; queue again what is done and older.

        `refresh_before` is Unix seconds; None refreshes nothing. Of a long input, ids may be found
        to be known only later: `end_input` gives how many that were.
        """

    async def end_input(self) -> int:
        """Say that the input is enrolled; gives how many of the ids added were known after all."""

    async def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        """Take up to `limit` due jobs for `lease` seconds, requeued ones before new ones.

        `held` are jobs the caller still works on: where their leases have lapsed but nobody took
        them, as after a process was stopped for a while, they are renewed instead of lost.
        """

    async def renew(self, jobs: Sequence[Job], lease: float) -> None:
        """Hold claimed jobs for `lease` seconds from now, where the claim still holds."""

    async def depart(self, jobs: Sequence[Job], lease: float) -> list[Job]:
        """Record that calls for these jobs are about to be sent, and renew their leases.

        Gives the jobs whose claim still holds; the others must not be sent.
        """

    async def record(
        self, outcomes: Sequence[Outcome], ends: Sequence[int], extent: Extent
    ) -> list[Outcome]:
        """Commit outcomes whose claim still holds, in one transaction; gives back the others.

        `ends` are where the lines of the saves among them end in OUTPUT, in the same order.
        """

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give claimed jobs back unsent, due at once."""

    async def abandon(self, jobs: Sequence[Job], how: str) -> None:
        """Give sent jobs back whose answers will not be awaited: each is an unanswered call."""

    async def requeue(self, seqs: Sequence[int]) -> None:
        """Put failed jobs back in the queue, due at once."""

    async def adopt(self, lines: Sequence[FoundLine], extent: Extent, *, paid_now: bool) -> int:
        """Take whole lines of OUTPUT as done jobs; gives how many were not known as done.

        `paid_now` counts them as charged; a rebuild whose charges are known already does not.
        """

    async def counts(self) -> Counts:
        """Count the jobs by state."""

    async def charged_since(self, since: float) -> int:
        """Calls charged, or unanswered, since a moment in Unix seconds."""

    async def settle(self, synced: int) -> None:
        """Make what was committed durable; `synced` bytes of OUTPUT are durable already."""
