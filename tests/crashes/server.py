"""The API of a story, called by the program's own client: through sockets, on virtual time."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import aiohttp
from msgspec.structs import replace
from yarl import URL

from harvester.api.client import Client, Target
from harvester.api.connections import Connections
from harvester.api.deadline import Deadline
from harvester.api.rooms import Rooms
from harvester.model import Answer, Fault, Start
from harvester.secret import Secret
from tests.crashes.story import Story
from tests.crashes.world import World
from tests.virtual import InlineExecutor

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

URL_OF_STORY = "http://api.story"
# Where the answer got lost on its way, the call was charged, or not: here it always is.
CHARGED = ("lost", "broken")
# What cannot be read may have been charged, too.
MAY_BE_CHARGED = (*CHARGED, "garbage")
_ASKED = re.compile(rb"noteId=[0-9a-f]{8}([0-9a-f]{16}) HTTP")
_HEAD = b"HTTP/1.1 %d OK\r\n%bContent-Length: %d\r\n\r\n"
_ANSWERS = {
    "301": (200, b"", b'{"code":301,"message":"again","data":null}'),
    "302": (429, b"Retry-After: 1\r\n", b'{"code":302,"message":"slower"}'),
    "500": (500, b"", b'{"code":500}'),
    "202": (200, b"", b'{"code":202}'),
    "303": (200, b"", b'{"code":303,"message":"quota"}'),
    "garbage": (200, b"", b"<html>"),
}


def note_id(number: int) -> str:
    return f"{0x67000000 + number:08x}{number:016x}"


@dataclass
class Call:
    """One call as the server saw it; `at` is Unix seconds, `landed` says that it was answered."""

    note: int
    run: int
    at: float
    answer: str
    landed: bool = False


class _Pairs(aiohttp.BaseConnector):
    """Connects by pairs of sockets: what one end has sent is there at once at the other."""

    def __init__(self, accept: Callable[[socket.socket], None]) -> None:
        super().__init__(limit=0, force_close=True)
        self._accept = accept

    async def _create_connection(self, *_args: object) -> ResponseHandler:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.settimeout(0)
        self._accept(theirs)
        _, protocol = await self._loop.create_connection(self._factory, sock=ours)
        return protocol


@dataclass
class Server:
    """Says for each note what the story says, then saves; `client` is the run's way to it.

    It is elsewhere: it answers in its own time though the process stands still, and what it has
    sent waits in the sockets then.
    """

    story: Story
    world: World | None = None
    run: int = 0
    now: float = 0.0
    calls: list[Call] = field(default_factory=list)
    said: Counter[int] = field(default_factory=Counter)
    _client: Client | None = None
    _peers: list[socket.socket] = field(default_factory=list)
    _asked: dict[int, socket.socket] = field(default_factory=dict)

    def charges(self, note: int) -> list[Call]:
        return [c for c in self.calls if c.note == note and c.answer in ("0", *CHARGED)]

    def unanswered(self, run: int) -> list[Call]:
        """The calls of a run that may have been charged without an answer that can be read."""
        calls = (c for c in self.calls if c.run == run and c.answer != "unsent")
        return [c for c in calls if c.answer in MAY_BE_CHARGED or not c.landed]

    def of(self, note: int, run: int | None = None) -> list[Call]:
        return [c for c in self.calls if c.note == note and run in (None, c.run)]

    @asynccontextmanager
    async def reached(self, timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 - of each call
        """Take the calls of one run, each of them given so many seconds."""
        connector = _Pairs(self._peers.append)
        connections = Connections(
            cast("aiohttp.TCPConnector", connector), URL(URL_OF_STORY), timeout, None
        )
        target = Target(URL_OF_STORY, "/notes", Secret("token"))
        self._client = Client(connections, target, Deadline(timeout), Rooms(InlineExecutor()))
        try:
            async with connector:
                yield
        finally:
            for peer in self._peers:
                peer.close()
            self._peers.clear()
            self._asked.clear()

    async def fetch(self, wanted: str, start: Start) -> Answer | None:
        assert self.world is not None
        assert self._client is not None
        self.world.check_alive()
        loop = asyncio.get_running_loop()
        note = int(wanted[8:], 16)
        began = 0.0

        async def begin(is_fit: Callable[[], bool]) -> bool | None:
            nonlocal began
            may_start = await start(is_fit)
            if may_start:
                self._called(note, self._say(note))
                began = loop.time()
            return may_start

        if self._next(note) == "unsent":
            if not await start(lambda: True):
                return None
            self._called(note, self._next(note))
            await asyncio.sleep(0.1)
            return Answer(fault=Fault.NO_CONNECTION)
        answer = await self._client.fetch(wanted, begin)
        # By the clock of the story, so that a seed tells the same story every time.
        return answer and replace(answer, elapsed=loop.time() - began)

    def _called(self, note: int, answer: str) -> None:
        """Take a call, and answer it in a while."""
        loop = asyncio.get_running_loop()
        call = Call(note, self.run, self.now + loop.time(), answer)
        self.calls.append(call)
        self.said[note] += answer != "303"
        if answer == "unsent":
            # Nobody waits for an answer, and none may take the place of the next call's.
            call.landed = True
            return
        # Different for each call, so that answers overtake each other.
        loop.call_later(0.01 + (len(self.calls) * 7919 % 97) / 97, self._answer, call)

    def _answer(self, call: Call) -> None:
        """Send an answer, if somebody is still there to whom."""
        assert self.world is not None
        if self.world.is_dead:
            return
        self._hear()
        peer = self._asked.pop(call.note, None)
        if call.answer == "lost":
            call.landed = True
            return
        if peer is None:
            return
        with suppress(OSError):
            peer.send(_sent(call))
            call.landed = True
        if call.answer == "broken":
            peer.close()
            self._peers.remove(peer)

    def _hear(self) -> None:
        """Read what was asked."""
        for peer in self._peers:
            with suppress(OSError):
                if asked := _ASKED.search(peer.recv(1 << 16)):
                    self._asked[int(asked[1], 16)] = peer

    def _next(self, note: int) -> str:
        """What the story says of a note next."""
        answers, said = self.story.notes[note], self.said[note]
        return answers[said] if said < len(answers) else "0"

    def _say(self, note: int) -> str:
        charged = sum(c.run == self.run and c.answer in ("0", *CHARGED) for c in self.calls)
        return "303" if 0 < self.story.quota <= charged else self._next(note)


def _sent(call: Call) -> bytes:
    """What goes through the socket."""
    if call.answer == "broken":
        return _HEAD % (200, b"", 100)
    body = b'{"code":0,"data":{"n":%d,"x":"%s"}}' % (call.note, b"x" * 700)
    status, more, body = _ANSWERS.get(call.answer, (200, b"", body))
    return _HEAD % (status, more, len(body)) + body
