"""A small HTTP proxy on loopback: it tunnels, or passes on, and may take its time about it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from tests.process.threaded import Streams

_BLOCK = 64 << 10


class Proxy(Streams):
    """`heads` are what it was asked, `latency` seconds are put before each block.

    With `wanted` it passes on only who brings that as Proxy-Authorization. Without a proxy's
    request, all goes to `always`, a port of this machine.
    """

    def __init__(self, wanted: str = "", latency: float = 0.0, always: int = 0) -> None:
        super().__init__()
        self._wanted, self._latency, self._always = wanted, latency, always
        self.heads: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._always:
            there = await asyncio.open_connection("127.0.0.1", self._always)
            await self._between(reader, writer, *there)
            return
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self._wanted and f"Proxy-Authorization: {self._wanted}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, _ = head.split(" ", 2)
        place = target if method == "CONNECT" else urlsplit(target).netloc
        there = await asyncio.open_connection("127.0.0.1", int(place.rpartition(":")[2]))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        else:
            there[1].write(head.encode())
        await self._between(reader, writer, *there)

    async def _between(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        there = asyncio.create_task(self._pass_on(reader, far_writer))
        back = asyncio.create_task(self._pass_on(far_reader, writer))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            far_writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while block := await reader.read(_BLOCK):
                await asyncio.sleep(self._latency)
                writer.write(block)
                await writer.drain()
