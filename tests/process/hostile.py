"""A server that says whatever bytes a test wants, right or wrong, as an HTTP library would not."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from tests.process.threaded import PATIENCE, Streams

# Endless is this long, so that a client that never has enough fails instead of hanging.
_MOST_FLOOD = 512 << 20
_BLOCK = 64 << 10
_LINGER_RESET = struct.pack("ii", 1, 0)

Behaviour = Callable[["Talk", str], Awaitable[None]]


def body_of(note_id: str) -> bytes:
    """The body of a good answer."""
    return json.dumps({"code": 0, "message": "ok", "data": {"noteId": note_id}}).encode()


def head(*lines: str, status: str = "200 OK") -> bytes:
    """The head of an answer."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines, "")).encode()


def whole(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """An answer in good order."""
    return head(*lines, f"Content-Length: {len(body)}", status=status) + body


class Talk:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.requests = 0

    async def hear(self) -> str | None:
        """The note id of the next request; None once the client has gone, or speaks no HTTP."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if await self._reader.readexactly(1) != b"G":
                await self.say(whole(b"plain HTTP only", status="400 Bad Request"))
                return None
            request = await self._reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            target = request.split(b" ", 2)[1].decode()
            return parse_qs(urlsplit(target).query).get("noteId", [""])[0]
        return None

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def flood(self, unit: bytes) -> None:
        """Say it over and over, for as long as the client listens."""
        block = unit * (_BLOCK // len(unit) + 1)
        for _ in range(_MOST_FLOOD // len(block)):
            await self.say(block)

    async def drip(self, unit: bytes) -> None:
        """Say it a little at a time, always soon enough to look alive."""
        while not await self.gone(0.02):
            await self.say(unit)

    async def gone(self, seconds: float = PATIENCE) -> bool:
        """Say nothing for a time; tells whether the client has left in it."""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(seconds):
                return not await self._reader.read(1)
        return False

    def hang_up(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """End the connection as a crashed machine does: RST, not FIN."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    @property
    def is_over(self) -> bool:
        return self._writer.is_closing()


class Hostile(Streams):
    """A raw server: `behave` is given each request; without it, all answers are good.

    `calls` counts the requests by note, `connections` what was accepted.
    """

    def __init__(
        self, behave: Behaviour | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(context)
        self._behave = behave
        self.calls: Counter[str] = Counter()
        self.connections = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = Talk(reader, writer)
        while not talk.is_over and (note_id := await talk.hear()) is not None:
            self.calls[note_id] += 1
            if self._behave is None:
                await talk.say(whole(body_of(note_id)))
            else:
                await self._behave(talk, note_id)
