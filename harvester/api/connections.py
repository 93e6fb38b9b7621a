"""The connections to one server: kept as long as they are good, newest first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from harvester.api.dialing import Dialer
from harvester.api.proxy import Proxy
from harvester.api.wire import PIECE, Wire
from harvester.rules.idle import IdleLimit

P = TypeVar("P", bound=asyncio.BaseProtocol)

# Reaching the server takes no longer than this, in seconds, or it cannot be reached.
_CONNECT_TIMEOUT = 30.0
_LONGEST_LIFE = 300.0


class UnaskedError(OSError):
    """The server said something before it was asked, so it would be taken for the answer."""


class Dial(Protocol):
    """What reaches the server: see `Dialer.dial`."""

    async def __call__(self, make: Callable[[], P]) -> P:
        """A protocol of what `make` gives, connected."""


class Connections:
    """A stack of idle connections to an origin."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(PIECE))
        self._idle: deque[Wire] = deque()
        self.limit = IdleLimit()

    async def take(self) -> Wire:
        """The connection that was used last, which may not be fit any more; else a new one.

        Raises OSError or ValueError where there is none to be had.
        """
        return self._idle.pop() if self._idle else await self._connect()

    def is_fit(self, wire: Wire) -> bool:
        """Whether a connection is good for a call that is sent now."""
        return self._is_young(wire, self._loop.time()) and wire.is_silent()

    def put(self, wire: Wire) -> None:
        """Keep a connection for the next call, if it is good for one."""
        if not wire.rest():
            wire.close()
            return
        self._idle.append(wire)
        # It may be too old itself by now: each call takes a while, and the process may stand still.
        while self._idle and not self._is_young(self._idle[0], wire.idle_since):
            self._idle.popleft().close()

    def put_back(self, wire: Wire) -> None:
        """Keep a connection that was not used after all."""
        self._idle.append(wire)

    def _is_young(self, wire: Wire, now: float) -> bool:
        is_fresh = now - wire.idle_since <= self.limit.seconds(now)
        return is_fresh and now - wire.born <= _LONGEST_LIFE

    async def _connect(self) -> Wire:
        wire = await self._dial(lambda: Wire(self._view, self._died))
        if not wire.is_open:
            raise UnaskedError
        return wire

    def close(self) -> None:
        """End those that are idle."""
        for wire in self._idle:
            wire.close()

    def _died(self, wire: Wire) -> None:
        """A server ended a connection that was idle: that is how long it keeps one."""
        self.limit.learn(wire.idle, self._loop.time())


@asynccontextmanager
async def connecting(
    origin: str,
    timeout: float,  # noqa: ASYNC109 - bounds each connecting, not this
    proxy: Proxy | None = None,
) -> AsyncIterator[Connections]:
    """The connections to an origin; `timeout` in seconds bounds the making of each."""
    kept = Connections(Dialer(origin, min(timeout, _CONNECT_TIMEOUT), proxy).dial)
    try:
        yield kept
    finally:
        kept.close()
