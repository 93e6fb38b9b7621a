"""The vendor's balance around a run: never in its way, and nothing claimed that is not known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.engine.ports import Notice
from harvester.engine.run import Run
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import Answer, Fault, StopReason, Summary
from harvester.money import Agreement, Balance, Spending, Untold, Why, Word
from harvester.rules.account import read_balance
from harvester.rules.spending import last_known
from harvester.sides import Side
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi
from tests.flow.conftest import CONFIG, MIDNIGHT, PATH, Night, Upstream, note_ids

PRICE = Decimal("0.05")
SAME, MORE = Agreement.SAME, Agreement.MORE
Meddle = Callable[[Run], Any]


@dataclass
class Page:
    """The balance's page of a simulated account; `script` may answer in its place."""

    api: SimulatedApi
    latency: float = 0.01
    script: Callable[[int], Word | None] = lambda _nth: None
    is_late: bool = False
    asked: list[float] = field(default_factory=list)

    async def balance(self, seconds: float) -> Word:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        told = self.script(len(self.asked)) or self._word(now)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(self.latency)
        except TimeoutError:
            return Untold(Why.SLOW)
        return self._word(now) if self.is_late else told

    def _word(self, now: float) -> Word:
        reply = self.api.page("/user/get-balance", {"token": "t"}, MIDNIGHT + now)
        assert reply is not None
        return read_balance(Answer(reply.status, reply.body))


def account(**settings: Any) -> SimulatedApi:  # noqa: ANN401 - the simulator's own
    given = {"price": PRICE, "balance": Decimal(100), "latency": 0.0, "jitter": 0.0}
    return SimulatedApi(SimulatorSettings(**{**given, **settings}))


def harvested(
    night: Night,
    api: SimulatedApi,
    page: Page,
    many: int = 40,
    **how: Any,  # noqa: ANN401 - as Night.run
) -> tuple[Summary, Spending]:
    night.accounts = (page,)
    summary = night.run(note_ids(many), how.pop("upstream", Upstream(api)), **how)
    assert summary.spending is not None
    return summary, summary.spending


def test_what_the_account_paid_and_what_the_ledger_counted_are_the_same(night: Night) -> None:
    api = account()
    page = Page(api)
    summary, told = harvested(night, api, page)
    assert (told.agreement, told.spent, told.price) == (SAME, Decimal(2), PRICE)
    # It was asked before the first call and after the last, and counts as neither.
    assert (len(page.asked), summary.calls, api.charges()["calls"]) == (2, 40, 40)


def test_the_next_run_knows_the_price_and_says_how_far_the_balance_reaches(night: Night) -> None:
    api = account()
    harvested(night, api, Page(api))
    night.events.clear()
    night.run(note_ids(41), Upstream(api))
    (notice,) = [event for event in night.events if isinstance(event, Notice)]
    text = "the balance of 98.00 CNY reaches for about 1,960 calls at 0.05 each"
    assert notice == Notice("account", text)


@pytest.mark.parametrize("latency", [25.0, 40.0])
def test_a_slow_page_holds_no_call_up(night: Night, latency: float) -> None:
    api = account()
    page = Page(api, latency)
    summary, told = harvested(night, api, page)
    assert summary.elapsed < 2
    assert told.balances.before == Untold(Why.SLOW)
    assert told.agreement is Agreement.UNTOLD


def test_calls_sent_before_the_first_answer_are_known_to_be_doubtful(night: Night) -> None:
    api = account()
    _, told = harvested(night, api, Page(api, 0.03, is_late=True))
    assert (told.balances.early, told.agreement, told.difference) == (3, Agreement.FEWER, -3)
    assert "3 were under way when the balance was told" in str(told)


@pytest.mark.parametrize(("lag", "asked"), [(2.5, 4), (5.0, 5)])
def test_a_balance_that_lags_is_asked_for_again(night: Night, lag: float, asked: int) -> None:
    api = account(account_lag=lag)
    page = Page(api)
    _, told = harvested(night, api, page)
    assert (told.agreement, told.price, len(page.asked)) == (SAME, PRICE, asked)


def test_few_calls_at_half_of_the_price_are_no_price(night: Night) -> None:
    api = account(account_lag=1.5)
    page = Page(api)
    _, told = harvested(night, api, page, many=2, config=replace(CONFIG, rate=None))
    assert (told.agreement, told.price) == (SAME, PRICE)


def test_a_balance_is_waited_for_ten_seconds_at_most(night: Night) -> None:
    api = account(account_lag=3600.0)
    page = Page(api)
    summary, told = harvested(night, api, page)
    assert page.asked[-1] - summary.elapsed < 10
    assert (told.agreement, told.difference) == (Agreement.FEWER, -40)


def test_where_others_spend_no_price_and_no_agreement_is_claimed(night: Night) -> None:
    api = account()

    async def spend(_run: Run) -> None:
        await asyncio.sleep(0.3)
        api.top_up(Decimal("-0.85"), MIDNIGHT)

    _, told = harvested(night, api, Page(api), meddle=spend)
    assert (told.agreement, told.price, told.spent) == (Agreement.OTHERS, None, Decimal("2.85"))


def test_a_timeout_that_was_charged_explains_what_was_paid_more(night: Night) -> None:
    api = account()

    def script(_note: str, nth: int, now: float) -> Answer | None:
        if nth == 1 and now < 0.01:
            api.answer(PATH, {"token": "t", "noteId": _note}, MIDNIGHT + now)
            return Answer(fault=Fault.TIMEOUT, elapsed=0.1)
        return None

    upstream = Upstream(api, script=script)
    summary, told = harvested(night, api, Page(api), upstream=upstream)
    assert (told.agreement, told.price) == (MORE, PRICE)
    assert told.difference == summary.unanswered > 0


@pytest.mark.parametrize(
    ("word", "asked"),
    [(Untold(Why.NOT_THERE), 1), (Untold(Why.REFUSED), 1), (Untold(Why.ODD, "odd"), 1)],
)
def test_a_page_that_tells_nothing_is_not_asked_again(
    night: Night, word: Untold, asked: int
) -> None:
    api = account()
    page = Page(api, script=lambda _nth: word)
    summary, told = harvested(night, api, page)
    assert (summary.reason, told.balances.before, len(page.asked)) == ("done", word, asked)


def test_a_page_that_fails_once_at_the_end_is_asked_again(night: Night) -> None:
    api = account()
    page = Page(api, script=lambda nth: Untold(Why.UNREACHABLE) if nth == 2 else None)
    _, told = harvested(night, api, page)
    assert (told.agreement, len(page.asked)) == (SAME, 3)


def test_tokens_that_show_different_balances_tell_none(night: Night) -> None:
    api, other = account(), account(balance=Decimal(7))
    night.accounts = (Page(api), Page(other))
    summary = night.run(note_ids(4), Upstream(api))
    assert summary.spending is not None
    assert summary.spending.agreement is Agreement.UNTOLD
    night.accounts = (Page(api), Page(api))
    summary = night.run(note_ids(30), Upstream(api))
    assert summary.spending is not None
    assert summary.spending.agreement is SAME


def test_who_is_stopped_by_a_signal_waits_but_a_moment(night: Night) -> None:
    api = account(account_lag=3600.0)
    page = Page(api)

    async def stop(run: Run) -> None:
        await asyncio.sleep(0.3)
        run.stop(StopReason.SIGINT)

    summary, told = harvested(night, api, page, meddle=stop)
    assert (summary.reason, told.agreement) == ("SIGINT", Agreement.FEWER)
    assert page.asked[-1] < 3


def test_a_second_signal_does_not_wait_for_the_balance_at_all(night: Night) -> None:
    api = account()
    page = Page(api, script=lambda _nth: None)

    async def abort(run: Run) -> None:
        await asyncio.sleep(1)
        page.latency = 3600.0
        run.stop(StopReason.SIGINT)
        await asyncio.sleep(1.1)
        run.abort()
        assert asyncio.get_running_loop().time() < 2.2

    night.accounts = (page,)
    summary = night.run(note_ids(4), Upstream(api, latency=1.05), meddle=abort)
    assert summary.done == 4


def test_a_run_without_calls_asks_once_and_claims_nothing(night: Night) -> None:
    api = account()
    page = Page(api)
    night.accounts = (page,)
    summary = night.run([], Upstream(api))
    assert (summary.spending, len(page.asked)) == (None, 1)


def test_what_the_vendor_told_is_kept_for_the_next_run(night: Night) -> None:
    api = account()
    harvested(night, api, Page(api))
    ledger = SqliteLedger(Side.LEDGER.of(night.output), lambda: MIDNIGHT)
    kept = ledger.balances()
    ledger.close()
    known = last_known(kept)
    assert (known.price, known.balance) == (PRICE, Balance(Decimal(98), "CNY"))
