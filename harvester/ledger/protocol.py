"""What every ledger backend promises: claims are leases, records hold only while a claim does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct, field

from harvester.halt import Look
from harvester.model import Counts, Job, Outcome, State
from harvester.money import Balances
from harvester.rules.turns import Allotted, Turns
from harvester.sanitize import sanitize

# Under this mark stand starts that any token may have made: they count for those with none known.
ANY_MARK = ""
# What `retry` puts back.
FAILED = (State.REJECTED, State.EXHAUSTED)


class Identity(Struct, frozen=True):
    """What one ledger and its OUTPUT hold: answers of one endpoint, simulated or real."""

    endpoint: str
    simulated: bool

    def __str__(self) -> str:
        return f"{'simulated' if self.simulated else 'real'} notes of {sanitize(self.endpoint)}"


class Checkpoint(Struct, frozen=True):
    """How much of OUTPUT the ledger vouches for: its length in bytes, and its last bytes."""

    length: int = 0
    tail: bytes = b""


class Enrolled(Struct, frozen=True):
    """What came of a page of note ids: `added` were new, `refreshed` are to be fetched again.

    `differed` were queued with other extra fields.
    """

    added: int = 0
    refreshed: int = 0
    differed: int = 0


class Claimed(Struct, frozen=True):
    """Jobs under a lease, and when to ask again: seconds until another is due, None if never.

    `limit` names a cap of the fleet that is used up, whatever is still in flight.
    """

    jobs: list[Job] = field(default_factory=list)
    next_due: float | None = None
    limit: str | None = None


class Sent(Struct, frozen=True):
    """Which `jobs` may be sent.

    Where turns were asked for, `allotted` holds one for each of them; for those `kept`, which stay
    claimed, there was none left.
    """

    jobs: list[Job] = field(default_factory=list)
    kept: list[Job] = field(default_factory=list)
    allotted: Allotted | None = None


class FoundLine(Struct, frozen=True):
    """A line found in OUTPUT: whose it is, when it was fetched (Unix seconds), where it ends.

    `is_empty` tells one with nothing in its data.
    """

    note_id: str
    attempts: int
    fetched_at: float
    end: int
    is_empty: bool = False


class RunRequest(Struct, frozen=True):
    """What a run was asked to keep to: calls a second (None: to be found), charged calls a day.

    `token_file` is the absolute path of the file that its token was read from, empty if of none.
    """

    rate: float | None = None
    daily_cap: int | None = None
    token_file: str = ""


class StartedRun(Struct, frozen=True):
    """What a beginning run met: its number, and the unanswered calls that a dead run left.

    `joined` says that other hosts' runs were on: then it goes along with what they began.
    """

    run: int
    found_unanswered: int
    joined: bool = False


class Ledger(Protocol):
    """The truth about every job, for one run at a time on one host; used from one thread at a time.

    "Now" is the ledger's own. Errors: LocalIOError when the disk fails, LedgerError when the ledger
    itself is unusable, UsageError where what is asked contradicts what it holds.
    """

    is_damaged: bool

    # Beginning and end

    def identity(self) -> Identity | None:
        """What this ledger holds, or None if it was never told."""

    def identify(self, identity: Identity) -> None:
        """Tell the ledger what it holds."""

    def checkpoint(self) -> Checkpoint:
        """How much of OUTPUT the ledger vouches for."""

    def synced(self) -> int:
        """How many bytes of OUTPUT were made durable, at least."""

    def boot(self) -> str:
        """The start of the system that the last run was under; empty if it is not known."""

    def mark_boot(self, boot: str) -> None:
        """Write down which start of the system this run is under."""

    def lose_lines(self, checkpoint: Checkpoint) -> int:
        """Know no more of the lines that a power cut took; gives how many done jobs have none now.

        `checkpoint` is what is left of OUTPUT. That their calls are counted is kept until
        `end_reading`, as some of them may be found elsewhere; by then, the others are queued again.
        """

    def knows(self, line: FoundLine) -> bool:
        """Whether a note is known to be fetched at the moment that a line tells.

        And to have that line where it ends, unless that is 0.
        """

    def begin_run(self, longest_delay: float, request: RunRequest = ...) -> StartedRun:
        """Begin a run: what dead runs had claimed is released, what they had sent is unanswered.

        No requeued job waits longer than `longest_delay` seconds, whatever the clock did meanwhile.
        """

    def is_rebuilding(self) -> bool:
        """Whether lines were forgotten, and not all read anew."""

    def as_one(self, look: Look) -> AbstractContextManager[None]:
        """All that is done within, or nothing of it, as far as the backend can.

        It looks while it works: see `Look`.
        """

    def forget_lines(self) -> None:
        """Know no line and vouch for nothing, before OUTPUT is read anew.

        How many calls of each job are counted as charged is kept until `end_reading`; by then,
        those without a line are queued again.
        """

    def end_reading(self) -> None:
        """Say that OUTPUT was read to its end: lines not found by now are gone."""

    def start_rate(self) -> float | None:
        """The pace to begin with, which the last run found; in calls a second."""

    def remember_start_rate(self, per_second: float) -> None:
        """Keep the pace to begin the next run with."""

    def balances(self) -> list[Balances]:
        """What the vendor told of the balance around the latest runs, those first."""

    def keep_balances(self, balances: Balances) -> None:
        """Keep what the vendor told of the balance around this run."""

    def finish_run(
        self, reason: str, exit_code: int, bad_lines: int = 0, bad_example: str | None = None
    ) -> None:
        """Write down why the run ended, and the lines of its input left out: how many, and one."""

    def close(self) -> None:
        """Let go of what holds the ledger."""

    # The run

    def enrol(
        self,
        ids: Sequence[str],
        refresh_before: float | None,
        extra_fields: Mapping[str, str] | None = None,
    ) -> Enrolled:
        """Add the note ids that are not known yet; queue again what is done and older.

        `refresh_before` is Unix seconds; None refreshes nothing. `extra_fields` are what travels
        along, by note id; queued jobs take over what was named last. Of a long input, ids may be
        found to be known only later: `end_input` gives how many that were.
        """

    def end_input(self) -> int:
        """Say that the input is enrolled; gives how many of the ids added were known after all."""

    def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        """Take up to `limit` due jobs for `lease` seconds, requeued ones before new ones.

        `held` are jobs the caller still works on: where their leases have lapsed but nobody took
        them, as after a process was stopped for a while, they are renewed instead of lost.
        """

    def renew(self, jobs: Sequence[Job], lease: float) -> None:
        """Hold claimed jobs for `lease` seconds from now, where the claim still holds."""

    def mark_sent(self, jobs: Sequence[Job], lease: float, turns: Turns | None = None) -> Sent:
        """Record that calls for these jobs are about to be sent, and renew their leases.

        Gives the jobs whose claim still holds; the others must not be sent. With `turns`, no more
        than there are moments for.
        """

    def record(
        self, outcomes: Sequence[Outcome], ends: Sequence[int], checkpoint: Checkpoint
    ) -> list[Outcome]:
        """Commit outcomes whose claim still holds, in one transaction; gives back the others.

        `ends` are where the lines of the saves among them end in OUTPUT, in the same order.
        """

    def release(self, jobs: Sequence[Job]) -> None:
        """Give claimed jobs back unsent, due at once."""

    def abandon(self, jobs: Sequence[Job], how: str) -> None:
        """Give sent jobs back whose answers will not be awaited: each is an unanswered call."""

    def refresh(self, before: float) -> int:
        """Queue again all that is done and was fetched before a moment in Unix seconds."""

    def retry(
        self, states: Sequence[State], codes: Sequence[int] = (), ids: Sequence[str] = ()
    ) -> int:
        """Put failed jobs back in the queue; empty `codes` or `ids` mean any. Gives how many.

        Done ones are those with nothing in their data, which have code 0.
        """

    def requeue(self, seqs: Sequence[int]) -> None:
        """Put failed jobs back in the queue, due at once."""

    def adopt(self, lines: Sequence[FoundLine], checkpoint: Checkpoint) -> int:
        """Take whole lines of OUTPUT as done jobs; gives how many were not known as done by a line.

        Those whose calls are not counted as charged yet are counted now.
        """

    def counts(self) -> Counts:
        """Count the jobs by state."""

    def charged_since(self, since: float) -> int:
        """Calls charged, or unanswered, since a moment in Unix seconds.

        Of those that a wrong clock put more than a day ahead, none.
        """

    def starts(self) -> dict[str, list[float]]:
        """When the latest calls of earlier runs started, in Unix seconds, by their token's mark.

        What a run that died could not keep counts as started when this one began, whatever the
        token; for tokens without a mark here see `ANY_MARK`.
        """

    def remember_starts(self, calls: int, starts: Mapping[str, Sequence[float]]) -> None:
        """Keep for the next run when the latest calls started, in Unix seconds, by mark.

        `calls` is how many this run has made so far.
        """

    def note_wait(self, until: float | None) -> None:
        """Write down until when the run waits for the next day, in Unix seconds; None: no more."""

    def settle(self, synced: int) -> None:
        """Make what was committed durable; `synced` bytes of OUTPUT are durable already."""
