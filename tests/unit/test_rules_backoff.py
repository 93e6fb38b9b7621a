"""When a job is tried again, when it is given up, and what is recorded of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.model import Answer, Cause, Fault, Job, Judgement, State, StopReason, Verdict
from harvester.rules.backoff import RetryLimits, backoff_delay, failures_after, is_exhausted
from harvester.rules.outcomes import saved, unsaved
from harvester.rules.verdicts import judge

JOB = Job(7, "a", claim_id=3, attempts=2)


def full() -> float:
    """The most that jitter can give, so that the ceiling shows."""
    return 1.0


@pytest.mark.parametrize(
    ("nth", "ceiling"), [(1, 1.0), (2, 2.0), (3, 4.0), (7, 64.0), (8, 120.0), (9, 120.0)]
)
def test_the_ceiling_doubles_up_to_the_cap(nth: int, ceiling: float) -> None:
    assert backoff_delay(nth, RetryLimits(), full) == ceiling


@given(
    st.integers(1, 10**9),
    st.floats(0, 1e300),
    st.floats(0, 1e300),
    st.floats(0, 1, exclude_max=True),
)
def test_jitter_is_full_and_no_count_overflows(
    nth: int, base: float, cap: float, lot: float
) -> None:
    limits = RetryLimits(base=base, cap=cap)
    delay = backoff_delay(nth, limits, lambda: lot)
    assert 0 <= delay <= cap
    assert delay == lot * backoff_delay(nth, limits, full)
    assert backoff_delay(nth, limits, lambda: 0.0) == 0
    assert backoff_delay(nth, limits, full) <= backoff_delay(nth + 1, limits, full)


@pytest.mark.parametrize(
    ("cause", "failures"),
    [
        (Cause.COLLECTION, (2, 2, 3)),
        (Cause.SERVER, (1, 3, 3)),
        (Cause.UNANSWERED, (1, 2, 4)),
    ],
)
def test_a_failure_counts_for_its_own_cause(cause: Cause, failures: tuple[int, int, int]) -> None:
    assert failures_after(Job(1, "a", failures_by_cause=(1, 2, 3)), cause) == failures


@pytest.mark.parametrize(
    ("cause", "limits", "attempts"),
    [
        (Cause.COLLECTION, RetryLimits(), 6),
        (Cause.SERVER, RetryLimits(), 6),
        (Cause.UNANSWERED, RetryLimits(), 3),
        (Cause.COLLECTION, RetryLimits(max_attempts=1), 1),
        (Cause.UNANSWERED, RetryLimits(max_attempts=1), 1),
        (Cause.UNANSWERED, RetryLimits(max_unanswered=0), 1),
        (Cause.UNANSWERED, RetryLimits(max_attempts=4, max_unanswered=9), 4),
        (Cause.SERVER, RetryLimits(max_attempts=4, max_unanswered=0), 4),
    ],
)
def test_a_note_that_always_fails_alike_has_so_many_attempts_in_a_run(
    cause: Cause, limits: RetryLimits, attempts: int
) -> None:
    job, made = JOB, 1
    while not is_exhausted(job, cause, limits):
        job = Job(1, "a", failures_by_cause=failures_after(job, cause))
        made += 1
    assert made == attempts


@pytest.mark.parametrize("unanswered", [0, 1, 2])
def test_attempts_of_all_causes_count_together(unanswered: int) -> None:
    job = Job(1, "a", failures_by_cause=(3 - unanswered, 2, unanswered))
    assert is_exhausted(job, Cause.COLLECTION, RetryLimits(6, 2))
    assert not is_exhausted(job, Cause.COLLECTION, RetryLimits(7, 2))


def test_a_save_is_done_and_carries_its_line() -> None:
    answer = Answer(200, b'{"code":0}', elapsed=0.25)
    outcome = saved(JOB, answer, judge(answer), b"{}\n", 12.5)
    assert (outcome.job, outcome.state, outcome.code) == (JOB, State.DONE, 0)
    assert (outcome.line, outcome.fetched_at, outcome.elapsed) == (b"{}\n", 12.5, 0.25)
    assert outcome.attempted
    assert not outcome.unanswered


@pytest.mark.parametrize(
    ("answer", "state", "attempted", "unanswered"),
    [
        (Answer(200, b'{"code":301}'), State.QUEUED, True, False),
        (Answer(200, b'{"code":777}'), State.QUEUED, True, False),
        (Answer(fault=Fault.NO_CONNECTION), State.QUEUED, True, False),
        (Answer(fault=Fault.MALFORMED), State.QUEUED, True, True),
        (Answer(200, b"<html>"), State.QUEUED, True, True),
        (Answer(fault=Fault.TIMEOUT), State.QUEUED, True, True),
        (Answer(fault=Fault.BROKEN), State.QUEUED, True, True),
        (Answer(fault=Fault.TOO_LARGE), State.EXHAUSTED, True, True),
        (Answer(fault=Fault.CLOSED), State.QUEUED, False, False),
        (Answer(fault=Fault.RESET), State.QUEUED, True, False),
        (Answer(200, b'{"code":404}'), State.REJECTED, True, False),
        (Answer(429, b'{"code":302}'), State.QUEUED, False, False),
        (Answer(429, b'{"code":303}'), State.QUEUED, False, False),
        (Answer(200, b'{"code":601}'), State.QUEUED, False, False),
        (Answer(401, b""), State.QUEUED, False, False),
    ],
)
def test_only_a_retry_and_a_reject_cost_an_attempt(
    answer: Answer, state: State, *, attempted: bool, unanswered: bool
) -> None:
    judgement = judge(answer)
    outcome = unsaved(JOB, answer, judgement, RetryLimits(), full)
    assert (outcome.state, outcome.attempted) == (state, attempted)
    assert outcome.unanswered == unanswered
    assert outcome.closed is (answer.fault in (Fault.CLOSED, Fault.RESET))
    assert (outcome.code, outcome.reason) == (judgement.code, judgement.reason)
    assert outcome.line is None
    comes_again = (judgement.verdict, state) == (Verdict.RETRY, State.QUEUED) and attempted
    assert outcome.delay == (1.0 if comes_again else 0.0)
    assert sum(outcome.failures_by_cause) == (judgement.verdict is Verdict.RETRY and attempted)


def test_the_delay_grows_with_every_try_of_the_run_whatever_its_cause() -> None:
    job = Job(1, "a", attempts=50, failures_by_cause=(1, 1, 1))
    answer = Answer(200, b'{"code":301}')
    outcome = unsaved(job, answer, judge(answer), RetryLimits(), full)
    assert (outcome.failures_by_cause, outcome.delay) == ((2, 1, 1), 8.0)


def test_the_last_attempt_of_a_run_exhausts_the_job() -> None:
    job = Job(1, "a", attempts=5, failures_by_cause=(5, 0, 0))
    answer = Answer(200, b'{"code":301}')
    outcome = unsaved(job, answer, judge(answer), RetryLimits(), full)
    assert (outcome.state, outcome.failures_by_cause, outcome.delay) == (
        State.EXHAUSTED,
        (6, 0, 0),
        0.0,
    )
    assert outcome.attempted


def test_a_stop_leaves_the_tries_as_they_were() -> None:
    job = Job(1, "a", failures_by_cause=(2, 2, 1))
    stop = Judgement(Verdict.STOP, 303, "quota", stop=StopReason.QUOTA)
    outcome = unsaved(job, Answer(429), stop, RetryLimits(), full)
    assert (outcome.state, outcome.failures_by_cause) == (State.QUEUED, (2, 2, 1))
