"""The fleet's crash simulation bites: each fault put into the product is caught by some seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.ledger.postgres import adoption, claims, records, runs
from harvester.ledger.postgres.claims import _SEND, lose
from harvester.ledger.postgres.records import _RECORD
from harvester.ledger.postgres.transaction import Row, Transaction
from harvester.ledger.protocol import RunRequest, Sent, StartedRun
from harvester.model import Job
from harvester.rules.turns import Turns
from tests.contract.fleet import Stage
from tests.crashes.fleet_story import story_of
from tests.crashes.test_fleet_crashes import problems

_MOST_SEEDS = 60
Mutation = Callable[[pytest.MonkeyPatch], None]


def record_ignores_claim_tokens(patch: pytest.MonkeyPatch) -> None:
    ours = "FROM claim JOIN given USING (seq, claim_id)"
    assert ours in _RECORD
    anybodys = "FROM claim RIGHT JOIN given USING (seq)"
    patch.setattr(records, "_RECORD", _RECORD.replace(ours, anybodys))


def adopted_lines_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adoption, "_COUNT", "SELECT %(part)s")


def adopted_lines_leave_their_calls_unanswered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adoption, "_ANSWER", "SELECT %(part)s, %(seqs)s::bigint[]")


def mark_does_not_look(patch: pytest.MonkeyPatch) -> None:
    sent_of = claims.sent_of

    def all_of(rows: Sequence[Row], jobs: Sequence[Job], turns: Turns) -> Sent:
        return replace(sent_of(rows, jobs, turns), jobs=list(jobs), kept=[])

    patch.setattr(claims, "sent_of", all_of)


def mark_heeds_no_stop(patch: pytest.MonkeyPatch) -> None:
    blind = _SEND.replace("FROM standing WHERE", "FROM standing WHERE false AND")
    patch.setattr(claims, "_SEND", blind)


def unsent(where: str, *, sent_at: str = "", skip: str = "") -> str:
    return lose(where, sent_at="NULL::bigint", skip=skip)


def lapsed_claims_forget_that_they_were_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "lose", unsent)


def a_dead_run_forgets_what_it_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runs, "lose", unsent)


def a_beginning_run_loses_the_claims_of_all(patch: pytest.MonkeyPatch) -> None:
    begin = runs.begin_run

    def begin_alone(
        tx: Transaction, longest_delay: float, request: RunRequest, tokens: Sequence[str]
    ) -> StartedRun:
        tx.ask(unsent("true"), {"how": ""})
        return begin(tx, longest_delay, request, tokens)

    patch.setattr(runs, "begin_run", begin_alone)


def a_lost_answer_to_a_commit_means_once_more(patch: pytest.MonkeyPatch) -> None:
    unasked = property(lambda _: False, lambda *_: None)
    patch.setattr(Transaction, "has_asked", unasked, raising=False)


def what_is_not_sent_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    def release(tx: Transaction, jobs: Sequence[Job]) -> None:
        """Leave them all."""

    patch.setattr(claims, "release", release)
    patch.setattr(runs, "lose", lambda _where: "SELECT 0")


# Each with a seed that catches it, tried first, as some take a rare turn of events.
MUTATIONS: dict[Mutation, int] = {
    record_ignores_claim_tokens: 46,
    adopted_lines_are_not_counted: 49,
    adopted_lines_leave_their_calls_unanswered: 49,
    mark_does_not_look: 39,
    mark_heeds_no_stop: 39,
    lapsed_claims_forget_that_they_were_sent: 29,
    a_dead_run_forgets_what_it_sent: 29,
    a_beginning_run_loses_the_claims_of_all: 29,
    a_lost_answer_to_a_commit_means_once_more: 5,
    what_is_not_sent_is_not_given_back: 21,
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_fault_put_into_the_fleet_is_caught_by_some_seed(
    mutation: Mutation, place: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    seeds = (MUTATIONS[mutation], *range(_MOST_SEEDS))
    assert any(problems(story_of(seed), place, stage) for seed in seeds)
