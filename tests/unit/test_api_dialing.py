"""How a server is reached: its name looked up, its addresses tried, a proxy asked for a tunnel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from harvester.api import dialing
from harvester.api.dialing import Dialer, ProxyError
from harvester.api.proxy import Proxy
from tests.process.tool import refusing


@contextmanager
def listening() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


class Names:
    """Stands in for the system's looking up of names; numbers are left to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
        self.asked = 0
        self.addresses = addresses
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, port: int, **more: Any) -> list[Any]:  # noqa: ANN401 - its own
        if host != "api.example" or more["flags"]:
            return self._real(host, port, **more)
        self.asked += 1
        return [info for place in self.addresses for info in self._real(*place, **more)]


async def reach(dialer: Dialer) -> bool:
    """Whether the server can be reached."""
    try:
        protocol = await dialer.dial(Kept)
    except OSError:
        return False
    assert protocol.transport is not None
    protocol.transport.abort()
    return True


class Kept(asyncio.Protocol):
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


def test_a_name_is_looked_up_once_for_all_who_ask_and_anew_a_minute_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(port: int) -> None:
        names = Names(monkeypatch, ("127.0.0.1", port))
        dialer = Dialer("http://api.example", 30)
        assert await asyncio.gather(*(reach(dialer) for _ in range(20))) == [True] * 20
        assert names.asked == 1
        monkeypatch.setattr(dialing, "_ADDRESSES_HOLD", 0.0)
        assert await reach(dialer)
        assert names.asked == 2

    with listening() as port:
        asyncio.run(main(port))


def test_a_server_that_moved_is_found_where_its_name_is_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(port: int, gone: int) -> None:
        names = Names(monkeypatch, ("127.0.0.1", gone))
        dialer = Dialer("http://api.example", 30)
        assert not await reach(dialer)
        names.addresses = (("127.0.0.1", port),)
        assert await reach(dialer)
        assert names.asked == 2

    with listening() as port, refusing() as gone:
        asyncio.run(main(port, gone))


def test_of_several_addresses_one_that_takes_us_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(port: int, gone: int) -> None:
        Names(monkeypatch, ("127.0.0.1", gone), ("127.0.0.1", port))
        assert await reach(Dialer("http://api.example", 30))

    with listening() as port, refusing() as gone:
        asyncio.run(main(port, gone))


def test_a_name_that_is_none_ends_in_an_error_for_each_who_asked() -> None:
    async def main() -> list[bool]:
        dialer = Dialer("http://no.such.name.invalid", 30)
        return await asyncio.gather(*(reach(dialer) for _ in range(3)))

    assert asyncio.run(main()) == [False] * 3


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n", 407),
        (b"HTTP/1.0 502\r\n\r\n", 502),
        (b"SSH-2.0-x\r\n\r\n", 0),
        (b"x" * 70_000, 0),
        (b"\r\n\r\n", 0),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_told_by_its_status(said: bytes, status: int) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        proxy = Proxy("127.0.0.1:{}".format(server.sockets[0].getsockname()[1]))
        with pytest.raises(ProxyError) as found:
            await Dialer("https://api.example", 30, proxy).dial(Kept)
        assert found.value.status == status
        server.close()

    asyncio.run(main())


def test_a_proxy_that_hangs_up_or_says_nothing_cannot_be_reached() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async def main(silent: int) -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for place, seconds, kind in ((port, 30, ConnectionError), (silent, 0.1, TimeoutError)):
            with pytest.raises(kind):
                await Dialer("https://a.b", seconds, Proxy(f"127.0.0.1:{place}")).dial(Kept)
        server.close()

    with listening() as silent:
        asyncio.run(main(silent))
