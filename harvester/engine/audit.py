"""Asks the vendor for the balance around a run's calls: in no limit, and never in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from harvester.engine.clients import mark_of
from harvester.engine.ports import BalanceSource, Notice, Ports
from harvester.engine.state import RunState
from harvester.errors import HarvesterError
from harvester.money import Agreement, Balance, Balances, Counted, Spending, Untold, Why, Word
from harvester.rules.codes import NO_CONTENT
from harvester.rules.spending import is_settled, last_known, reach_text, spending

# In seconds: what an answer may take, and after how long the balance is asked for again at the end,
# for it may lag. All of it fits in what the end may take.
_TIMEOUT = 30.0
_AGAIN_AFTER = (0.0, 1.0, 2.0, 3.0, 3.0)
_AGAIN_IN_FLEET = (0.0, 1.0)
_LONGEST_END, _HURRIED_END = 10.0, 2.0
# Asked again, these would say the same.
_FINAL = (Why.NOT_THERE, Why.REFUSED)


class Audit:
    """The vendor's word on what a run spends; `spending` is what is known of it so far.

    `price` is of a charged call: as it was said, or as earlier balances showed it.
    """

    def __init__(self, ports: Ports, state: RunState) -> None:
        self._ports = ports
        self._state = state
        self.price = ports.config.price
        self._balances = Balances()
        self._asked: BalanceSource | None = None
        self._is_shared = ports.config.fleet is not None
        self._opening: asyncio.Task[None] | None = None
        self.spending: Spending | None = None

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Ask for the balance as it is now, while the run goes on."""
        if self._ports.accounts:
            self._opening = group.create_task(self._open())

    async def end(self, group: asyncio.TaskGroup) -> None:
        """Ask again, now that no call is in flight; whoever is in a hurry waits but a moment."""
        if self._opening is None:
            return
        closing = group.create_task(self._close(self._opening))
        hurried = group.create_task(self._state.hurried())
        try:
            if not self._state.is_hurried:
                either = asyncio.FIRST_COMPLETED
                await asyncio.wait((closing, hurried), timeout=_LONGEST_END, return_when=either)
            if self._state.is_hurried:
                await asyncio.wait([closing], timeout=_HURRIED_END)
        finally:
            for task in (closing, hurried, self._opening):
                task.cancel()
        await asyncio.wait([closing, self._opening])
        if self._balances.before is None and self._state.spent.calls:
            self._judge(Balances(Untold(Why.SLOW)))
        await self._keep()

    async def _open(self) -> None:
        before = await self._before(self._ports.accounts)
        marks = sorted(mark_of(token.reveal()) for token in self._ports.config.tokens)
        tokens = " ".join(marks) if self._is_shared else ""
        self._balances = Balances(before, early=self._state.spent.calls, tokens=tokens)
        with suppress(HarvesterError):
            kept = await self._ports.thread.run(self._ports.ledger.balances)
            self.price = self.price or last_known(kept).price
        await self._keep()
        if isinstance(before, Balance):
            self._state.emit(Notice("account", reach_text(before, self.price)))

    async def _before(self, accounts: Sequence[BalanceSource]) -> Word:
        """The balance that all tokens show; they are of one account, or it cannot be told."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(account.balance(_TIMEOUT)) for account in accounts]
        told = [(account, task.result()) for account, task in zip(accounts, tasks, strict=True)]
        found = {word: account for account, word in told if isinstance(word, Balance)}
        if len(found) == 1:
            ((word, self._asked),) = found.items()
            return word
        return Untold(Why.ODD, "the tokens show different balances") if found else told[0][1]

    async def _close(self, opening: asyncio.Task[None]) -> None:
        await asyncio.wait([opening])
        if not self._state.spent.calls:
            return
        earlier, account = self._judge(self._balances), self._asked
        if account is None:
            return
        for delay in _AGAIN_IN_FLEET if self._is_shared else _AGAIN_AFTER:
            await asyncio.sleep(delay)
            after = await account.balance(_LONGEST_END)
            if isinstance(after, Untold) and isinstance(self._balances.after, Balance):
                continue
            told = self._judge(replace(self._balances, after=after))
            is_final = isinstance(after, Untold) and after.why in _FINAL
            if is_final or is_settled(told, earlier, self.price):
                return
            earlier = told

    def _judge(self, balances: Balances) -> Spending:
        self._balances = balances
        self.spending = spending(balances, self._counted(), self.price)
        if self._is_shared:
            # What the others spend meanwhile shows, too.
            self.spending = Spending(Agreement.SHARED, self.spending.counted, balances)
        return self.spending

    def _counted(self) -> Counted:
        spent = self._state.spent
        doubtful = self._state.by_code.get(str(NO_CONTENT), 0)
        return Counted(spent.charged, spent.unanswered, doubtful)

    async def _keep(self) -> None:
        """Write down what is known, for this run and the next; a full disk says so elsewhere."""
        if self.spending is not None:
            self._balances = replace(self._balances, price=self.spending.price)
        with suppress(HarvesterError):
            await self._ports.thread.run(self._ports.ledger.keep_balances, self._balances)
