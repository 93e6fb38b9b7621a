"""The connections to one server: kept as long as they are good, newest first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from harvester.api.proxy import Proxy
from harvester.api.wire import PIECE, Wire
from harvester.rules.idle import IdleLimit

# Reaching the server takes no longer than this, in seconds, or it cannot be reached.
_CONNECT_TIMEOUT = 30.0
# A host name that moves is followed: its address, and connections, are used for so many seconds.
_ADDRESS_HOLDS = 60
_LONGEST_LIFE = 300.0


class UnaskedError(aiohttp.ClientConnectionError):
    """The server said something before it was asked, so it would be taken for the answer."""


class Connections:
    """A stack of idle connections to an origin, perhaps through a proxy."""

    def __init__(
        self, connector: aiohttp.TCPConnector, origin: URL, timeout: float, proxy: Proxy | None
    ) -> None:
        self._connector = connector
        self._origin = origin
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(sock_connect=min(timeout, _CONNECT_TIMEOUT))
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(PIECE))
        self._idle: deque[Wire] = deque()
        self.limit = IdleLimit()

    async def take(self) -> Wire:
        """The connection that was used last, which may not be fit any more; else a new one.

        Raises aiohttp.ClientError or OSError where there is none to be had.
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
        # The token is in no part of this: it cannot be in an error of the library.
        request = aiohttp.ClientRequest("GET", self._origin, loop=self._loop, **self._by_proxy())
        try:
            connection = await self._connector.connect(request, [], self._timeout)
        except (aiohttp.ClientError, OSError):
            self._connector.clear_dns_cache()
            raise
        if connection.protocol is None or connection.protocol.should_close:
            connection.close()
            raise UnaskedError
        return Wire(connection, self._view, self._died)

    def _by_proxy(self) -> dict[str, Any]:
        if self._proxy is None:
            return {}
        told = self._proxy.authorization
        headers = None if told is None else {"Proxy-Authorization": told.reveal()}
        return {"proxy": URL(f"http://{self._proxy.place}"), "proxy_headers": headers}

    def _died(self, wire: Wire) -> None:
        """A server ended a connection that was idle: that is how long it keeps one."""
        self.limit.learn(wire.idle, self._loop.time())


@asynccontextmanager
async def connecting(
    origin: URL,
    timeout: float,  # noqa: ASYNC109 - bounds each connecting, not this
    proxy: Proxy | None = None,
) -> AsyncIterator[Connections]:
    """The connections to an origin; `timeout` in seconds bounds the making of each."""
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=_ADDRESS_HOLDS, force_close=True)
    async with connector:
        yield Connections(connector, origin, timeout, proxy)
