"""The one place that says whether and why a run is stopping."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from harvester.model import StopReason

# Somebody waits for the end of these: not even the input is read to its end.
_PROMPT = frozenset(
    {
        StopReason.SIGINT,
        StopReason.SIGTERM,
        StopReason.CANCELLED,
        StopReason.LOCAL_IO,
        StopReason.INPUT,
    }
)


class Stop:
    """A latch: the first reason given is the reason."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.detail = ""
        self._set = asyncio.Event()
        self._hurried = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether the run is stopping: nothing new may be sent."""
        return self.reason is not None

    def set(self, reason: StopReason, detail: str = "", *, at_once: bool = False) -> None:
        """Stop the run, for the first reason that is given; `at_once` input is not read on."""
        if self.reason is None:
            self.reason, self.detail = reason, detail
        if at_once or reason in _PROMPT:
            self._hurried.set()
        self._set.set()

    async def wait(self) -> None:
        """Wait until nothing new may be sent."""
        await self._set.wait()

    async def wait_at_most(self, seconds: float) -> None:
        """Wait for so long, but no longer than new calls may be sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._set.wait()

    async def wait_hurried(self) -> None:
        """Wait until not even the input is to be read on."""
        await self._hurried.wait()
