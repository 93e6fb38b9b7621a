"""What a run spent, held against what the ledger counted: nothing is claimed that may be false."""

from __future__ import annotations

from decimal import Decimal

import pytest

from harvester.money import Agreement, Balance, Balances, Counted, Spending, Untold, Why
from harvester.rules.spending import calls_left, in_all, is_settled, spending, without_gaps

SAME, FEWER, MORE = Agreement.SAME, Agreement.FEWER, Agreement.MORE
OTHERS, TOP_UP, CURRENCY = Agreement.OTHERS, Agreement.TOP_UP, Agreement.CURRENCY


def fell(by: str, early: int = 0) -> Balances:
    return Balances(
        Balance(Decimal("500.0000"), "CNY"), Balance(Decimal(500) - Decimal(by), "CNY"), early
    )


@pytest.mark.parametrize(
    ("by", "counted", "known", "agreement", "price", "difference"),
    [
        # By themselves the sums show a price as prices are, or none.
        ("148.20", Counted(2964), None, SAME, "0.05", 0),
        ("444.60", Counted(2964), None, SAME, "0.15", 0),
        ("0.75", Counted(100), None, SAME, "0.0075", 0),
        ("0.10", Counted(2), None, SAME, "0.05", 0),
        ("0", Counted(0), None, SAME, None, 0),
        ("0", Counted(0, unanswered=3), None, SAME, None, 0),
        # One of the unanswered was charged.
        ("148.25", Counted(2964, unanswered=3), None, MORE, "0.05", 1),
        ("148.35", Counted(2964, unanswered=3), None, MORE, "0.05", 3),
        ("148.20", Counted(2964, unanswered=3), None, SAME, "0.05", 0),
        # "No content" may be free.
        ("148.10", Counted(2964, doubtful=2), None, FEWER, "0.05", -2),
        # Others spend: never a price, and never an agreement.
        ("158.20", Counted(2964), None, OTHERS, None, None),
        ("158.20", Counted(2964, unanswered=3), None, OTHERS, None, None),
        ("102.00", Counted(2000), None, OTHERS, None, None),
        ("100.07", Counted(2000), None, OTHERS, None, None),
        ("0.35", Counted(0), None, OTHERS, None, None),
        # One charged call at 0.10, or two at 0.05?
        ("0.10", Counted(1, unanswered=1), None, OTHERS, None, None),
        # With a known price all is counted in calls.
        ("0.10", Counted(1, unanswered=1), "0.05", MORE, "0.05", 1),
        ("0.10", Counted(1, unanswered=1), "0.1", SAME, "0.1", 0),
        ("0.10", Counted(0, unanswered=2), "0.05", MORE, "0.05", 2),
        ("160.00", Counted(2964), "0.05", OTHERS, None, 236),
        ("160.00", Counted(2964, unanswered=3), "0.05", OTHERS, None, 236),
        ("160.01", Counted(2964), "0.05", OTHERS, None, None),
        ("0.20", Counted(2), "0.05", OTHERS, None, 2),
        ("148.10", Counted(2964), "0.05", FEWER, "0.05", -2),
        # The price is another one by now; over few calls that may be chance.
        ("444.60", Counted(2964), "0.05", SAME, "0.15", 0),
        ("0.30", Counted(2), "0.05", OTHERS, None, 4),
    ],
)
def test_what_the_balance_fell_by_is_held_against_what_was_counted(
    by: str,
    counted: Counted,
    known: str | None,
    agreement: Agreement,
    price: str | None,
    difference: int | None,
) -> None:
    told = spending(fell(by), counted, None if known is None else Decimal(known))
    assert (told.agreement, told.difference, told.spent) == (agreement, difference, Decimal(by))
    assert told.price == (None if price is None else Decimal(price))


def test_a_balance_that_did_not_fall_shows_no_price() -> None:
    told = spending(fell("0"), Counted(20), Decimal("0.05"))
    assert (told.agreement, told.price, told.difference) == (FEWER, None, -20)


def test_calls_under_way_when_the_balance_was_told_may_be_missing_in_it() -> None:
    told = spending(fell("148.15", early=2), Counted(2964))
    assert (told.agreement, told.price, told.difference) == (FEWER, Decimal("0.05"), -1)
    assert spending(fell("0.10", early=1), Counted(2)).price == Decimal("0.05")


def test_a_top_up_and_another_currency_are_told_apart() -> None:
    assert spending(fell("-100"), Counted(20)).agreement is TOP_UP
    changed = Balances(Balance(Decimal(5), "CNY"), Balance(Decimal(1), "USD"))
    assert spending(changed, Counted(20)).agreement is CURRENCY


@pytest.mark.parametrize(
    "balances",
    [
        Balances(),
        Balances(Untold(Why.NOT_THERE)),
        Balances(Balance(Decimal(1), "CNY"), Untold(Why.SLOW)),
    ],
)
def test_without_two_balances_nothing_is_known(balances: Balances) -> None:
    told = spending(balances, Counted(20), Decimal("0.05"))
    assert (told.agreement, told.spent, told.price) == (Agreement.UNTOLD, None, None)


@pytest.mark.parametrize(
    ("by", "counted", "known", "settled"),
    [
        ("148.20", Counted(2964), None, True),
        ("0.10", Counted(2), "0.05", True),
        ("0", Counted(0), None, True),
        # Half of so few calls would look the same at half the price.
        ("0.10", Counted(2), None, False),
        # The unanswered may still be charged.
        ("148.20", Counted(2964, unanswered=1), None, False),
        ("148.25", Counted(2964, unanswered=1), None, False),
        # A balance that lags.
        ("147.45", Counted(2964), "0.05", False),
        ("147.45", Counted(2964), None, False),
        ("0", Counted(20), None, False),
        ("160.00", Counted(2964), "0.05", False),
    ],
)
def test_the_balance_is_asked_for_again_until_it_shows_all_calls(
    by: str, counted: Counted, known: str | None, *, settled: bool
) -> None:
    price = None if known is None else Decimal(known)
    told = spending(fell(by), counted, price)
    assert is_settled(told, None, price) is settled
    # What fits and has come to rest will do; what does not fit is waited for.
    assert is_settled(told, told, price) is (told.agreement in {SAME, MORE})


def test_a_balance_reaches_for_whole_calls() -> None:
    assert calls_left(Balance(Decimal("123.45")), Decimal("0.15")) == 823
    assert calls_left(Balance(Decimal(-1)), Decimal("0.15")) == 0
    assert calls_left(Balance(Decimal(1)), None) is None


def test_all_runs_are_added_up_each_by_its_own_price() -> None:
    runs = [
        spending(fell("1.00"), Counted(20)),
        spending(Balances(Untold(Why.SLOW)), Counted(20)),
        spending(fell("3.15"), Counted(20, unanswered=1)),
    ]
    whole = in_all(runs)
    assert whole is not None
    assert (whole.spent, whole.counted) == (Decimal("4.15"), Counted(40, 1))
    assert (whole.agreement, whole.difference, whole.price) == (MORE, 1, None)
    assert in_all([]) is None


def test_where_others_spent_in_one_run_the_whole_is_not_known_either() -> None:
    whole = in_all([spending(fell("1.00"), Counted(20)), spending(fell("9.99"), Counted(20))])
    assert whole is not None
    assert whole.agreement is OTHERS


def test_what_a_run_that_died_left_is_what_the_next_one_found() -> None:
    first, second = Balances(Balance(Decimal(9))), fell("1")
    assert without_gaps([first, second]) == [
        Balances(Balance(Decimal(9)), second.before),
        second,
    ]
    assert without_gaps([Balances(), second]) == [Balances(), second]


def text(by: str, counted: Counted, known: str | None = None) -> str:
    return str(spending(fell(by), counted, None if known is None else Decimal(known)))


def test_each_agreement_has_a_sentence() -> None:
    assert text("148.20", Counted(2964)) == (
        "the account paid 148.20 CNY for 2,964 calls (0.05 each); the ledger agrees"
    )
    assert text("148.25", Counted(2964, unanswered=3)) == (
        "the account paid 148.25 CNY: 1 call more than the 2,964 that the ledger counted (0.05 "
        "each); the 3 unanswered explain that"
    )
    assert text("148.10", Counted(2964, doubtful=2)) == (
        "the account paid 148.10 CNY: 2 calls fewer than the 2,964 that the ledger counted (0.05 "
        "each); 2 with code 201 may be free"
    )
    assert text("160.00", Counted(2964, unanswered=3), "0.05") == (
        "the balance fell by 160.00 CNY, 236 calls more than the ledger counted, of which at most "
        "3 unanswered are explained: others seem to spend from it, so what these calls cost cannot "
        "be told"
    )
    assert text("0", Counted(20)).startswith("the balance did not change")
    assert text("0", Counted(0)) == "the account paid nothing; the ledger agrees"
    assert text("-100", Counted(20)).startswith("the balance grew by 100.00 CNY, as by a top-up")


def test_a_balance_that_was_not_told_says_when_and_why() -> None:
    refused = Spending(Agreement.UNTOLD, Counted(1), Balances(Untold(Why.NOT_THERE, "code 404")))
    assert str(refused) == (
        "the vendor told no balance before the calls: there is no such page (code 404)"
    )
    died = Spending(Agreement.UNTOLD, Counted(1), Balances(Balance(Decimal(1))))
    assert str(died) == "the vendor told no balance after the calls"
