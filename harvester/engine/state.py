"""What a run has done so far, whether and why it is stopping, and who is told of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from harvester.engine.ports import Event, Notice, Observer
from harvester.model import BadLine, Counts, Job, Judgement, Outcome, Page, State, StopReason
from harvester.rules.budget import Spent
from harvester.rules.codes import CHARGED
from harvester.rules.health import RunHealth

_MOST_EXAMPLES = 10
_SIGNALS = (StopReason.SIGINT, StopReason.SIGTERM)
_GONE = "404"
# Somebody waits for the end of these: not even the input is read to its end.
_PROMPT = frozenset(
    {
        StopReason.SIGINT,
        StopReason.SIGTERM,
        StopReason.CANCELLED,
        StopReason.LOCAL_IO,
        StopReason.INPUT,
    }
)


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than so many seconds."""
    # Not wait_for: in Python 3.11 it can swallow the cancellation of whoever waits.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class RunState:
    """The one owned state of a run: everybody may read it, and its methods alone change it.

    `held` are the jobs with us, by sequence number, from their claim until they are recorded or
    given back; of those, `unsent` wait for their turn, `reserved` of them are being recorded as
    about to be sent, and `in_flight` are being called for. The first reason to stop is the reason,
    unless the disk fails later.
    `room` is set whenever a call may have become possible, `claimable` whenever there may be
    something to claim, or nothing any more. `resumes_at` is when the next day begins, in Unix
    seconds, while that is waited for, as a run does that `can_wait`; `next_due` is when the first
    of those notes is tried again that all wait for that, None while anything can be sent.
    """

    def __init__(
        self,
        observers: Sequence[Observer] = (),
        health: RunHealth | None = None,
        *,
        can_wait: bool = False,
    ) -> None:
        self._observers = list(observers)
        self._told: set[str] = set()
        self.health = health or RunHealth()
        self.failure: Exception | None = None
        self.spent = Spent()
        self.by_code: Counter[str] = Counter()
        self.held: dict[int, Job] = {}
        self.in_flight: dict[int, Job] = {}
        self._sent_at: dict[int, float] = {}
        self.unsent: dict[int, Job] = {}
        self.reserved = self.settled = self.waiting = 0
        self.queued = self.done = self.rejected = self.exhausted = 0
        self.gone_before = 0
        self.answered = self.closed = self.empty = 0
        self.last_fault = ""
        self.good_lines = self.bad_lines = self.differed = 0
        self.bad_examples: list[BadLine] = []
        self.is_read = self.is_aborted = False
        self.can_wait = can_wait
        self.resumes_at: float | None = None
        self.next_due: float | None = None
        self._used_up: tuple[StopReason, str] | None = None
        self.reason: StopReason | None = None
        self.detail = ""
        self.room, self.claimable = asyncio.Event(), asyncio.Event()
        self._stopping, self._hurried = asyncio.Event(), asyncio.Event()
        self._day_ended = asyncio.Event()

    # Events

    @property
    def is_observed(self) -> bool:
        """Whether anybody listens."""
        return bool(self._observers)

    def emit(self, event: Event) -> None:
        """Tell every observer; one that raises is heard no more, and the run is stopped.

        It must not break the line: answers that are paid for are still in it.
        """
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - raised again when the run has drained
                self._observers.remove(observer)
                self.failure = self.failure or error
                self.stop(StopReason.CANCELLED, "an observer of the run failed")

    def emit_once(self, kind: str, text: str) -> None:
        """Tell what is worth a notice the first time."""
        if kind not in self._told:
            self._told.add(kind)
            self.emit(Notice(kind, text))

    def counts(self) -> Counts:
        """Returns the notes of the whole ledger as they are now."""
        return Counts(
            queued=self.queued,
            waiting=self.waiting,
            claimed=len(self.held),
            done=self.done,
            rejected=self.rejected,
            exhausted=self.exhausted,
            gone=self.gone_before + self.by_code[_GONE],
        )

    # Stopping

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new may be sent."""
        return self.reason is not None

    def stop(self, reason: StopReason, detail: str = "", *, at_once: bool = False) -> None:
        """Stop the run, for the first reason that is given; `at_once` input is not read on.

        What could not be kept tells more than why nothing more was to come.
        """
        if self.resumes_at is not None and reason in _SIGNALS:
            reason, detail = StopReason.QUOTA, f"{reason.value} while waiting for the next day"
        is_worse = reason is StopReason.LOCAL_IO and self.reason is not reason
        if self.reason is None or is_worse:
            self.reason, self.detail = reason, detail
        if at_once or reason in _PROMPT:
            self._hurried.set()
        self._stopping.set()

    @property
    def is_hurried(self) -> bool:
        """Whether somebody waits for the end."""
        return self._hurried.is_set()

    def abort(self) -> None:
        """Say that not even what is in flight is awaited."""
        self.is_aborted = True

    def explain(self, text: str) -> None:
        """Add a sentence to why the run is stopping."""
        self.detail = f"{self.detail} {text}".strip()

    def use_up_day(self, reason: StopReason, detail: str) -> None:
        """Say that no more may be called for on this day: the run waits for the next, or stops."""
        if not self.can_wait:
            self.stop(reason, detail)
        elif self._used_up is None:
            self._used_up = reason, detail
            self._day_ended.set()

    async def day_used_up(self) -> tuple[StopReason, str]:
        """Wait until the day is used up; returns why."""
        while self._used_up is None:
            await self._day_ended.wait()
        return self._used_up

    def wait_until(self, moment: float) -> None:
        """Say that the run waits for the next day, until a moment in Unix seconds."""
        self.resumes_at = moment

    def go_on(self) -> None:
        """Begin a new day."""
        self.resumes_at = self._used_up = None
        self._day_ended.clear()
        self.begin_day()
        self.room.set()

    async def stopped(self) -> None:
        """Wait until nothing new may be sent."""
        await self._stopping.wait()

    async def hurried(self) -> None:
        """Wait until not even the input is to be read on."""
        await self._hurried.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, but no longer than new calls may be sent."""
        await wait_at_most(self._stopping, seconds)

    # Counting

    @property
    def busy(self) -> int:
        """Calls in flight, and those that are about to be."""
        return len(self.in_flight) + self.reserved

    @property
    def lines(self) -> int:
        """Lines of input read so far, good and bad."""
        return self.good_lines + self.bad_lines

    def begin(self, counts: Counts, charged_today: int) -> None:
        """Start from what the ledger holds."""
        self.queued, self.done = counts.queued, counts.done
        self.rejected, self.exhausted = counts.rejected, counts.exhausted
        self.gone_before, self.waiting = counts.gone, counts.waiting
        self.spent.charged_today = charged_today

    def idle_until(self, due: float | None) -> None:
        """Say until when nothing can be sent, as all that is left waits to be tried again."""
        self.next_due = due

    def begin_day(self) -> None:
        """Count the day's charges anew."""
        self.spent.charged_today = 0

    def enrolled(self, added: int, refreshed: int = 0, differed: int = 0) -> None:
        """New jobs, done ones that are to be fetched again, and queued ones that now carry else."""
        self.differed += differed
        self.queued += added + refreshed
        self.done -= refreshed
        self.claimable.set()

    def read(self, page: Page) -> None:
        """A page of input; only the first bad lines are kept."""
        self.good_lines += len(page.ids)
        self.bad_lines += len(page.bad)
        self.differed += len(page.differed)
        self.bad_examples += page.bad[: _MOST_EXAMPLES - len(self.bad_examples)]

    def read_all(self) -> None:
        """The input was read to its end."""
        self.is_read = True
        self.claimable.set()
        if self.bad_lines and not self.good_lines:
            first = self.bad_examples[0]
            self.stop(StopReason.INPUT, f"INPUT names no note at all; the first line: {first}")

    def claimed(self, job: Job) -> None:
        """A job is claimed; one that was tried before no longer waits."""
        self.held[job.seq] = self.unsent[job.seq] = job
        self.waiting = max(0, self.waiting - bool(job.attempts))

    def reserve(self, calls: int) -> None:
        """So many calls more, or fewer, are about to be sent."""
        self.reserved += calls

    def mark_sent(self, job: Job) -> None:
        """A call that was reserved starts."""
        self.reserved -= 1
        self.unsent.pop(job.seq, None)
        self.in_flight[job.seq] = job
        self._sent_at[job.seq] = time.monotonic()
        self.spent.calls += 1

    def oldest(self) -> float:
        """Seconds since the first of the calls in flight was sent; 0 without any."""
        now = time.monotonic()
        return now - next(iter(self._sent_at.values()), now)

    def given_back(self, job: Job) -> None:
        """A job goes back unsent, or its claim no longer holds."""
        self.unsent.pop(job.seq, None)
        self.held.pop(job.seq, None)
        self.claimable.set()

    def completed(self, outcome: Outcome, judgement: Judgement, *, is_fault: bool) -> None:
        """A call's outcome is known; it is recorded in a moment."""
        self.in_flight.pop(outcome.job.seq, None)
        self._sent_at.pop(outcome.job.seq, None)
        self.by_code["none" if outcome.code is None else str(outcome.code)] += 1
        self.closed += outcome.closed
        if is_fault:
            self.last_fault = judgement.reason
        else:
            self.answered += not judgement.is_redirect
        spent = self.spent
        spent.unanswered += outcome.unanswered
        spent.charged_today += outcome.unanswered
        if outcome.code in CHARGED and not outcome.unanswered:
            spent.charged += 1
            spent.charged_today += 1
        spent.notes += outcome.state is State.DONE
        self.empty += outcome.is_empty
        self.room.set()

    def abandoned(self, calls: int) -> None:
        """So many calls were cut short: they may be charged."""
        self.spent.unanswered += calls

    def recorded(self, outcome: Outcome) -> None:
        """An outcome is safe in the ledger; its job may be with us again, under another claim."""
        if self.held.get(outcome.job.seq) == outcome.job:
            del self.held[outcome.job.seq]
        self.claimable.set()
        if outcome.state is State.QUEUED:
            self.waiting += 1
            return
        self.queued -= 1
        self.settled += 1
        self.done += outcome.state is State.DONE
        self.rejected += outcome.state is State.REJECTED
        self.exhausted += outcome.state is State.EXHAUSTED
