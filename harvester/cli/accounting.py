"""What `harvester account` does: ask for each token, and tell what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from harvester.api.account import AccountPages
from harvester.cli.telling import say, tell
from harvester.config import RunConfig
from harvester.formatting import count
from harvester.model import StopReason
from harvester.money import Balance, Untold, Why, Word
from harvester.tokens import COPY_AGAIN

# The vendor's days are China's.
VENDORS_DAY = ZoneInfo("Asia/Shanghai")
_TIMEOUT = 30.0


class _Told(Struct, frozen=True):
    """What was told of one token."""

    balance: Word
    calls_today: int | Untold

    @property
    def is_good(self) -> bool | None:
        """Whether the vendor took the token; None where that was not told."""
        if isinstance(self.balance, Balance) or isinstance(self.calls_today, int):
            return True
        return False if self.balance.why is Why.REFUSED else None

    @property
    def problem(self) -> str | None:
        return None if isinstance(self.balance, Balance) else str(self.balance)

    def as_dict(self) -> dict[str, Any]:
        """The same for `--json`."""
        held = self.balance if isinstance(self.balance, Balance) else None
        return {
            "good": self.is_good,
            "balance": held and held.amount,
            "currency": held and held.currency,
            "callsToday": self.calls_today if isinstance(self.calls_today, int) else None,
            "problem": self.problem,
        }


def asked(config: RunConfig) -> int:
    """Ask, and print it; gives the exit code."""
    day = f"{datetime.now(VENDORS_DAY):%Y-%m-%d}"
    told = asyncio.run(_ask(config, day))
    for number, one in enumerate(told, 1):
        for line in _lines(one, day):
            say(line if len(told) == 1 else f"token {number} of {len(told)}: {line}")
    tokens = [one.as_dict() for one in told]
    tell({**tokens[0], "good": _are_good(told), "day": day, "tokens": tokens})
    reason = {True: StopReason.DONE, False: StopReason.REFUSED, None: StopReason.UPSTREAM}
    return reason[_are_good(told)].exit_code


async def _ask(config: RunConfig, day: str) -> list[_Told]:
    async def one(pages: AccountPages) -> _Told:
        # One after the other: what refuses a token need not be asked twice at once.
        balance = await pages.balance(_TIMEOUT)
        if isinstance(balance, Untold) and balance.why is not Why.NOT_THERE:
            return _Told(balance, balance)
        return _Told(balance, await pages.usage(day, _TIMEOUT))

    redaction = config.redaction
    pages = [AccountPages(config.base_url, t, redaction, config.proxy) for t in config.tokens]
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(one(each)) for each in pages]
    return [task.result() for task in asking]


def _are_good(told: Sequence[_Told]) -> bool | None:
    found = {one.is_good for one in told}
    return next(answer for answer in (False, None, True) if answer in found)


def _lines(told: _Told, day: str) -> Iterator[str]:
    if told.is_good:
        yield "the token is good"
    elif told.is_good is None:
        yield "whether the token is good cannot be told: `harvester doctor` looks closer"
    if isinstance(told.balance, Balance):
        yield f"balance: {told.balance}"
    else:
        remedy = f": {COPY_AGAIN}" if told.is_good is False else ""
        yield f"balance: not told: {told.problem}{remedy}"
    if isinstance(told.calls_today, int):
        yield f"today ({day} in Shanghai): {count(told.calls_today, 'call')} by the vendor's count"
