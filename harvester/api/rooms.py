"""Room for long answers, so that a thousand hostile ones cannot fill memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from harvester.threads import OneThread, Runner

T = TypeVar("T")

# An answer that is longer than each of these (bytes) takes room of that size, of which there is so
# much: what is made of an answer on its way to the disk is several times as long.
SIZES = (32 << 10, 256 << 10, 2 << 20)
_AT_ONCE = (64, 8, 1)


class Rooms:
    """What all answers of a run share: room, and the thread on which long ones are read.

    That thread is there before memory runs short; without it, each is read on one of its own.
    """

    def __init__(self, reading: Runner | None = None) -> None:
        self._reading = reading
        self._free = [asyncio.Semaphore(many) for many in _AT_ONCE]

    async def read(self, call: Callable[[], T]) -> T:
        """What a call gives that could hold the event loop up for longer than a turn.

        Raises UnforeseenError, as where there is no memory for it.
        """
        if self._reading is not None:
            return await self._reading.run(call)
        own = OneThread()
        try:
            return await own.run(call)
        finally:
            own.shutdown(wait=False)

    def hold(self) -> Hold:
        """What one answer takes of it: nothing at first."""
        return Hold(self._free)


class Hold:
    """The room that one answer has."""

    def __init__(self, free: list[asyncio.Semaphore]) -> None:
        self._free = free
        self._held = 0

    async def grow(self) -> None:
        """Wait for room of the next size; all do so in this order, so nobody waits in vain."""
        await self._free[self._held].acquire()
        self._held += 1

    async def grow_whole(self) -> None:
        """Wait for room for an answer of any length."""
        while self._held < len(SIZES):
            await self.grow()

    def shrink(self, length: int) -> None:
        """Give back what an answer of a length in bytes does not need."""
        while self._held and length <= SIZES[self._held - 1]:
            self._held -= 1
            self._free[self._held].release()

    def release(self) -> None:
        """Give all back: nothing of the answer is in memory any more."""
        self.shrink(0)
