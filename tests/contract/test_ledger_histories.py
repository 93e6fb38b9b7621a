"""Random histories of both ledgers, against a plain model of them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from harvester.ledger.protocol import Checkpoint, Claimed, Enrolled, Ledger
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import Job, Outcome, State
from tests.contract.fleet import Stage, drop_connection
from tests.contract.outcomes import NOW, again, found, give_up, save, slow, timed_out
from tests.contract.test_ledger import LONGEST, A, B, C, Clock, crashed_copy

_IDS = [A, B, C, A.upper(), "短", "x" * 24]
_ids = st.lists(st.sampled_from(_IDS), max_size=4)
_seconds = st.integers(0, 200).map(lambda quarters: quarters / 4)
_leases = st.sampled_from([0.5, 10.0, 40.0])


@dataclass
class Row:
    """What the model knows of a job."""

    state: State = State.QUEUED
    due: float | None = None
    attempts: int = 0
    claim_id: int | None = None
    until: float = 0.0
    sent: bool = False
    fetched_at: float = 0.0
    lost: int = 0
    moments: frozenset[float] = frozenset()


@dataclass
class Model:
    """The ledger in the plainest words."""

    rows: dict[str, Row] = field(default_factory=dict)
    unanswered: int = 0
    charged: int = 0

    def row(self, job: Job) -> Row:
        return self.rows[job.note_id]

    def holds(self, job: Job) -> bool:
        return self.row(job).claim_id == job.claim_id

    def lose(self, row: Row, now: float) -> None:
        self.unanswered += row.sent
        row.attempts += row.sent
        row.lost += row.sent
        row.claim_id, row.sent, row.due = None, False, now

    def claimable(self, now: float) -> list[str]:
        """Ids in the order they are to be claimed: what is due, then what is new."""
        free = {
            i: r for i, r in self.rows.items() if r.state == State.QUEUED and r.claim_id is None
        }
        due = sorted((r.due, n, i) for n, (i, r) in enumerate(free.items()) if r.due is not None)
        new = [i for i, row in free.items() if row.due is None]
        return [i for when, _, i in due if when <= now] + new


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of calls leaves the ledger as the model says."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.furthest = NOW
        self.model = Model()
        self.jobs: list[Job] = []
        self.ledger = self.open()

    def open(self) -> Ledger:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "out.ledger"
        return SqliteLedger(self.path, self.clock)

    def die(self) -> Ledger:
        """Crash, and open what is left."""
        copy = crashed_copy(self.path)
        self.ledger.close()
        self.path = copy
        return SqliteLedger(self.path, self.clock)

    def set_clock(self, now: float) -> None:
        self.clock.now = now

    def rows(self, query: str) -> list[tuple[int, ...]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(query).fetchall()

    @initialize(ids=_ids)
    def begin(self, ids: list[str]) -> None:
        self.ledger.begin_run(LONGEST)
        self.enrol(ids)

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    def pick(self, picks: Sequence[int]) -> list[Job]:
        """Some of the jobs ever claimed, at most one of each note."""
        if not self.jobs:
            return []
        return list({job.note_id: job for job in (self.jobs[n] for n in picks)}.values())

    picks = st.lists(st.integers(-6, -1), max_size=4)

    def known(self, picks: Sequence[int]) -> list[Job]:
        return self.pick([n for n in picks if -n <= len(self.jobs)])

    # Enrolling

    @rule(ids=_ids)
    def enrol(self, ids: list[str]) -> None:
        new = set(ids) - self.model.rows.keys()
        assert self.ledger.enrol(ids, None) == Enrolled(len(new), 0)
        for note_id in ids:
            self.model.rows.setdefault(note_id, Row())

    def _old(self, before: float) -> list[str]:
        rows = self.model.rows.items()
        return [i for i, r in rows if r.state == State.DONE and r.fetched_at < before]

    def _refresh(self, note_ids: Sequence[str]) -> None:
        for note_id in note_ids:
            row = self.model.rows[note_id]
            row.state, row.due = State.QUEUED, self.clock.now

    @rule(ids=_ids, age=_seconds)
    def enrol_with_refresh(self, ids: list[str], age: float) -> None:
        before = self.clock.now - age
        old = [note_id for note_id in self._old(before) if note_id in ids]
        new = set(ids) - self.model.rows.keys()
        assert self.ledger.enrol(ids, before) == Enrolled(len(new), len(old))
        self._refresh(old)
        for note_id in ids:
            self.model.rows.setdefault(note_id, Row())

    @rule(age=_seconds)
    def refresh(self, age: float) -> None:
        old = self._old(self.clock.now - age)
        assert self.ledger.refresh(self.clock.now - age) == len(old)
        self._refresh(old)

    # Claims

    @rule(seconds=_seconds)
    def advance(self, seconds: float) -> None:
        self.set_clock(self.clock.now + seconds)

    @rule(limit=st.integers(1, 4), lease=_leases)
    def claim(self, limit: int, lease: float) -> None:
        now = self.clock.now
        for row in self.model.rows.values():
            if row.claim_id is not None and row.until <= now:
                self.model.lose(row, now)
        expected = self.model.claimable(now)[:limit]
        claimed = self.ledger.claim(limit, lease)
        assert [job.note_id for job in claimed.jobs] == expected
        for job in claimed.jobs:
            row = self.model.row(job)
            assert job.attempts == row.attempts
            row.claim_id, row.until, row.sent = job.claim_id, now + lease, False
        self.jobs += claimed.jobs
        self._check_next_due(claimed, limit)

    def _check_next_due(self, claimed: Claimed, limit: int) -> None:
        if len(claimed.jobs) == limit:
            assert claimed.next_due == 0
            return
        rows = self.model.rows.values()
        waits = [r.due for r in rows if r.state == State.QUEUED and r.claim_id is None and r.due]
        assert claimed.next_due == (min(waits) - self.clock.now if waits else None)

    @rule(picks=picks, lease=_leases)
    def mark_sent(self, picks: list[int], lease: float) -> None:
        jobs = self.known(picks)
        held = [job for job in jobs if self.model.holds(job)]
        assert self.ledger.mark_sent(jobs, lease).jobs == held
        for job in held:
            row = self.model.row(job)
            row.sent, row.until = True, self.clock.now + lease

    @rule(picks=picks)
    def release(self, picks: list[int]) -> None:
        jobs = self.known(picks)
        self.ledger.release(jobs)
        for job in filter(self.model.holds, jobs):
            row = self.model.row(job)
            row.claim_id, row.sent, row.due = None, False, self.clock.now

    @rule(picks=picks)
    def abandon(self, picks: list[int]) -> None:
        jobs = self.known(picks)
        self.ledger.abandon(jobs, "stopped at once")
        for job in filter(self.model.holds, jobs):
            self.model.lose(self.model.row(job), self.clock.now)

    @rule(
        picks=picks,
        kinds=st.lists(st.sampled_from([save, again, slow, give_up, timed_out]), min_size=4),
        delay=_seconds,
    )
    def record(self, picks: list[int], kinds: list[Callable[[Job], Outcome]], delay: float) -> None:
        jobs = self.known(picks)
        outcomes = [
            again(job, delay) if kind is again else kind(job)
            for job, kind in zip(jobs, kinds, strict=False)
        ]
        lost = [outcome for outcome in outcomes if not self.model.holds(outcome.job)]
        ends = [3 for outcome in outcomes if outcome.line is not None]
        assert self.ledger.record(outcomes, ends, Checkpoint(3, b"{}\n")) == lost
        for outcome in outcomes:
            if self.model.holds(outcome.job):
                self._recorded(outcome)

    def _recorded(self, outcome: Outcome) -> None:
        row = self.model.row(outcome.job)
        row.claim_id, row.sent, row.state = None, False, outcome.state
        row.attempts += outcome.attempted
        row.due = self.clock.now + outcome.delay if row.state == State.QUEUED else None
        if outcome.fetched_at:
            row.fetched_at = outcome.fetched_at
            row.moments |= {outcome.fetched_at}
        self.model.charged += outcome.state == State.DONE
        self.model.unanswered += outcome.unanswered

    # Failed jobs, found lines, crashes

    def _failed(self) -> list[Row]:
        rows = self.model.rows.values()
        return [row for row in rows if row.state in (State.REJECTED, State.EXHAUSTED)]

    @rule()
    def retry(self) -> None:
        failed = self._failed()
        assert self.ledger.retry([State.REJECTED, State.EXHAUSTED]) == len(failed)
        for row in failed:
            row.state, row.due = State.QUEUED, self.clock.now

    @rule(picks=picks)
    def requeue(self, picks: list[int]) -> None:
        jobs = self.known(picks)
        self.ledger.requeue([job.seq for job in jobs])
        for row in (self.model.row(job) for job in jobs):
            if row.state in (State.REJECTED, State.EXHAUSTED):
                row.state, row.due = State.QUEUED, self.clock.now

    @rule(ids=_ids)
    def adopt(self, ids: list[str]) -> None:
        rows = self.model.rows
        ids = [note_id for note_id in ids if self.may_be_found(rows.get(note_id, Row()))]
        fresh = {i for i in ids if i not in rows or rows[i].state != State.DONE}
        lines = [found(note_id, 1, self.clock.now) for note_id in ids]
        assert self.ledger.adopt(lines, Checkpoint(3, b"{}\n")) == len(fresh)
        for note_id in ids:
            self.adopted(note_id, rows.get(note_id, Row()))

    def may_be_found(self, _row: Row) -> bool:
        """Whether a line of a note may turn up now."""
        return True

    def adopted(self, note_id: str, row: Row) -> None:
        """A job that is known keeps its place in the order; a known moment was paid for before.

        Then a call that is out is another one, which may be charged, too.
        """
        is_known = row.fetched_at == self.clock.now
        if row.claim_id is not None and is_known:
            self.model.lose(row, self.clock.now)
        self.model.rows[note_id] = Row(
            State.DONE, attempts=max(1, row.attempts), fetched_at=self.clock.now, lost=row.lost
        )
        self.model.charged += not is_known

    @precondition(lambda self: self.jobs)
    @rule(step=st.sampled_from([-86_400.0, -10.0, 0.0, 10.0]))
    def crash(self, step: float) -> None:
        # What lies more than a day ahead is counted no more, so the clock goes no further back.
        self.furthest = max(self.furthest, self.clock.now)
        self.set_clock(max(self.clock.now + step, self.furthest - 86_400.0))
        self.ledger = self.die()
        sent = sum(row.sent for row in self.model.rows.values())
        assert self.ledger.begin_run(LONGEST).found_unanswered == sent
        for row in self.model.rows.values():
            if row.claim_id is not None:
                self.model.lose(row, self.clock.now)
            if row.state == State.QUEUED and row.due is not None:
                row.due = min(row.due, self.clock.now + LONGEST)

    # What always holds

    @invariant()
    def tally_equals_a_recount_and_the_model(self) -> None:
        rows = self.model.rows.values()
        states = Counter(row.state for row in rows)
        now = self.clock.now
        counts = self.ledger.counts()
        assert Counter(state for (state,) in self.rows("SELECT state FROM job")) == states
        claimed = (
            "SELECT count(*) FROM claim LEFT JOIN job USING (seq) WHERE coalesce(state, 9) <> 0"
        )
        assert self.rows(claimed) == [(0,)]
        assert [counts.queued, counts.done, counts.rejected, counts.exhausted] == [
            states[state] for state in State
        ]
        assert counts.total == len(rows)
        assert counts.claimed == sum(row.claim_id is not None for row in rows)
        due = [row.due for row in rows if row.state == State.QUEUED and row.due is not None]
        assert counts.waiting == sum(when > now for when in due)

    @invariant()
    def charges_are_known(self) -> None:
        assert self.ledger.charged_since(0) == self.model.charged + self.model.unanswered

    @rule()
    def nothing_is_claimed_or_waiting_for_ever(self) -> None:
        self.set_clock(self.clock.now + 100_000)
        queued = sum(row.state == State.QUEUED for row in self.model.rows.values())
        self.claim(len(_IDS) + 1, 0.5)
        assert sum(row.claim_id is not None for row in self.model.rows.values()) == queued


LedgerMachine.TestCase.settings = settings(
    max_examples=settings().max_examples // 3,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
)
TestRandomHistories = LedgerMachine.TestCase


class FleetMachine(LedgerMachine):
    """The same for the fleet's ledger, where a call is told by note and moment."""

    stage: Stage

    def open(self) -> Ledger:
        self.database = self.stage.database
        self.stage.clear(self.clock.now)
        self.direct = self.database.open()
        return self.direct

    def die(self) -> Ledger:
        drop_connection(self.direct)
        self.direct.close()
        self.direct = self.database.open()
        return self.direct

    def set_clock(self, now: float) -> None:
        self.clock.now = now
        self.database.set_clock(now)

    def rows(self, query: str) -> list[tuple[int, ...]]:
        return self.database.rows(query)

    def may_be_found(self, row: Row) -> bool:
        """What comes of a call that is out where a line of its note is found has its own tests."""
        return not row.sent

    def adopted(self, note_id: str, row: Row) -> None:
        """A line with a known moment is a known one; one that was lost is answered by it."""
        newest = max(row.fetched_at, self.clock.now)
        is_known = self.clock.now in row.moments
        is_answer = not is_known and row.lost > 0
        self.model.rows[note_id] = Row(
            State.DONE,
            attempts=max(1, row.attempts),
            fetched_at=newest,
            lost=row.lost - is_answer,
            moments=row.moments | {self.clock.now},
        )
        self.model.charged += not is_known
        self.model.unanswered -= is_answer

    def teardown(self) -> None:
        self.ledger.close()


def test_random_histories_of_the_fleets_ledger(stage: Stage) -> None:
    FleetMachine.stage = stage
    run_state_machine_as_test(
        FleetMachine,
        settings=settings(
            max_examples=settings().max_examples // 10,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
        ),
    )
