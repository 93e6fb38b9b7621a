"""One suite for every ledger backend; then random histories against a plain model of it."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import ParamSpec

import pytest

from harvester.ledger.keys import from_key, to_key
from harvester.ledger.protocol import (
    Checkpoint,
    Claimed,
    Enrolled,
    FoundLine,
    Ledger,
    StartedRun,
)
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import Counts, Job, Outcome, State
from harvester.money import Balance, Balances, Untold, Why
from tests.contract.fleet import Stage, drop_connection
from tests.contract.outcomes import (
    LEASE,
    NOW,
    again,
    found,
    give_up,
    record,
    save,
    slow,
    timed_out,
)

LONGEST = 120.0
A, B, C, D = (f"67f32a94000000001d02eb{n:02x}" for n in range(4))
P = ParamSpec("P")


class Clock:
    """Unix seconds that move only when told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Bench(ABC):
    """A ledger with a run begun, its clock, and its crashes."""

    ledger: Ledger

    def __init__(self) -> None:
        self._clock = Clock()

    def now(self) -> float:
        return self._clock.now

    def advance(self, seconds: float) -> None:
        """Move the ledger's clock; back, if negative."""
        self._clock.now += seconds

    @abstractmethod
    def crash(self) -> None:
        """Die as by `kill -9`, and open what is left."""

    def begin_run(self, longest_delay: float = LONGEST) -> StartedRun:
        return self.ledger.begin_run(longest_delay)

    def close(self) -> None:
        self.ledger.close()


def crashed_copy(path: Path) -> Path:
    """What `kill -9` would leave of an open SQLite database, under another name."""
    copy = path.with_name(path.name + "+")
    for suffix in ("", "-wal"):
        if path.with_name(path.name + suffix).exists():
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    return copy


class SqliteBench(Bench):
    """The embedded ledger."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "out.ledger"
        self.ledger = SqliteLedger(self._path, self._clock)
        self.begin_run()

    def crash(self) -> None:
        self._path, left = crashed_copy(self._path), self.ledger
        left.close()
        self.ledger = SqliteLedger(self._path, self._clock)


class PostgresBench(Bench):
    """The fleet's ledger as its only host has it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._database = stage.database
        stage.clear(self._clock.now)
        self.ledger = self._held = self._database.open()
        self.begin_run()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._database.set_clock(self._clock.now)

    def crash(self) -> None:
        drop_connection(self._held)
        self._held.close()
        self.ledger = self._held = self._database.open()


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "sqlite":
        with closing(SqliteBench(tmp_path)) as embedded:
            yield embedded
    else:
        with closing(PostgresBench(request.getfixturevalue("stage"))) as fleet:
            yield fleet


def test_what_was_told_of_the_balance_is_kept_with_its_run_also_after_a_crash(bench: Bench) -> None:
    first = Balances(Balance(Decimal("9.9500"), "CNY"), early=2)
    bench.ledger.keep_balances(first)
    bench.crash()
    bench.begin_run()
    assert bench.ledger.balances() == [first]
    second = Balances(first.before, Untold(Why.SLOW, "late"), price=Decimal("0.05"))
    bench.ledger.keep_balances(Balances(first.before))
    bench.ledger.keep_balances(second)
    assert bench.ledger.balances() == [second, first]


def claim(ledger: Ledger, limit: int = 100, lease: float = LEASE) -> list[Job]:
    return ledger.claim(limit, lease).jobs


def claim_ids(ledger: Ledger, limit: int = 100) -> list[str]:
    return [job.note_id for job in claim(ledger, limit)]


def one(bench: Bench, note_id: str = A) -> Job:
    """A note, enrolled and claimed."""
    bench.ledger.enrol([note_id], None)
    (job,) = claim(bench.ledger)
    return job


# Enrolling


def test_each_note_is_enrolled_once(bench: Bench) -> None:
    assert bench.ledger.enrol([A, B], None) == Enrolled(2, 0)
    assert bench.ledger.enrol([B, C], None) == Enrolled(1, 0)
    assert bench.ledger.counts().queued == 3


def test_duplicates_in_one_page_cost_nothing(bench: Bench) -> None:
    assert bench.ledger.enrol([A, A, B, A], None) == Enrolled(2, 0)
    assert claim_ids(bench.ledger) == [A, B]
    assert claim_ids(bench.ledger) == []


def test_a_note_that_is_done_or_failed_or_claimed_is_not_enrolled_again(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b, _ = claim(bench.ledger)
    record(bench.ledger, save(a), give_up(b))
    assert bench.ledger.enrol([A, B, C], None) == Enrolled(0, 0)
    assert claim_ids(bench.ledger) == []


def test_an_empty_page_is_fine(bench: Bench) -> None:
    assert bench.ledger.enrol([], None) == Enrolled(0, 0)
    assert bench.ledger.enrol([], NOW) == Enrolled(0, 0)
    assert bench.ledger.claim(10, LEASE) == Claimed([], None)
    assert bench.ledger.mark_sent([], LEASE).jobs == []
    assert bench.ledger.record([], [], Checkpoint()) == []


def test_an_id_comes_back_as_it_went_in(bench: Bench) -> None:
    note_ids = [
        A,
        A.upper(),
        "67f32a94000000001d02eb4A",
        "67f32a94000000001d02ebzz",
        "67 f32a94 00000001d02eb4",
        "二十四个字符的标识二十四个字符的标识二十四个字",
        "日本語-é-🙂",
        "٣" * 24,
        "a",
        "abc",
        "a" * 500,
        "0" * 24,
        "'; DROP TABLE job; --",
        '"quoted\\',
        "123",
    ]
    bench.ledger.enrol(note_ids, None)
    assert claim_ids(bench.ledger) == note_ids
    assert bench.ledger.enrol(note_ids, None) == Enrolled(0, 0)
    assert [from_key(to_key(note_id)) for note_id in note_ids] == note_ids
    bench.crash()
    bench.begin_run()
    assert claim_ids(bench.ledger) == note_ids


def test_ids_of_different_case_are_different_ids(bench: Bench) -> None:
    assert bench.ledger.enrol([A, A.upper()], None) == Enrolled(2, 0)
    assert claim_ids(bench.ledger) == [A, A.upper()]


# Carrying


def test_what_came_along_is_given_with_the_job(bench: Bench) -> None:
    bench.ledger.enrol([A, B], None, {A: '{"owner":"李"}'})
    jobs = {job.note_id: job for job in claim(bench.ledger)}
    assert jobs[A].extra_fields == '{"owner":"李"}'
    assert jobs[B].extra_fields is None


def test_a_queued_note_takes_over_what_was_named_last(bench: Bench) -> None:
    bench.ledger.enrol([A, B], None, {A: "1", B: "1"})
    (job,) = claim(bench.ledger, 1)
    record(bench.ledger, save(job))
    assert bench.ledger.enrol([A, B], None, {A: "2", B: "2"}) == Enrolled(0, 0, 1)
    assert bench.ledger.enrol([A, B], None) == Enrolled(0, 0)
    (job,) = claim(bench.ledger, 1)
    assert (job.note_id, job.extra_fields) == (B, "2")
    bench.ledger.enrol([A], NOW + 1, {A: "3"})
    (job,) = claim(bench.ledger, 1)
    assert (job.note_id, job.extra_fields) == (A, "3")


def test_what_came_along_outlives_retries_and_crashes(bench: Bench) -> None:
    bench.ledger.enrol([A], None, {A: "1"})
    (job,) = claim(bench.ledger)
    record(bench.ledger, again(job))
    bench.crash()
    bench.begin_run()
    (job,) = claim(bench.ledger)
    assert job.extra_fields == "1"


# Refreshing


def test_a_refresh_queues_what_is_done_and_older(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b, c = claim(bench.ledger)
    record(bench.ledger, save(a, NOW - 50), save(b, NOW), give_up(c))
    assert bench.ledger.enrol([A, B, C, D, A], NOW - 10) == Enrolled(1, 1)
    counts = bench.ledger.counts()
    assert (counts.queued, counts.done, counts.rejected) == (2, 1, 1)
    assert claim_ids(bench.ledger) == [A, D]


def test_a_refreshed_note_that_is_saved_is_done_again(bench: Bench) -> None:
    record(bench.ledger, save(one(bench), NOW - 50))
    bench.ledger.enrol([A], NOW - 10)
    (job,) = claim(bench.ledger)
    assert job.attempts == 1
    assert record(bench.ledger, save(job, NOW)) == []
    assert bench.ledger.enrol([A], NOW - 10) == Enrolled(0, 0)
    assert bench.ledger.counts().done == 1


# Claiming


def test_new_jobs_are_claimed_in_input_order(bench: Bench) -> None:
    bench.ledger.enrol([D, "other", A], None)
    bench.ledger.enrol([C, D, B], None)
    assert claim_ids(bench.ledger, 2) == [D, "other"]
    assert claim_ids(bench.ledger, 2) == [A, C]
    assert claim_ids(bench.ledger, 2) == [B]


def test_input_order_outlives_a_crash(bench: Bench) -> None:
    bench.ledger.enrol([D, C, B, A], None)
    claim(bench.ledger, 1)
    bench.crash()
    bench.begin_run()
    assert claim_ids(bench.ledger) == [D, C, B, A]


def test_requeued_jobs_that_are_due_come_before_new_ones(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b = claim(bench.ledger, 2)
    record(bench.ledger, again(a, 8), again(b, 4))
    bench.advance(10)
    assert claim_ids(bench.ledger, 2) == [B, A]
    assert claim_ids(bench.ledger, 2) == [C]


def test_a_requeued_job_waits_until_it_is_due(bench: Bench) -> None:
    record(bench.ledger, again(one(bench), 7.5))
    assert bench.ledger.claim(10, LEASE) == Claimed([], 7.5)
    bench.advance(7.25)
    assert bench.ledger.claim(10, LEASE) == Claimed([], 0.25)
    bench.advance(0.25)
    assert claim_ids(bench.ledger) == [A]


def test_next_due_is_the_soonest_and_none_when_nothing_waits(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b, _ = claim(bench.ledger)
    record(bench.ledger, again(a, 60), again(b, 20))
    assert bench.ledger.claim(10, LEASE) == Claimed([], 20)
    bench.advance(20)
    claimed = bench.ledger.claim(10, LEASE)
    assert ([job.note_id for job in claimed.jobs], claimed.next_due) == ([B], 40)
    bench.advance(40)
    claimed = bench.ledger.claim(10, LEASE)
    assert ([job.note_id for job in claimed.jobs], claimed.next_due) == ([A], None)


def test_a_full_claim_says_to_ask_again_at_once(bench: Bench) -> None:
    bench.ledger.enrol([A, B], None)
    assert bench.ledger.claim(1, LEASE).next_due == 0


def test_no_job_is_claimed_by_two(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D], None)
    first, second = bench.ledger.claim(3, LEASE), bench.ledger.claim(3, LEASE)
    ids = [job.note_id for job in first.jobs + second.jobs]
    assert sorted(ids) == [A, B, C, D]
    assert {job.claim_id for job in first.jobs}.isdisjoint(job.claim_id for job in second.jobs)


# Leases


def test_an_unsent_job_whose_lease_lapsed_is_given_out_again_at_no_cost(bench: Bench) -> None:
    one(bench)
    bench.advance(LEASE - 1)
    assert claim(bench.ledger) == []
    bench.advance(1)
    (job,) = claim(bench.ledger)
    assert job.attempts == 0
    assert bench.ledger.charged_since(0) == 0


def test_a_sent_job_whose_lease_lapsed_is_an_unanswered_call(bench: Bench) -> None:
    bench.ledger.mark_sent([one(bench)], LEASE)
    bench.advance(LEASE)
    (job,) = claim(bench.ledger)
    assert job.attempts == 1
    assert bench.ledger.charged_since(0) == 1


def test_departing_renews_the_lease(bench: Bench) -> None:
    job = one(bench)
    bench.advance(LEASE - 1)
    assert bench.ledger.mark_sent([job], LEASE).jobs == [job]
    bench.advance(LEASE - 1)
    assert claim(bench.ledger) == []
    assert record(bench.ledger, save(job)) == []


def test_a_lost_claim_may_not_depart(bench: Bench) -> None:
    bench.ledger.enrol([A, B], None)
    lost, kept = claim(bench.ledger)
    bench.ledger.mark_sent([kept], 3 * LEASE)
    bench.advance(LEASE)
    (new,) = claim(bench.ledger)
    assert bench.ledger.mark_sent([lost, kept], LEASE).jobs == [kept]
    assert bench.ledger.mark_sent([new], LEASE).jobs == [new]


@pytest.mark.parametrize("outcome", [save, again, slow, give_up, timed_out])
def test_what_a_lost_claim_brings_is_given_back_and_changes_nothing(
    bench: Bench, outcome: Callable[[Job], Outcome]
) -> None:
    lost = one(bench)
    bench.advance(LEASE)
    (new,) = claim(bench.ledger)
    before = bench.ledger.counts()
    assert record(bench.ledger, outcome(lost)) == [outcome(lost)]
    assert bench.ledger.counts() == before
    assert bench.ledger.charged_since(0) == 0
    assert record(bench.ledger, save(new)) == []
    assert bench.ledger.counts().done == 1


def test_of_one_group_only_lost_claims_are_given_back(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b, c = claim(bench.ledger)
    bench.ledger.mark_sent([b], 3 * LEASE)
    bench.advance(LEASE)
    claim(bench.ledger)
    assert record(bench.ledger, save(c), save(b), again(a)) == [save(c), again(a)]
    counts = bench.ledger.counts()
    assert (counts.done, counts.claimed) == (1, 2)


def test_an_outcome_is_recorded_once(bench: Bench) -> None:
    job = one(bench)
    assert record(bench.ledger, save(job)) == []
    assert record(bench.ledger, save(job)) == [save(job)]
    assert bench.ledger.counts().done == 1
    assert bench.ledger.charged_since(0) == 1


# Giving back


def test_a_released_job_is_due_at_once_and_cost_nothing(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b = claim(bench.ledger, 2)
    bench.ledger.mark_sent([b], LEASE)
    bench.ledger.release([a, b])
    jobs = claim(bench.ledger, 2)
    assert [(job.note_id, job.attempts) for job in jobs] == [(A, 0), (B, 0)]
    assert bench.ledger.charged_since(0) == 0


def test_a_lost_claim_releases_and_abandons_nothing(bench: Bench) -> None:
    lost = one(bench)
    bench.advance(LEASE)
    (new,) = claim(bench.ledger)
    bench.ledger.mark_sent([new], LEASE)
    bench.ledger.release([lost])
    bench.ledger.abandon([lost], "stopped at once")
    assert claim(bench.ledger) == []
    assert record(bench.ledger, save(new)) == []


def test_an_abandoned_job_is_an_unanswered_call_and_queued(bench: Bench) -> None:
    job = one(bench)
    bench.ledger.mark_sent([job], LEASE)
    bench.ledger.abandon([job], "stopped at once")
    assert bench.ledger.counts().claimed == 0
    assert bench.ledger.charged_since(0) == 1
    bench.crash()
    assert bench.begin_run().found_unanswered == 0
    (job,) = claim(bench.ledger)
    assert job.attempts == 1


# Recording


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (save, "done"),
        (again, "queued"),
        (slow, "queued"),
        (give_up, "rejected"),
        (lambda job: give_up(job, State.EXHAUSTED), "exhausted"),
    ],
)
def test_a_recorded_job_is_counted_under_its_state(
    bench: Bench, outcome: Callable[[Job], Outcome], state: str
) -> None:
    job = one(bench)
    bench.ledger.mark_sent([job], LEASE)
    assert record(bench.ledger, outcome(job)) == []
    counts = bench.ledger.counts()
    assert getattr(counts, state) == counts.total == 1
    assert counts.claimed == 0
    assert len(claim(bench.ledger)) == (state == "queued")


def test_what_is_recorded_outlives_a_crash(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D], None)
    a, b, c, d = claim(bench.ledger)
    record(bench.ledger, save(a), give_up(b), give_up(c, State.EXHAUSTED), again(d, 5))
    before = bench.ledger.counts()
    bench.crash()
    assert bench.begin_run().found_unanswered == 0
    assert bench.ledger.counts() == before
    assert bench.ledger.claim(10, LEASE) == Claimed([], 5)


def test_tries_count_for_one_run_and_attempts_for_ever(bench: Bench) -> None:
    record(bench.ledger, again(one(bench), failures_by_cause=(1, 0, 0)))
    (job,) = claim(bench.ledger)
    assert (job.attempts, job.failures_by_cause) == (1, (1, 0, 0))
    record(bench.ledger, again(job, failures_by_cause=(1, 2, 3)))
    (job,) = claim(bench.ledger)
    assert (job.attempts, job.failures_by_cause) == (2, (1, 2, 3))
    bench.crash()
    bench.begin_run()
    (job,) = claim(bench.ledger)
    assert (job.attempts, job.failures_by_cause) == (2, (0, 0, 0))


def test_an_answer_that_costs_no_attempt_counts_none(bench: Bench) -> None:
    record(bench.ledger, again(one(bench), failures_by_cause=(1, 0, 0)))
    (job,) = claim(bench.ledger)
    record(bench.ledger, slow(job))
    (job,) = claim(bench.ledger)
    assert (job.attempts, job.failures_by_cause) == (1, (1, 0, 0))


def test_only_failed_jobs_are_requeued(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D], None)
    a, b, c, d = jobs = claim(bench.ledger)
    record(bench.ledger, save(a), give_up(b), give_up(c, State.EXHAUSTED), again(d, 50, (3, 0, 0)))
    bench.ledger.requeue([job.seq for job in jobs] + [99])
    counts = bench.ledger.counts()
    assert (counts.queued, counts.waiting, counts.done, counts.failed) == (3, 1, 1, 0)
    back = claim(bench.ledger)
    assert [(job.note_id, job.attempts, job.failures_by_cause) for job in back] == [
        (B, 1, (0, 0, 0)),
        (C, 1, (0, 0, 0)),
    ]


# Adopting


def test_an_adopted_line_makes_its_job_done_whatever_it_was(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D], None)
    a, b, c = claim(bench.ledger, 3)
    record(bench.ledger, save(a), give_up(b), again(c, 30))
    (d,) = claim(bench.ledger)
    bench.ledger.mark_sent([d], LEASE)
    lines = [found(note_id) for note_id in (A, B, C, D, "new")]
    assert bench.ledger.adopt(lines, Checkpoint(15, b"{}\n")) == 4
    counts = bench.ledger.counts()
    assert counts.done == counts.total == 5
    assert bench.ledger.claim(10, LEASE) == Claimed([], None)


def test_an_adopted_job_stays_done_whatever_its_call_comes_to(bench: Bench) -> None:
    job = one(bench)
    bench.ledger.mark_sent([job], LEASE)
    bench.ledger.adopt([found(A)], Checkpoint(3, b"{}\n"))
    record(bench.ledger, again(job))
    assert bench.ledger.mark_sent([job], LEASE).jobs == []
    assert bench.ledger.counts() == Counts(done=1)
    bench.crash()
    assert bench.begin_run().found_unanswered == 0


def test_a_note_on_two_adopted_lines_is_one_job(bench: Bench) -> None:
    lines = [found(A, end=3), found(A, at=NOW + 9, end=6)]
    assert bench.ledger.adopt(lines, Checkpoint(6, b"{}\n")) == 1
    assert bench.ledger.counts().total == 1
    assert bench.ledger.enrol([A], NOW + 5) == Enrolled(0, 0)


def test_adopted_lines_are_counted_as_charged_at_their_minutes(bench: Bench) -> None:
    lines = [found(A, at=NOW - 600), found(B, at=NOW - 540)]
    bench.ledger.adopt(lines, Checkpoint(6, b"{}\n"))
    assert bench.ledger.charged_since(0) == 2
    assert bench.ledger.charged_since(NOW - 540) == 1


def test_of_lines_read_anew_exactly_those_not_counted_yet_are_counted(bench: Bench) -> None:
    record(bench.ledger, save(one(bench)))
    bench.ledger.enrol([A], NOW + 60)
    (job,) = claim(bench.ledger)
    record(bench.ledger, save(job, NOW + 60))
    assert bench.ledger.charged_since(0) == 2
    bench.ledger.forget_lines()
    again = [found(A, end=3), found(A, at=NOW + 60, end=6)]
    # These two were written, but not recorded.
    unknown = [found(A, at=NOW + 120, end=9), found(B, end=12)]
    assert bench.ledger.adopt([*again, *unknown], Checkpoint(12, b"{}\n")) == 2
    bench.ledger.end_reading()
    assert bench.ledger.charged_since(0) == 4
    assert bench.ledger.charged_since(NOW + 120) == 1


def test_reading_anew_that_was_cut_short_counts_nothing_twice(bench: Bench) -> None:
    record(bench.ledger, save(one(bench)))
    for lines in ([found(A)], [found(A), found(B, end=6)], [found(A), found(B, end=6)]):
        bench.ledger.forget_lines()
        bench.ledger.adopt(lines[:1], Checkpoint(3, b"{}\n"))
        bench.ledger.adopt(lines[1:], Checkpoint(6, b"{}\n"))
        bench.crash()
    assert bench.ledger.charged_since(0) == 2
    assert bench.ledger.counts().done == 2


def test_a_line_that_is_gone_for_good_stands_for_no_later_one(bench: Bench) -> None:
    record(bench.ledger, save(one(bench)))
    bench.ledger.forget_lines()
    bench.ledger.end_reading()
    assert bench.ledger.counts().queued == 1
    bench.ledger.adopt([found(A, at=NOW + 1)], Checkpoint(3, b"{}\n"))
    assert bench.ledger.charged_since(0) == 2


def test_a_line_behind_what_a_power_cut_took_was_charged_once_and_a_later_one_anew(
    bench: Bench,
) -> None:
    bench.ledger.enrol([A, B], None)
    record(bench.ledger, *map(save, claim(bench.ledger)))
    assert bench.ledger.lose_lines(Checkpoint()) == 2
    bench.ledger.adopt([found(B)], Checkpoint(3, b"{}\n"))
    bench.ledger.end_reading()
    assert bench.ledger.charged_since(0) == 2
    bench.ledger.adopt([found(A, at=NOW + 1, end=6)], Checkpoint(6, b"{}\n"))
    assert bench.ledger.charged_since(0) == 3


def test_a_line_that_is_there_twice_was_charged_once_also_when_read_anew(
    bench: Bench,
) -> None:
    record(bench.ledger, save(one(bench)))
    for _ in range(2):
        bench.ledger.forget_lines()
        bench.ledger.adopt([found(A), found(A, end=6)], Checkpoint(6, b"{}\n"))
        bench.ledger.adopt([found(A, end=9)], Checkpoint(9, b"{}\n"))
        bench.ledger.end_reading()
    assert bench.ledger.charged_since(0) == 1


def test_a_call_that_was_out_when_its_notes_older_line_is_read_anew_is_unanswered(
    bench: Bench,
) -> None:
    record(bench.ledger, save(one(bench)))
    bench.ledger.enrol([A], NOW + 60)
    (job,) = claim(bench.ledger)
    bench.ledger.mark_sent([job], LEASE)
    bench.crash()
    bench.ledger.forget_lines()
    bench.ledger.adopt([found(A)], Checkpoint(3, b"{}\n"))
    bench.ledger.end_reading()
    bench.begin_run()
    assert bench.ledger.charged_since(0) == 2


def test_an_adopted_job_keeps_the_attempts_of_its_line(bench: Bench) -> None:
    bench.ledger.adopt([found(A, attempts=4)], Checkpoint(3, b"{}\n"))
    bench.ledger.enrol([A], NOW + 1)
    (job,) = claim(bench.ledger)
    assert job.attempts == 4


def test_notes_with_nothing_in_them_are_put_back_however_they_came(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D], None)
    a, b = claim(bench.ledger, 2)
    empty = Outcome(a, State.DONE, 0, "saved", line=b"{}\n", fetched_at=NOW, is_empty=True)
    record(bench.ledger, empty, save(b))
    lines = [FoundLine(note_id, 1, NOW, 9, note_id == C) for note_id in (C, D)]
    bench.ledger.adopt(lines, Checkpoint(9, b"{}\n"))
    assert bench.ledger.retry((State.DONE,), (), [B, D]) == 0
    assert bench.ledger.retry((State.DONE,)) == 2
    jobs = bench.ledger.claim(9, LEASE).jobs
    assert {job.note_id for job in jobs} == {A, C}
    record(bench.ledger, *(save(job, NOW + 9) for job in jobs))
    assert bench.ledger.retry((State.DONE,)) == 0


# Counting


def test_waiting_and_claimed_jobs_are_parts_of_the_queued(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D], None)
    a, _ = claim(bench.ledger, 2)
    record(bench.ledger, again(a, 10))
    counts = bench.ledger.counts()
    assert (counts.queued, counts.waiting, counts.claimed) == (4, 1, 1)
    bench.advance(10)
    assert bench.ledger.counts().waiting == 0


def test_charges_are_counted_by_the_minute(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C], None)
    a, b, c = claim(bench.ledger)
    bench.advance(59)
    record(bench.ledger, save(a))
    bench.advance(1)
    record(bench.ledger, save(b), give_up(c))
    assert bench.ledger.charged_since(NOW) == 2
    assert bench.ledger.charged_since(NOW + 60) == 1
    assert bench.ledger.charged_since(NOW + 120) == 0


def test_only_saves_and_unanswered_calls_may_be_charged(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D, "e"], None)
    a, b, c, d, e = claim(bench.ledger)
    record(bench.ledger, save(a), again(b), slow(c), give_up(d))
    assert bench.ledger.charged_since(NOW) == 1
    record(bench.ledger, timed_out(e))
    assert bench.ledger.charged_since(NOW) == 2


def test_charges_of_earlier_runs_count_too(bench: Bench) -> None:
    bench.ledger.enrol([A, B], None)
    a, b = claim(bench.ledger)
    bench.ledger.mark_sent([a, b], LEASE)
    record(bench.ledger, save(a))
    bench.crash()
    bench.begin_run()
    assert bench.ledger.charged_since(NOW) == 2


def test_what_a_clock_years_ahead_counted_counts_on_no_day_before(bench: Bench) -> None:
    years = 5 * 365 * 86_400.0
    bench.advance(years)
    bench.ledger.enrol([A, B, C, D], None)
    for _ in range(2):
        saved, lost = claim(bench.ledger, 2)
        record(bench.ledger, save(saved, bench.now()), timed_out(lost))
        bench.advance(-years)
    bench.advance(years + 60)
    assert bench.ledger.charged_since(NOW) == 2


def test_settling_changes_nothing(bench: Bench) -> None:
    record(bench.ledger, save(one(bench)))
    before = bench.ledger.counts()
    bench.ledger.settle(3)
    assert bench.ledger.counts() == before


# Crashing


def test_after_a_crash_exactly_what_had_departed_is_unanswered(bench: Bench) -> None:
    bench.ledger.enrol([A, B, C, D, "e"], None)
    a, b, c, d = claim(bench.ledger, 4)
    bench.ledger.mark_sent([a, b, c], LEASE)
    record(bench.ledger, save(a))
    bench.ledger.release([d])
    bench.crash()
    assert bench.begin_run().found_unanswered == 2
    jobs = claim(bench.ledger)
    assert [(job.note_id, job.attempts) for job in jobs] == [(B, 1), (C, 1), (D, 0), ("e", 0)]
    assert bench.ledger.charged_since(0) == 3


def test_after_a_crash_claims_are_free_although_their_leases_are_not_over(
    bench: Bench,
) -> None:
    job = one(bench)
    bench.crash()
    assert bench.begin_run().found_unanswered == 0
    assert bench.ledger.counts().claimed == 0
    assert bench.ledger.mark_sent([job], LEASE).jobs == []
    assert claim_ids(bench.ledger) == [A]


def test_unanswered_calls_are_found_once(bench: Bench) -> None:
    bench.ledger.mark_sent([one(bench)], LEASE)
    first = bench.begin_run()
    bench.crash()
    second = bench.begin_run()
    assert (first.found_unanswered, second.found_unanswered) == (1, 0)
    assert second.run > first.run
    assert bench.ledger.charged_since(0) == 1


def test_a_claim_of_a_dead_run_records_nothing_in_the_next(bench: Bench) -> None:
    old = one(bench)
    bench.crash()
    bench.begin_run()
    (new,) = claim(bench.ledger)
    assert new.claim_id != old.claim_id
    assert record(bench.ledger, save(old)) == [save(old)]


@pytest.mark.parametrize("step", [-10 * 365 * 86_400, -3600, -1, 3600])
def test_a_clock_set_anew_between_runs_makes_no_job_wait_long(bench: Bench, step: float) -> None:
    bench.ledger.enrol([A, B], None)
    a, b = claim(bench.ledger)
    record(bench.ledger, again(a, 100), again(b, 0))
    bench.crash()
    bench.advance(step)
    bench.begin_run(longest_delay=30)
    claimed = bench.ledger.claim(10, LEASE)
    assert claimed.next_due is None or claimed.next_due <= 30
    bench.advance(30)
    assert {A, B} == {job.note_id for job in claimed.jobs + claim(bench.ledger)}


def test_a_clock_set_back_frees_no_lease_and_holds_none_for_ever(bench: Bench) -> None:
    bench.ledger.mark_sent([one(bench)], LEASE)
    bench.crash()
    bench.advance(-86_400)
    assert bench.begin_run().found_unanswered == 1
    assert claim_ids(bench.ledger) == [A]
