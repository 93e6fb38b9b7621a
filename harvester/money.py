"""The words of money: what an account holds, why that is not told, and what a run spent of it."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import msgspec
from msgspec import Struct

from harvester.formatting import amount


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
        return f"{amount(self.amount)} {self.currency}".rstrip()


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
