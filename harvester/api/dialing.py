"""Reaches one server: looks its name up and connects, through a proxy and over TLS if need be."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from harvester.api.proxy import Proxy

P = TypeVar("P", bound=asyncio.BaseProtocol)

_PORTS = {"http": 80, "https": 443}
# Of a host's addresses the next is tried beside the one before after so many seconds.
_NEXT_ADDRESS = 0.25
# A host name that moves is followed: its addresses are used for so many seconds.
_ADDRESSES_HOLD = 60.0
# What a proxy says before the tunnel is open is no longer than this, in bytes.
_MOST_HEAD = 64 << 10


class ProxyError(OSError):
    """The proxy opens no tunnel; `status` is what it answers."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class Dialer:
    """The way to an origin, perhaps through a proxy; `seconds` bounds each connecting."""

    def __init__(self, origin: str, seconds: float, proxy: Proxy | None = None) -> None:
        self._origin = urlsplit(origin)
        self._seconds = seconds
        self._proxy = proxy
        self._tls: ssl.SSLContext | None = None
        if self._origin.scheme == "https":
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Future[Sequence[AddrInfoType]] | None = None
        self._found_at = 0.0

    async def dial(self, make: Callable[[], P]) -> P:
        """A protocol of what `make` gives, connected. Raises OSError, or ValueError for the name.

        The token is in no part of this: it cannot be in an error.
        """
        server = self._origin if self._proxy is None else urlsplit(f"http://{self._proxy.place}")
        try:
            async with asyncio.timeout(self._seconds):
                addresses = await self._addresses(server)
                reached = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)
                try:
                    if self._tls is not None and self._proxy is not None:
                        await self._open_tunnel(reached, self._proxy)
                except BaseException:
                    reached.close()
                    raise
                name = None if self._tls is None else (self._origin.hostname or "").rstrip(".")
                _, protocol = await self._loop.create_connection(
                    make, sock=reached, ssl=self._tls, server_hostname=name
                )
                return protocol
        except OSError:
            self._found = None
            raise

    async def _addresses(self, server: SplitResult) -> Sequence[AddrInfoType]:
        """Where a server is: looked up once for all who ask."""
        host, port = server.hostname or "", server.port or _PORTS[server.scheme]

        def look_up(flags: int = 0) -> Sequence[AddrInfoType]:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)

        try:
            return look_up(socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        now = self._loop.time()
        if self._found is None or now > self._found_at + _ADDRESSES_HOLD:
            self._found, self._found_at = self._loop.run_in_executor(None, look_up), now
            # Nobody may be left who asks.
            self._found.add_done_callback(lambda found: found.cancelled() or found.exception())
        return await asyncio.shield(self._found)

    async def _open_tunnel(self, reached: socket.socket, proxy: Proxy) -> None:
        place = f"{self._origin.hostname}:{self._origin.port or _PORTS['https']}"
        asked = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
        if proxy.authorization is not None:
            asked += f"Proxy-Authorization: {proxy.authorization.reveal()}\r\n"
        await self._loop.sock_sendall(reached, f"{asked}\r\n".encode("ascii"))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD:
            more = await self._loop.sock_recv(reached, _MOST_HEAD)
            if not more:
                raise ConnectionResetError
            head += more
        words = head.split(None, 2)
        if words[1:2] != [b"200"]:
            status = words[1].decode("latin-1") if len(words) > 1 else ""
            raise ProxyError(int(status) if status.isdigit() else 0)
