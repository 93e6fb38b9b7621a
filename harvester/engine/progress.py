"""What a run has done so far, in memory: for its own limits, for views, for the summary."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct, field

from harvester.model import BadLine, Counts, Job, Outcome, State
from harvester.rules.budget import Spent

_MOST_EXAMPLES = 10


class Progress(Struct):
    """Counts of one run.

    `closed` counts calls that met a connection which the server had ended while it was idle.
    `held` are the jobs with us, by sequence number, from their claim until they are recorded or
    given back; of those, `unsent` wait for their turn, `departing` of them are being recorded
    as about to be sent, and `flying` have calls in flight. `queued`,
    `done`, `rejected` and `exhausted` are of the whole ledger; `waiting` of the queued ones were
    requeued and come again. `settled` are those that this run made done or failed.
    """

    spent: Spent = field(default_factory=Spent)
    by_code: Counter[str] = field(default_factory=Counter)
    held: dict[int, Job] = field(default_factory=dict)
    flying: dict[int, Job] = field(default_factory=dict)
    unsent: dict[int, Job] = field(default_factory=dict)
    departing: int = 0
    queued: int = 0
    done: int = 0
    rejected: int = 0
    exhausted: int = 0
    waiting: int = 0
    settled: int = 0
    answered: int = 0
    closed: int = 0
    slow_downs: int = 0
    last_fault: str = ""
    bad_lines: int = 0
    bad_examples: list[BadLine] = field(default_factory=list)
    good_lines: int = 0
    is_read: bool = False

    @property
    def failed(self) -> int:
        """Jobs given up, in the whole ledger."""
        return self.rejected + self.exhausted

    @property
    def lines(self) -> int:
        """Lines of input read so far, good and bad."""
        return self.good_lines + self.bad_lines

    @property
    def busy(self) -> int:
        """Calls in flight, and those that are about to be."""
        return len(self.flying) + self.departing

    @property
    def total(self) -> int:
        """All jobs known so far."""
        return self.queued + self.done + self.failed

    def begin(self, counts: Counts) -> None:
        """Start from what the ledger holds."""
        self.queued, self.done = counts.queued, counts.done
        self.rejected, self.exhausted = counts.rejected, counts.exhausted

    def enrolled(self, added: int, refreshed: int) -> None:
        """New jobs, and done ones that are to be fetched again."""
        self.queued += added + refreshed
        self.done -= refreshed

    def read(self, good: int, bad: list[BadLine]) -> None:
        """A page of input; only the first bad lines are kept."""
        self.good_lines += good
        self.bad_lines += len(bad)
        self.bad_examples += bad[: _MOST_EXAMPLES - len(self.bad_examples)]

    def claimed(self, job: Job) -> None:
        """A job is claimed; one that was tried before no longer waits."""
        self.held[job.seq] = self.unsent[job.seq] = job
        self.waiting = max(0, self.waiting - bool(job.attempts))

    def sent(self, job: Job) -> None:
        """A call that was departing starts."""
        self.departing -= 1
        self.unsent.pop(job.seq, None)
        self.flying[job.seq] = job
        self.spent.calls += 1

    def given_back(self, job: Job) -> None:
        """A job goes back unsent, or its claim no longer holds."""
        self.unsent.pop(job.seq, None)
        self.held.pop(job.seq, None)

    def landed(self, outcome: Outcome) -> None:
        """A call's outcome is known; it is recorded in a moment."""
        self.flying.pop(outcome.job.seq, None)
        self.by_code["none" if outcome.code is None else str(outcome.code)] += 1
        self.spent.unanswered += outcome.unanswered
        self.spent.charged_today += outcome.unanswered
        if outcome.state is State.DONE:
            self.spent.notes += 1
            self.spent.charged += 1
            self.spent.charged_today += 1

    def recorded(self, outcome: Outcome) -> None:
        """An outcome is safe in the ledger; its job may be with us again, under another claim."""
        if self.held.get(outcome.job.seq) == outcome.job:
            del self.held[outcome.job.seq]
        if outcome.state is State.QUEUED:
            self.waiting += 1
            return
        self.queued -= 1
        self.settled += 1
        self.done += outcome.state is State.DONE
        self.rejected += outcome.state is State.REJECTED
        self.exhausted += outcome.state is State.EXHAUSTED
