"""Servers of the tests' own: each on an event loop in a thread, until it is ended."""

from __future__ import annotations

import asyncio
import ssl
import threading
from abc import ABC, abstractmethod
from typing import Self

PATIENCE = 60.0


class Threaded(ABC):
    """A server in a thread; `serve` is to call `ready` once it listens, and end after `ending`."""

    def __init__(self) -> None:
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self.ending = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.ending.set)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda *_: None)  # TLS failing is what tests want
        try:
            self.loop.run_until_complete(self.serve())
        finally:
            self.loop.close()

    @abstractmethod
    async def serve(self) -> None:
        """Serve until it is ended."""

    def ready(self, port: int) -> None:
        self.port = port
        self._ready.set()


class Streams(Threaded):
    """One that talks on streams, each of which is aborted at the end."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._context = context
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        self.ready(server.sockets[0].getsockname()[1])
        await self.ending.wait()
        server.close()
        for writer in self._writers:
            if not writer.is_closing():
                writer.transport.abort()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            await self.talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # Who talked has gone.
            pass
        finally:
            writer.close()

    @abstractmethod
    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk on a connection until it has had enough."""
