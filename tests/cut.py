"""A network that can be cut: a TCP proxy between a host and its database."""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
import threading
from typing import Self
from urllib.parse import urlsplit

_PATIENCE = 30.0
_CHUNK = 65_536


class Mode(enum.Enum):
    """What a cut looks like from the host."""

    BLACK_HOLE = enum.auto()
    """Nothing passes and nobody is told; what was sent meanwhile arrives when the cut is mended.
    New connections open and hear nothing. The system still acknowledges what is sent, so only a
    time limit of the program's own notices, not TCP keepalive."""
    RESET = enum.auto()
    """Connections are reset, on both sides; new ones are reset as soon as they come."""


class Cut:
    """A proxy on 127.0.0.1 to the server of a database's URL; `url` leads through it.

    What passes takes `delay` seconds each way.
    """

    delay = 0.0

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._mode: Mode | None = None
        self._transports: set[asyncio.WriteTransport] = set()
        self._served: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(_PATIENCE), "the proxy did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def url(self) -> str:
        """The database's URL, through the proxy."""
        account = self._target.netloc.rpartition("@")[0]
        place = f"127.0.0.1:{self.port}"
        return self._target._replace(netloc=f"{account}@{place}" if account else place).geturl()

    def cut(self, mode: Mode = Mode.BLACK_HOLE) -> None:
        """Cut the network; when this returns, nothing passes any more."""
        asyncio.run_coroutine_threadsafe(self._cut(mode), self._loop).result(_PATIENCE)

    def mend(self) -> None:
        """Let all pass again."""
        asyncio.run_coroutine_threadsafe(self._mend(), self._loop).result(_PATIENCE)

    def end(self) -> None:
        """Reset what is connected, and stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_PATIENCE)

    # In the proxy's thread

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending, self._open = asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await self._ending.wait()
        server.close()
        self._reset()
        await asyncio.sleep(0)  # sockets close in the loop's next turn

    async def _cut(self, mode: Mode) -> None:
        self._mode = mode
        self._open.clear()
        if mode is Mode.RESET:
            self._reset()

    async def _mend(self) -> None:
        self._mode = None
        self._open.set()

    def _reset(self) -> None:
        for transport in tuple(self._transports):
            _reset(transport)

    def _accept(self, reader: asyncio.StreamReader, host: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, host))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, host: asyncio.StreamWriter) -> None:
        self._transports.add(host.transport)
        try:
            if self._mode is not Mode.RESET:
                await self._open.wait()
                await self._join(reader, host)
        except* (
            OSError
        ):  # a broken connection is what this is for; the other end is told by a reset
            pass
        finally:
            self._transports.discard(host.transport)
            _reset(host.transport)

    async def _join(self, reader: asyncio.StreamReader, host: asyncio.StreamWriter) -> None:
        """Pass bytes both ways until both ends have closed, or one breaks."""
        place = (self._target.hostname, self._target.port or 5432)
        answers, database = await asyncio.open_connection(*place)
        self._transports.add(database.transport)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, database))
                both.create_task(self._pass(answers, host))
            database.close()
            host.close()
        finally:
            self._transports.discard(database.transport)
            _reset(database.transport)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes one way to the end; while the network is cut, hold both."""
        while chunk := await reader.read(_CHUNK):
            await self._open.wait()
            if self.delay:
                self._loop.call_later(self.delay, writer.write, chunk)
                continue
            writer.write(chunk)
            await writer.drain()
        await asyncio.sleep(self.delay)
        await self._open.wait()
        writer.write_eof()


def _reset(transport: asyncio.WriteTransport) -> None:
    """Break a connection so that the other end is told at once; one that is closing may finish."""
    if not transport.is_closing():
        held: socket.socket = transport.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
