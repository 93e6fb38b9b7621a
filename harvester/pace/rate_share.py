"""What a host may use of a rate that it shares with others: whole calls a period, for a while."""

from __future__ import annotations

import asyncio
from typing import Self

# So many seconds after the last grant, nothing is allowed; the granting side counts from later.
_NONE = float("-inf")


class RateShare:
    """The part of `calls` a period that is ours until a moment in loop seconds."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._granted = 0
        self._until = _NONE
        self._changed = asyncio.Event()

    @classmethod
    def whole(cls) -> Self:
        """A rate that nobody else has a part of."""
        share = cls(1)
        share.set(1, float("inf"))
        return share

    @property
    def part(self) -> float:
        """Our part of the whole, from 0 to 1."""
        return self._granted / self._calls

    def is_held(self, now: float) -> bool:
        """Whether any call is ours to start."""
        return self._granted > 0 and now < self._until

    def set(self, granted: int, until: float) -> None:
        """Take over what was granted anew."""
        self._granted, self._until = granted, until
        self._changed.set()

    async def wait(self) -> None:
        """Wait until a call is ours to start."""
        while not self.is_held(asyncio.get_running_loop().time()):
            self._changed.clear()
            await self._changed.wait()
