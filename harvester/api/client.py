"""The client: one request in, one Answer out; the only holder of the token."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from harvester.api.deadline import Deadline
from harvester.api.decoding import decoded
from harvester.model import Answer, Fault

# A real answer is about 3 KB; nothing a note can hold comes near this.
MOST_BYTES = 2 << 20
# Bodies longer than this wait their turn, so that a thousand hostile ones cannot fill memory.
_SMALL_BYTES = 32 << 10
_LARGE_AT_ONCE = 4
# What a connection holds before it is read, in aiohttp and in the system: a thousand make little.
_BUFFER_BYTES = 16 << 10
# Reaching the server takes no longer than this, in seconds, or it cannot be reached.
_CONNECT_TIMEOUT = 30.0
_BASE_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([1-9]\d{0,4}))?(?:/[A-Za-z0-9._~/%-]*)?"
)
_LAST_PORT = 65535
# An answer may have some of HTTP's "100 Continue" before it, but never so many.
_MOST_HEADS = 16


@dataclass(frozen=True)
class Target:
    """Where calls go. The token is in no repr and in no message."""

    base_url: str
    path: str
    token: str = field(repr=False)
    accept_cache: bool = False

    @property
    def host(self) -> str:
        """The host and port that are called."""
        return urlsplit(self.base_url).netloc

    def url(self, note_id: str) -> URL:
        """The URL of one note: the only place where the token is written into anything."""
        if not (note_id.isascii() and note_id.isalnum()):
            note_id = quote(note_id, safe="")
        return URL(self._before_id + note_id, encoded=True)

    @cached_property
    def _before_id(self) -> str:
        cache = "acceptCache=true&" if self.accept_cache else ""
        query = f"token={quote(self.token, safe='')}&{cache}noteId="
        return f"{self.base_url}{self.path}?{query}"


def check_base_url(text: str) -> str:
    """A base URL without its last slash; raises ValueError for what cannot be one."""
    match = _BASE_URL.fullmatch(text)
    if match is None or int(match[1] or 1) > _LAST_PORT:
        raise ValueError(
            "is not like https://api.justoneapi.com: give scheme, host, perhaps port and path, and "
            "nothing else."
        )
    return text.rstrip("/")


class Client:
    """Calls one endpoint; never raises for what the server said or did."""

    def __init__(self, session: aiohttp.ClientSession, target: Target, deadline: Deadline) -> None:
        self._session = session
        self._deadline = deadline
        self._target = target
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def fetch(self, note_id: str) -> Answer:
        """Ask for one note."""
        began = time.perf_counter()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        self._deadline.begin(task)
        try:
            answer = await self._ask(note_id, began)
        except asyncio.CancelledError:
            if not self._deadline.is_late(task):
                raise
            answer = Answer(fault=Fault.TIMEOUT, elapsed=time.perf_counter() - began)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault, detail = _fault_of(error, self._target.host)
            answer = Answer(fault=fault, detail=detail, elapsed=time.perf_counter() - began)
        finally:
            self._deadline.end(task)
        return answer

    async def _ask(self, note_id: str, began: float) -> Answer:
        # Redirects are never followed: they would carry the token to another host.
        async with self._session.get(self._target.url(note_id), allow_redirects=False) as response:
            body = await self._read(response)
            elapsed = time.perf_counter() - began
            if body is None:
                response.close()
                return Answer(response.status, fault=Fault.TOO_LARGE, elapsed=elapsed)
            headers = response.headers
            return Answer(
                response.status,
                body,
                headers.get("Retry-After"),
                elapsed=elapsed,
                location=headers.get("Location"),
            )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The whole body, decoded; None if it is longer than any note."""
        length = response.content_length
        if length is not None and length > MOST_BYTES:
            return None
        if length is not None and length <= _SMALL_BYTES:
            return _plain(await response.read(), response)
        chunks: list[bytes] = []
        if await self._read_up_to(response, chunks, _SMALL_BYTES):
            return _plain(b"".join(chunks), response)
        async with self._large:
            if await self._read_up_to(response, chunks, MOST_BYTES):
                return _plain(b"".join(chunks), response)
        return None

    async def _read_up_to(
        self, response: aiohttp.ClientResponse, chunks: list[bytes], most: int
    ) -> bool:
        """Read on until the body ends (True) or is longer than `most` bytes (False)."""
        size = sum(map(len, chunks))
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                return False
        return True


def _plain(body: bytes, response: aiohttp.ClientResponse) -> bytes | None:
    return decoded(body, response.headers.get("Content-Encoding", ""), MOST_BYTES)


def _fault_of(error: BaseException, host: str) -> tuple[Fault, str]:
    """What kept an answer from arriving, and the detail."""
    match error:
        case _UnaskedError():
            fault = Fault.NO_CONNECTION, f"{host} spoke before it was asked"
        case aiohttp.ConnectionTimeoutError():
            fault = Fault.NO_CONNECTION, f"connecting to {host} took too long"
        case aiohttp.ClientConnectorError():
            fault = Fault.NO_CONNECTION, f"{host}: {_plain_reason(error)}"
        case TimeoutError():
            fault = Fault.TIMEOUT, ""
        case aiohttp.ClientError() | OSError() if not isinstance(
            error, aiohttp.ClientResponseError
        ):
            fault = Fault.BROKEN, _plain_reason(error)
        case _:
            fault = Fault.MALFORMED, "not HTTP as it should be"
    return fault


def _plain_reason(error: BaseException) -> str:
    """An error in words of our own: the library's messages may hold the URL, and so the token."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "the server's certificate is not trusted"
    if isinstance(cause, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return type(cause).__name__


class _UnaskedError(aiohttp.ClientConnectionError):
    """The server said something before it was asked, so it would be taken for the answer."""


class _Wire(ResponseHandler):
    """A connection that ends when the server heaps up answers nobody asked for."""

    def data_received(self, data: bytes) -> None:
        """Take in what the server says."""
        super().data_received(data)
        if len(self._buffer) > _MOST_HEADS:
            self._buffer.clear()
            self.set_exception(aiohttp.ServerDisconnectedError("too many answers"))
            if self.transport is not None:
                self.transport.abort()


def _narrow_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that gives asyncio little at a time: it would read 256 KiB at once."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    return made


class _Connector(aiohttp.TCPConnector):
    """Gives no connection on which something was said since the last answer.

    aiohttp would take it for the answer to the next call: one note's data as another's.
    """

    def __init__(self) -> None:
        super().__init__(
            limit=0, ttl_dns_cache=300, keepalive_timeout=30, socket_factory=_narrow_socket
        )
        wire: Callable[..., ResponseHandler] = _Wire
        self._factory = partial(wire, loop=self._loop)  # no public switch; tests hold this one

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as aiohttp has it
    ) -> Connection:
        """Give a connection that is silent, and so fit for a call."""
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if protocol is not None and protocol.should_close:
            connection.close()
            raise _UnaskedError
        return connection


@asynccontextmanager
async def calling(target: Target, timeout: float) -> AsyncIterator[Client]:  # noqa: ASYNC109
    """A client with its connections; `timeout` in seconds bounds each call as a whole."""
    async with aiohttp.ClientSession(
        connector=_Connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, _CONNECT_TIMEOUT)),
        auto_decompress=False,
        read_bufsize=_BUFFER_BYTES,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    ) as session:
        # aiohttp repeats a GET by itself when a kept-alive connection is reset; that could be a
        # second charged call nobody counted. It has no public switch; a test holds this one.
        session._retry_connection = False  # noqa: SLF001
        yield Client(session, target, Deadline(timeout))
