"""What a run spent: the vendor's balance before and after it, held against what was counted.

Two sums tell little where others spend from the same account. So a price is only believed where
the sums divide into one as prices are, and what does not fit is said not to be known.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import astuple, replace

from harvester.formatting import count
from harvester.money import Agreement, Balance, Balances, Counted, Spending

# As prices are: of two decimals; those below a few cents may be finer.
_DECIMALS, _MOST_DECIMALS, _HALF, _SMALL = 2, 4, 5, Decimal("0.05")
# Over so many calls no two sums divide evenly by chance, or because a balance lags.
_TELLING = 20
# More prices than these are not tried.
_MOST_TRIED = 1000
_FIT = frozenset({Agreement.SAME, Agreement.MORE, Agreement.FEWER})


def spending(balances: Balances, counted: Counted, known: Decimal | None = None) -> Spending:
    """Returns what a run spent; `known` is the price of a call, by option or from an earlier run.

    Decides by calls, not by money: what the balance fell by, over the price.
    """
    before, after = balances.before, balances.after
    told = Spending(Agreement.UNTOLD, counted, balances)
    if not isinstance(before, Balance) or not isinstance(after, Balance):
        return told
    if before.currency != after.currency:
        return replace(told, agreement=Agreement.CURRENCY)
    spent = before.amount - after.amount
    if spent < 0:
        return replace(told, agreement=Agreement.TOP_UP)
    told = replace(told, spent=spent)
    if not spent:
        # As it should be where nothing was charged; else a price does not show.
        agreement = Agreement.FEWER if counted.charged else Agreement.SAME
        return replace(told, agreement=agreement, difference=-counted.charged)
    return _by_price(told, spent, _price(spent, balances.early, counted, known) or known)


def _by_price(told: Spending, spent: Decimal, price: Decimal | None) -> Spending:
    paid = None if not price else spent / price
    if paid is None or paid != paid.to_integral_value():
        return replace(told, agreement=Agreement.OTHERS)
    difference = int(paid) - told.counted.charged
    if difference > told.counted.unanswered:
        return replace(told, agreement=Agreement.OTHERS, difference=difference)
    return replace(told, agreement=_agreement(difference), price=price, difference=difference)


def _agreement(difference: int) -> Agreement:
    if difference:
        return Agreement.MORE if difference > 0 else Agreement.FEWER
    return Agreement.SAME


def _price(spent: Decimal, early: int, counted: Counted, known: Decimal | None) -> Decimal | None:
    """The price that these sums show by themselves, if they show one; a known one goes before.

    Few calls may fit by chance where others spend: they do not overrule what is known.
    """
    charged = counted.charged
    if known and _fits(spent / known, early, counted):
        return known
    if known:
        return _one_of(spent, [charged]) if charged >= _TELLING else None
    likely = range(max(1, charged - counted.doubtful), charged + counted.unanswered + 1)
    possible = range(max(1, likely.start - early), likely.stop)
    return _one_of(spent, likely) or _one_of(spent, possible)


def _fits(paid: Decimal, early: int, counted: Counted) -> bool:
    least = counted.charged - counted.doubtful - early
    return paid == paid.to_integral_value() and least <= paid <= (
        counted.charged + counted.unanswered
    )


def _one_of(spent: Decimal, numbers: Iterable[int]) -> Decimal | None:
    """The price at which one of so many calls comes to a sum; None where several do, or none."""
    prices = [(spent / calls).normalize() for calls in [*numbers][:_MOST_TRIED] if calls]
    plain = [price for price in prices if _decimals(price) <= _DECIMALS]
    plain = plain or [price for price in prices if _is_fine(price)]
    return plain[0] if len(plain) == 1 else None


def _is_fine(price: Decimal) -> bool:
    """Whether it is like 0.0075 or 0.003; 0.051 is what 0.05 looks like where others spend."""
    digits = price.as_tuple().digits
    is_round = len(digits) == 1 or (len(digits) == _DECIMALS and digits[-1] == _HALF)
    return is_round and price < _SMALL and _decimals(price) <= _MOST_DECIMALS


def _decimals(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else _MOST_DECIMALS + 1


def is_settled(told: Spending, earlier: Spending | None, known: Decimal | None) -> bool:
    """Whether the balance need not be asked for again: it shows all calls, and has come to rest."""
    explained = told.balances.early + told.counted.doubtful
    fewer = -(told.difference or 0) if told.agreement is Agreement.FEWER else 0
    if told.agreement not in _FIT or fewer > explained:
        return False
    is_sure = bool(known) or told.counted.charged >= _TELLING or not told.counted.charged
    if told.agreement is Agreement.SAME and not told.counted.unanswered and is_sure:
        return True
    return earlier is not None and earlier.balances.after == told.balances.after


def calls_left(balance: Balance, price: Decimal | None) -> int | None:
    """How many charged calls a balance reaches for, None without a price."""
    return None if not price else max(0, int(balance.amount / price))


def reach_text(balance: Balance, price: Decimal | None) -> str:
    """How far a balance reaches, in words."""
    calls = calls_left(balance, price)
    if calls is None or price is None:
        return f"the balance is {balance}"
    reach = f"reaches for about {count(calls, 'call')} at {price.normalize():f} each"
    return f"the balance of {balance} {reach}"


class LastKnown(Struct, frozen=True):
    """What earlier runs left: the price that was learnt last, and the last balance."""

    price: Decimal | None = None
    balance: Balance | None = None


def last_known(runs: Iterable[Balances]) -> LastKnown:
    """Returns what runs, the latest first, know by now."""
    runs = [*runs]
    words = (word for run in runs for word in (run.after, run.before))
    return LastKnown(
        next((run.price for run in runs if run.price), None),
        next((word for word in words if isinstance(word, Balance)), None),
    )


def in_all(runs: Iterable[Spending]) -> Spending | None:
    """Returns what all runs spent of which that is known, as if they were one; None without any."""
    known = [run for run in runs if run.spent is not None]
    if not known:
        return None
    counted = Counted(
        *(sum(column) for column in zip(*(astuple(run.counted) for run in known), strict=True))
    )
    spent = sum((run.spent for run in known if run.spent is not None), Decimal(0))
    currencies, prices = {run.currency for run in known}, {run.price for run in known if run.price}
    balances = replace(
        known[-1].balances,
        before=known[0].balances.before,
        early=sum(run.balances.early for run in known),
    )
    whole = Spending(Agreement.OTHERS, counted, balances, spent)
    if len(currencies) > 1:
        return replace(whole, agreement=Agreement.CURRENCY, spent=None)
    if any(run.agreement is Agreement.OTHERS for run in known):
        return whole
    difference = sum(run.difference or 0 for run in known)
    return replace(
        whole,
        agreement=_agreement(difference),
        price=prices.pop() if len(prices) == 1 else None,
        difference=difference,
    )


def without_gaps(runs: list[Balances]) -> list[Balances]:
    """The balances around runs in their order; of one that died, the next one's tells the end."""
    following = [*runs[1:], Balances()]
    return [
        run if run.after is not None or run.before is None else replace(run, after=later.before)
        for run, later in zip(runs, following, strict=False)
    ]
