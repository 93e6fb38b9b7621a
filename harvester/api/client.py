"""The client: one request in, one Answer out; the only holder of the token."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property, partial
from urllib.parse import quote, urlsplit

import aiohttp
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from harvester.api.connections import Connections, UnaskedError, connecting
from harvester.api.deadline import Deadline
from harvester.api.decoding import decoded
from harvester.api.proxy import Proxy, unused_proxy
from harvester.api.reply import MOST_BYTES, Reply
from harvester.api.rooms import Hold, Rooms
from harvester.api.wire import End, Wire
from harvester.descriptors import has_none_for_a_name
from harvester.model import Answer, Fault, Start
from harvester.rules.envelope import is_json
from harvester.secret import Secret

# A connection that was idle for longer (seconds) may have been ended by the server meanwhile.
_IDLE = 0.001
# For longer than this, and a reset is most likely for being idle.
_LONG_IDLE = 0.5
_ALIVE = re.compile(r"\btimeout\s*=\s*(\d{1,6})\b", re.IGNORECASE)
_HEADERS = "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: harvester\r\n"

_UNTRUSTED = (
    "the server's certificate is not trusted: name a file of those that are in SSL_CERT_FILE "
    '(on macOS, with the Python of python.org: run its "Install Certificates.command")'
)
_CUT = (Fault.BROKEN, Fault.TIMEOUT)


class Target(Struct, frozen=True, dict=True):
    """Where calls go, and through which proxy. The token is in no repr and in no message.

    `parameter` names what is asked for; without one nothing is, and without a token none is shown.
    """

    base_url: str
    path: str
    token: Secret[str] | None
    accept_cache: bool = False
    proxy: Proxy | None = None
    parameter: str = "noteId"

    @property
    def host(self) -> str:
        """The host and port that are called."""
        return urlsplit(self.base_url).netloc

    def request(self, note_id: str) -> Secret[bytes]:
        """What is sent to ask for one: the only place where the token is written into anything."""
        if not (note_id.isascii() and note_id.isalnum()):
            note_id = quote(note_id, safe="")
        around = self._around_id
        return Secret(note_id.encode("ascii").join(around.reveal()))

    @cached_property
    def _around_id(self) -> Secret[tuple[bytes, bytes]]:
        token = "" if self.token is None else f"token={quote(self.token.reveal(), safe='')}"
        cache = "acceptCache=true" if self.accept_cache else ""
        asked = f"{self.parameter}=" if self.parameter else ""
        query = "&".join(filter(None, (token, cache, asked)))
        url = urlsplit(self.base_url)
        place, proxied = quote(f"{url.path}{self.path}", safe="/%~"), Secret("")
        if self.proxy is not None and url.scheme == "http":
            place = f"http://{self.host}{place}"
            if (told := self.proxy.authorization) is not None:
                proxied = Secret(f"Proxy-Authorization: {told.reveal()}\r\n")
        after = f" HTTP/1.1\r\nHost: {self.host}\r\n{_HEADERS}"
        ending = f"{after}{proxied.reveal()}\r\n".encode("ascii")
        return Secret((f"GET {place}?{query}".encode(), ending))


class Client:
    """Calls one endpoint; never raises for what the server said or did."""

    def __init__(
        self, connections: Connections, target: Target, deadline: Deadline, rooms: Rooms
    ) -> None:
        self._connections = connections
        self._deadline = deadline
        self._target = target
        self._rooms = rooms

    async def fetch(self, note_id: str, start: Start) -> Answer | None:
        """Ask for one note as soon as `start` allows it; None if it does not, and nothing is sent.

        `start` is asked once there is a connection: what it allows is sent at that moment. Where
        that is not fit any more it gives None, and is asked again with another.
        """
        while True:
            try:
                wire = await self._connections.take()
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return _unreached(error, self._target)
            try:
                # Its server may hang up while the turn is waited for.
                may_start = await start(partial(self._connections.is_fit, wire))
            except asyncio.CancelledError:
                wire.close()
                raise
            if may_start:
                hold = self._rooms.hold()
                try:
                    return await self._ask(note_id, wire, hold)
                except BaseException:
                    # Others wait for it.
                    hold.release()
                    raise
            if may_start is not None:
                self._connections.put_back(wire)
                return None
            wire.close()

    async def _ask(self, note_id: str, wire: Wire, hold: Hold) -> Answer:
        began = time.perf_counter()
        idle = wire.idle if wire.is_used else 0.0
        self._deadline.begin(wire)
        try:
            end = await wire.ask(self._target.request(note_id), watched=idle > _IDLE)
            while end is End.FULL:
                await hold.grow()
                end = await wire.read_on()
        except asyncio.CancelledError:
            wire.close()
            raise
        finally:
            self._deadline.end(wire)
        elapsed = time.perf_counter() - began
        answer = self._answer(wire, end, idle, elapsed, hold)
        encoding = wire.reply.header(b"content-encoding") or ""
        self._connections.put(wire)
        if answer.body is None or (not encoding and answer.body.lstrip()[:1] == b"{"):
            return answer
        return await self._unpacked(answer, answer.body, encoding, hold)

    async def _unpacked(self, answer: Answer, body: bytes, encoding: str, hold: Hold) -> Answer:
        """An answer without compression that nobody asked for, in a thread: it may be a bomb."""
        await hold.grow_whole()
        plain = await self._rooms.read(partial(decoded, body, encoding, MOST_BYTES))
        if plain is None:
            return replace(answer, body=None, fault=Fault.TOO_LARGE)
        hold.shrink(len(plain))
        return replace(answer, body=plain)

    def _answer(self, wire: Wire, end: End, idle: float, elapsed: float, hold: Hold) -> Answer:
        """What an answer is, as far as it was read."""
        reply = wire.reply
        fault, detail = _fault_of(wire, reply, end)
        if end is End.LOST and not reply.has_begun and idle > _IDLE:
            fault, detail = self._closed(wire, idle, (fault, detail))
        body: bytes | None = None
        if not reply.is_too_long and fault not in (Fault.CLOSED, Fault.RESET):
            body = reply.body()
            if fault in _CUT and reply.status and body[:1] == b"{" and is_json(body):
                # JSON says itself where it ends: only the framing was wrong.
                fault, detail = None, ""
        if alive := _ALIVE.search(reply.header(b"keep-alive") or ""):
            self._connections.limit.learn(float(alive[1]), wire.idle_since)
        return Answer(
            reply.status or None,
            body,
            reply.header(b"retry-after"),
            fault,
            detail,
            elapsed,
            location=reply.header(b"location"),
            date=reply.header(b"date"),
            release=hold.release,
        )

    def _closed(
        self, wire: Wire, idle: float, otherwise: tuple[Fault | None, str]
    ) -> tuple[Fault | None, str]:
        """What it means that a connection ended under a request after it had been idle."""
        self._connections.limit.learn(idle, wire.idle_since + idle)
        if wire.was_taken is False:
            return Fault.CLOSED, "the server never took the request"
        if wire.was_taken is None and idle > _LONG_IDLE:
            return Fault.RESET, "most likely before the server took the request"
        return otherwise


def _fault_of(wire: Wire, reply: Reply, end: End) -> tuple[Fault | None, str]:
    """What kept an answer from arriving whole, and the detail."""
    if reply.is_too_long:
        return Fault.TOO_LARGE, ""
    if reply.is_malformed:
        return Fault.MALFORMED, "not HTTP as it should be"
    if reply.is_whole:
        return None, ""
    if end is End.LATE:
        return Fault.TIMEOUT, ""
    return Fault.BROKEN, "the server hung up" if wire.error is None else _plain_reason(wire.error)


def _unreached(error: BaseException, target: Target) -> Answer:
    """An answer that says why nothing could be sent."""
    number = getattr(getattr(error, "os_error", error), "errno", None)
    # Who looks names up, and has no descriptor for it, says that there is no such name.
    is_short = isinstance(error, aiohttp.ClientConnectorDNSError) and has_none_for_a_name()
    if is_short or number in (errno.EMFILE, errno.ENFILE):
        return Answer(fault=Fault.NO_DESCRIPTOR, detail=os.strerror(errno.EMFILE))
    proxy = target.proxy
    place = target.host if proxy is None else f"the proxy {proxy.place}"
    match error:
        case aiohttp.ClientHttpProxyError(status=407):
            return Answer(407, b"")
        case aiohttp.ClientHttpProxyError():
            detail = f"{place} answers HTTP {error.status}"
        case UnaskedError():
            detail = f"{target.host} spoke before it was asked"
        case aiohttp.ConnectionTimeoutError() | TimeoutError():
            detail = f"connecting to {place} took too long"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            detail = f"{target.host}: {_plain_reason(error)}"
        case _:
            detail = f"{place}: {_plain_reason(error)}"
    if proxy is None:
        detail += unused_proxy(target.base_url)
    return Answer(fault=Fault.NO_CONNECTION, detail=detail)


def _plain_reason(error: BaseException) -> str:
    """An error in words of our own, whatever the library says."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError | ssl.CertificateError) or isinstance(
        error, aiohttp.ClientConnectorCertificateError
    ):
        return _UNTRUSTED
    if isinstance(cause, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return type(cause).__name__


@asynccontextmanager
async def calling(
    target: Target,
    timeout: float,  # noqa: ASYNC109 - bounds each call, not this
    rooms: Rooms,
) -> AsyncIterator[Client]:
    """A client with its connections; `timeout` in seconds bounds each call as a whole."""
    async with connecting(URL(target.base_url), timeout, target.proxy) as connections:
        yield Client(connections, target, Deadline(timeout), rooms)
