"""The words of money: what an account holds, why that is not told, and what a run spent of it."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import msgspec
from msgspec import Struct

from harvester.formatting import amount, count

_EXPLAIN = "unanswered explains", "unanswered explain"
_SHARED = "hosts share the account: `harvester status` tells what it paid once all have ended"


class Why(Enum):
    """Why an account page told nothing; the value is the word shown."""

    NOT_THERE = "there is no such page"
    REFUSED = "the token is refused"
    SLOW = "no answer in time"
    UNREACHABLE = "out of reach"
    ODD = "the answer cannot be used"


class Untold(Struct, frozen=True, tag="untold"):
    """Nothing was told; `detail` is plain words."""

    why: Why
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.why.value} ({self.detail})" if self.detail else self.why.value


class Balance(Struct, frozen=True, tag="balance"):
    """What an account holds; the currency is empty where it was not told."""

    amount: Decimal
    currency: str = ""

    def __str__(self) -> str:
        return amount(self.amount, self.currency)


Word = Balance | Untold


class Balances(Struct, frozen=True, omit_defaults=True):
    """What the vendor told of the balance around a run, None while it was not asked.

    `early` calls had been sent when `before` came, so it may miss what they cost. `price` is of a
    charged call, as the two balances showed it, None where they did not. `tokens` tell a fleet's
    hosts apart that may have another account.
    """

    before: Word | None = None
    after: Word | None = None
    early: int = 0
    price: Decimal | None = None
    tokens: str = ""

    def as_text(self) -> str:
        """The same as a ledger keeps it."""
        return msgspec.json.encode(self).decode()


def read_balances(text: str | None) -> Balances:
    """What a ledger kept; nothing where that is of another version."""
    try:
        return msgspec.json.decode(text or "{}", type=Balances)
    except msgspec.ValidationError:
        return Balances()


class Counted(Struct, frozen=True):
    """What the ledger counted of a run: calls charged, those that may be, and those perhaps not."""

    charged: int
    unanswered: int = 0
    doubtful: int = 0


class Agreement(Enum):
    """How the ledger and the vendor's balance go together; the value is the word in JSON."""

    SAME = "same"
    FEWER = "fewer"
    MORE = "more"
    OTHERS = "others"
    SHARED = "shared"
    TOP_UP = "top-up"
    CURRENCY = "currency"
    UNTOLD = "untold"


class Spending(Struct, frozen=True):
    """What a run spent, by the vendor's word.

    `spent` is how far the balance fell, None where it cannot be told; `price` is of a call, None
    where the balances do not show it. The vendor took money for `difference` calls more than the
    ledger counted, or fewer if it is below 0; None where that cannot be told.
    """

    agreement: Agreement
    counted: Counted
    balances: Balances
    spent: Decimal | None = None
    price: Decimal | None = None
    difference: int | None = None

    @property
    def currency(self) -> str:
        """The account's currency, empty where it was not told."""
        held = self.balances.before
        return held.currency if isinstance(held, Balance) else ""

    def __str__(self) -> str:
        if self.agreement is Agreement.SHARED:
            return _SHARED
        if self.spent is None:
            return _unknown(self)
        counted, difference = self.counted, self.difference or 0
        paid = amount(self.spent, self.currency)
        calls = count(counted.charged, "call")
        ledger = f"the {counted.charged:,} that the ledger counted{_each(self)}"
        texts = {
            Agreement.SAME: f"the account paid {paid} for {calls}{_each(self)}; the ledger agrees",
            Agreement.FEWER: f"the account paid {paid}: {count(-difference, 'call')} fewer than "
            f"{ledger}{_why_fewer(self)}",
            Agreement.MORE: f"the account paid {paid}: {count(difference, 'call')} more than "
            f"{ledger}; the {count(counted.unanswered, *_EXPLAIN)} that",
            Agreement.OTHERS: f"the balance fell by {paid}{_too_many(self)}: {_others(self)}",
        }
        if self.spent:
            return texts[self.agreement]
        if not counted.charged:
            return "the account paid nothing; the ledger agrees"
        return f"the balance did not change, though the ledger counted {calls} as charged"


def _too_many(told: Spending) -> str:
    """How many calls more were paid for than anything here explains."""
    if not told.difference:
        return ""
    more = f", {count(told.difference, 'call')} more than the ledger counted"
    if not told.counted.unanswered:
        return more
    return f"{more}, of which at most {told.counted.unanswered:,} unanswered are explained"


def _each(told: Spending) -> str:
    return "" if told.price is None else f" ({told.price.normalize():f} each)"


def _others(told: Spending) -> str:
    """What may be why nothing fits."""
    early = "" if told.difference or not told.balances.early else f"{_under_way(told)}, or "
    return f"{early}others seem to spend from it, so what these calls cost cannot be told"


def _under_way(told: Spending) -> str:
    calls = "one was" if told.balances.early == 1 else f"{told.balances.early:,} were"
    return f"{calls} under way when the balance was told"


def _why_fewer(told: Spending) -> str:
    """What may explain calls that were counted and not paid for."""
    reasons = [_under_way(told)] if told.balances.early else []
    if told.counted.doubtful:
        reasons.append(f"{told.counted.doubtful:,} with code 201 may be free")
    return f"; {' and '.join(reasons)}" if reasons else ""


def _unknown(told: Spending) -> str:
    before, after = told.balances.before, told.balances.after
    if isinstance(before, Balance) and isinstance(after, Balance):
        if told.agreement is Agreement.CURRENCY:
            changed = f"the account changed from {before.currency} to {after.currency}"
            return f"{changed}: what was spent cannot be told"
        grew = amount(after.amount - before.amount, after.currency)
        return f"the balance grew by {grew}, as by a top-up: what was spent cannot be told"
    when, word = ("before", before) if not isinstance(before, Balance) else ("after", after)
    why = f": {word}" if isinstance(word, Untold) else ""
    return f"the vendor told no balance {when} the calls{why}"
