"""Asks the vendor's pages about an account, one connection each: they are no calls of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from harvester.api.client import Target, calling
from harvester.api.proxy import Proxy
from harvester.api.redaction import Redaction
from harvester.api.rooms import Rooms
from harvester.errors import UnforeseenError
from harvester.model import Answer, Fault
from harvester.money import Untold, Word
from harvester.rules.account import read_balance, read_usage
from harvester.secret import Secret

_BALANCE, _USAGE = "/user/get-balance", "/user/get-usage-summary"


class AccountPages(Struct, frozen=True):
    """The pages of the account that a token belongs to; what they tell is masked by `redaction`."""

    base_url: str
    token: Secret[str]
    redaction: Redaction
    proxy: Proxy | None = None

    async def balance(self, seconds: float) -> Word:
        """Ask for the balance, for so many seconds at most; never raises for what came of it."""
        return read_balance(await self._ask(_BALANCE, seconds), self.redaction.said)

    async def usage(self, day: str, seconds: float) -> int | Untold:
        """Ask for the calls of a day (2026-11-27); as `balance`."""
        return read_usage(await self._ask(_USAGE, seconds), day, self.redaction.said)

    async def _ask(self, path: str, seconds: float) -> Answer:
        target = Target(self.base_url, path, self.token, proxy=self.proxy, parameter="")
        return await ask(target, "", seconds)


async def ask(target: Target, value: str, seconds: float) -> Answer:
    """One question to a server, for so many seconds at most, resolving its name included."""
    try:
        async with asyncio.timeout(seconds), calling(target, seconds, Rooms()) as client:
            answer = await client.fetch(value, _at_once)
    except TimeoutError:
        return Answer(fault=Fault.TIMEOUT)
    except UnforeseenError:
        return Answer(fault=Fault.TOO_LARGE, detail="no memory is left for it")
    return answer or Answer(fault=Fault.NO_CONNECTION)


async def _at_once(is_fit: Callable[[], bool]) -> bool | None:
    return is_fit() or None
