"""The fleet's crash simulation bites: each fault put into the product is caught by some seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harvester.ledger.postgres import adoption, claims, records, resilient, runs
from harvester.ledger.postgres.transaction import Row, Transaction
from harvester.ledger.protocol import RunRequest, StartedRun
from harvester.model import Job
from tests.crashes.fleet_play import Stage
from tests.crashes.fleet_story import story_of
from tests.crashes.test_fleet_crashes import problems

_MOST_SEEDS = 60
Mutation = Callable[[pytest.MonkeyPatch], None]


def record_ignores_claim_tokens(patch: pytest.MonkeyPatch) -> None:
    def held(_work: Transaction, jobs: Sequence[Job]) -> list[Row]:
        return [(job.seq, job.claim_id, 0, None) for job in jobs]

    patch.setattr(records, "held", held)


def adopted_lines_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adoption, "_pay", lambda *_: None)


def adopted_lines_leave_their_calls_unanswered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adoption, "_ANSWER", "SELECT %s, %s::bigint[], %s::bigint[]")


def calls_overtaken_by_another_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adoption, "_leave_out", lambda *_: None)


def mark_does_not_look(patch: pytest.MonkeyPatch) -> None:
    mark_sent = claims.mark_sent

    def mark_all(
        tx: Transaction, jobs: Sequence[Job], lease: float, tokens: Sequence[str]
    ) -> list[int]:
        mark_sent(tx, jobs, lease, tokens)
        return [job.seq for job in jobs]

    patch.setattr(claims, "mark_sent", mark_all)


def mark_heeds_no_stop(patch: pytest.MonkeyPatch) -> None:
    mark_sent = claims.mark_sent

    def mark_on(
        tx: Transaction, jobs: Sequence[Job], lease: float, tokens: Sequence[str]
    ) -> list[int]:
        return mark_sent(tx, jobs, lease, [f"not {token}" for token in tokens])

    patch.setattr(claims, "mark_sent", mark_on)


def lapsed_claims_forget_that_they_were_sent(patch: pytest.MonkeyPatch) -> None:
    lose = claims.lose

    def lose_unsent(tx: Transaction, rows: Sequence[Row], how: str) -> int:
        return lose(tx, [(*row[:3], None) for row in rows], how)

    patch.setattr(claims, "lose", lose_unsent)


def a_dead_run_forgets_what_it_sent(patch: pytest.MonkeyPatch) -> None:
    lose = claims.lose

    def lose_unsent(tx: Transaction, rows: Sequence[Row], how: str) -> int:
        return lose(tx, [(*row[:3], None) for row in rows], how)

    patch.setattr(runs, "lose", lose_unsent)


def a_beginning_run_loses_the_claims_of_all(patch: pytest.MonkeyPatch) -> None:
    begin = runs.begin_run

    def begin_alone(tx: Transaction, longest_delay: float, request: RunRequest) -> StartedRun:
        rows = tx.ask("SELECT seq, token, run, sent_at FROM claim")
        claims.lose(tx, [(*row[:3], None) for row in rows], "")
        return begin(tx, longest_delay, request)

    patch.setattr(runs, "begin_run", begin_alone)


def a_lost_answer_to_a_commit_means_once_more(patch: pytest.MonkeyPatch) -> None:
    tried = resilient._Attempted  # noqa: SLF001 - what is mutated

    def untried(_op: int, result: Any) -> Any:  # noqa: ANN401 - of any transaction
        return tried(-1, result)

    patch.setattr(resilient, "_Attempted", untried)


def what_is_not_sent_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    def release(tx: Transaction, jobs: Sequence[Job]) -> None:
        """Leave them all."""

    patch.setattr(claims, "release", release)
    patch.setattr(runs, "lose", lambda *_: 0)


# Each with a seed that catches it, tried first, as some take a rare turn of events.
MUTATIONS: dict[Mutation, int] = {
    record_ignores_claim_tokens: 2,
    adopted_lines_are_not_counted: 2,
    adopted_lines_leave_their_calls_unanswered: 2,
    calls_overtaken_by_another_are_forgotten: 140,
    mark_does_not_look: 2,
    mark_heeds_no_stop: 21,
    lapsed_claims_forget_that_they_were_sent: 17,
    a_dead_run_forgets_what_it_sent: 1,
    a_beginning_run_loses_the_claims_of_all: 0,
    a_lost_answer_to_a_commit_means_once_more: 20,
    what_is_not_sent_is_not_given_back: 0,
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_fault_put_into_the_fleet_is_caught_by_some_seed(
    mutation: Mutation, place: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    seeds = (MUTATIONS[mutation], *range(_MOST_SEEDS))
    assert any(problems(story_of(seed), place, stage) for seed in seeds)
