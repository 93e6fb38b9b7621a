"""The client on real sockets: what it makes of connections that end, move, or stand still."""

from __future__ import annotations

import _thread
import asyncio
import gzip
import resource
import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import pytest
from yarl import URL

from harvester.api import client as client_module
from harvester.api import connections
from harvester.api.account import AccountPages
from harvester.api.client import Client, Target, calling
from harvester.api.deadline import Deadline
from harvester.api.redaction import Redaction
from harvester.api.rooms import Rooms
from harvester.api.witness import Witness
from harvester.model import Answer, Fault
from harvester.money import Untold, Why, Word
from harvester.rules.verdicts import judge
from harvester.secret import Secret
from tests.process.tool import refusing

NOTE = "67f32a94000000001d02eb4a"
BODY = b'{"code":0,"message":"ok","data":{"a":1}}'
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
IsFit = Callable[[], bool]
RESET = struct.pack("ii", 1, 0)


async def at_once(_is_fit: IsFit) -> bool:
    return True


class Server:
    """A socket that a test answers on by hand."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server((host, port))
        self._listener.settimeout(30)
        self.port: int = self._listener.getsockname()[1]
        self.last: socket.socket | None = None
        self._accepted: list[socket.socket] = []

    async def accept(self) -> socket.socket:
        self.last = (await asyncio.to_thread(self._listener.accept))[0]
        self._accepted.append(self.last)
        return self.last

    async def answer(self, data: bytes = WHOLE) -> None:
        """Take a connection and its request, and say something."""
        there = await self.accept()
        await asyncio.to_thread(there.recv, 65536)
        await asyncio.to_thread(there.sendall, data)

    def close(self) -> None:
        self._listener.close()
        for there in self._accepted:
            there.close()


@asynccontextmanager
async def talking(timeout: float = 60.0) -> AsyncIterator[tuple[Server, Client]]:  # noqa: ASYNC109
    server = Server()
    target = Target(f"http://127.0.0.1:{server.port}", "/p", Secret("t"))
    try:
        async with calling(target, timeout, Rooms()) as client:
            yield server, client
    finally:
        server.close()


async def answered(server: Server, client: Client, data: bytes = WHOLE) -> Answer:
    """One call on a new connection, answered."""
    call = asyncio.create_task(client.fetch(NOTE, at_once))
    await server.answer(data)
    answer = await call
    assert answer is not None
    return answer


async def ended_while_idle(*, is_reset: bool) -> Answer:
    """A call that finds its kept connection good, which ends before the request is written."""
    async with talking() as (server, client):
        assert (await answered(server, client)).body == BODY
        await asyncio.sleep(0.01)

        async def ending(_is_fit: IsFit) -> bool:
            assert server.last is not None
            if is_reset:
                server.last.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            server.last.close()
            return True

        answer = await client.fetch(NOTE, ending)
        assert answer is not None
        # The next one is not sent on what is gone.
        assert (await answered(server, client)).body == BODY
        return answer


def test_a_request_that_met_a_closed_connection_was_taken_by_nobody() -> None:
    answer = asyncio.run(ended_while_idle(is_reset=False))
    assert answer.fault is Fault.CLOSED
    assert not judge(answer).unanswered


def test_a_request_that_met_a_reset_of_a_connection_long_idle_is_not_answered_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "_LONG_IDLE", 0.0)
    answer = asyncio.run(ended_while_idle(is_reset=True))
    assert answer.fault in (Fault.RESET, Fault.CLOSED)
    assert not judge(answer).unanswered


def test_a_connection_that_ends_while_a_turn_is_waited_for_is_not_used() -> None:
    async def main() -> Answer:
        async with talking() as (server, client):
            assert (await answered(server, client)).body == BODY
            before = server.last
            assert before is not None

            async def waiting(is_fit: IsFit) -> bool | None:
                if server.last is not before:
                    return is_fit()
                before.close()
                # It is the network that is waited for.
                while is_fit():  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await asyncio.sleep(0)  # the loop, too, comes to know
                accepting.append(asyncio.create_task(server.answer()))
                server.last = None
                return None

            accepting: list[asyncio.Task[None]] = []
            answer = await client.fetch(NOTE, waiting)
            await accepting[0]
            assert answer is not None
            return answer

    assert asyncio.run(main()).body == BODY


def test_a_request_that_was_taken_and_not_answered_may_be_charged() -> None:
    async def main() -> Answer:
        async with talking() as (server, client):
            await answered(server, client)
            call = asyncio.create_task(client.fetch(NOTE, at_once))
            assert server.last is not None
            await asyncio.to_thread(server.last.recv, 65536)
            server.last.close()
            answer = await call
            assert answer is not None
            return answer

    answer = asyncio.run(main())
    assert answer.fault is Fault.BROKEN
    assert judge(answer).unanswered


def test_the_witness_tells_what_the_other_ends_system_took() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        with ours, theirs:
            taken, nothing = Witness(ours), Witness(ours)
            taken.begin()
            nothing.begin()
            assert nothing.was_taken(in_order=True) in (False, None)
            ours.sendall(b"GET")
            theirs.recv(3)
            assert taken.was_taken(in_order=False) in (True, None)
            if hasattr(socket, "TCP_INFO"):
                assert taken.was_taken(in_order=False)
            taken.close()
            nothing.close()
            assert taken.was_taken(in_order=True) is None


def test_a_host_name_that_moved_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["127.0.0.1", "127.0.0.2"]
    ask = socket.getaddrinfo

    def moving(host: Any, *args: Any, **how: Any) -> Any:  # noqa: ANN401 - as it has them
        return ask(places.pop(0) if host == "api.example" else host, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", moving)

    async def main() -> tuple[Answer | None, Answer]:
        with refusing() as port, closing(Server("127.0.0.2", port)) as server:
            target = Target(f"http://api.example:{port}", "/p", Secret("t"))
            async with calling(target, 60, Rooms()) as client:
                first = await client.fetch(NOTE, at_once)
                return first, await answered(server, client)

    first, second = asyncio.run(main())
    assert first is not None
    assert first.fault is Fault.NO_CONNECTION
    assert second.body == BODY


def test_a_name_that_is_not_found_for_want_of_descriptors_is_no_ones_fault_but_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find_none(*_args: Any, **_how: Any) -> None:  # noqa: ANN401 - as it has them
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_none)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> AsyncIterator[Answer | None]:
        async with calling(Target("http://api.example", "/p", Secret("t")), 60, Rooms()) as client:
            yield await client.fetch(NOTE, at_once)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                yield await client.fetch(NOTE, at_once)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async def faults() -> list[Fault | None]:
        return [None if answer is None else answer.fault async for answer in main()]

    assert asyncio.run(faults()) == [Fault.NO_CONNECTION, Fault.NO_DESCRIPTOR]


def test_what_arrived_while_the_process_stood_still_is_read_though_it_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = 40
    # So that one look at a socket does not read all that is there.
    monkeypatch.setattr(connections, "PIECE", 1 << 12)

    async def main() -> list[Answer | None]:
        async with talking(timeout=60) as (server, client):
            loop = asyncio.get_running_loop()
            calls = [asyncio.create_task(client.fetch(NOTE, at_once)) for _ in range(many)]
            there = [await server.accept() for _ in calls]
            for one in there:
                await asyncio.to_thread(one.recv, 65536)
            # All answers arrive, and the loop finds itself behind their time.
            large = BODY[:-1] + b" " * 20_000 + b"}"
            for one in there:
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(large) + large)
            monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 61)
            found = await asyncio.gather(*calls)
            for one in there:
                one.close()
            return found

    answers = asyncio.run(main())
    assert [answer and answer.fault for answer in answers] == [None] * many


def test_the_connection_that_was_used_last_is_used_first() -> None:
    async def main() -> tuple[list[socket.socket], socket.socket]:
        async with talking() as (server, client):
            calls = [asyncio.create_task(client.fetch(NOTE, at_once)) for _ in range(2)]
            both = [await server.accept() for _ in calls]
            for there in both:
                await asyncio.to_thread(there.recv, 65536)
            for there in both:
                there.sendall(WHOLE)
                await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                calls = [call for call in calls if not call.done()]
            third = asyncio.create_task(client.fetch(NOTE, at_once))
            asked, _, _ = await asyncio.to_thread(select.select, both, [], [], 30)
            third.cancel()
            return asked, both[1]

    asked, last = asyncio.run(main())
    assert asked == [last]


@pytest.mark.parametrize("said", [b"", WHOLE], ids=["the end", "something"])
def test_what_was_said_on_an_idle_connection_is_seen_before_the_loop_has_read_it(
    said: bytes,
) -> None:
    fit: list[bool] = []

    async def main() -> None:
        async with talking() as (server, client):

            async def look(is_fit: IsFit) -> bool:
                assert server.last is not None
                fit.append(is_fit())
                server.last.sendall(said)
                server.last.shutdown(socket.SHUT_WR)
                fit.append(is_fit())
                return False

            await answered(server, client)
            await client.fetch(NOTE, look)

    asyncio.run(main())
    assert fit == [True, False]


def test_what_an_answer_says_of_when_to_come_again_is_handed_on() -> None:
    said = b"Date: now\r\nRetry-After: soon\r\nLocation: /there\r\nContent-"

    async def main() -> Answer:
        async with talking() as (server, client):
            return await answered(server, client, WHOLE.replace(b"Content-", said))

    answer = asyncio.run(main())
    assert (answer.date, answer.retry_after, answer.location) == ("now", "soon", "/there")


@pytest.mark.parametrize("is_said", [True, False], ids=["it says so", "it ends one"])
def test_how_long_a_connection_may_be_idle_is_learnt_from_the_server(*, is_said: bool) -> None:
    fit: list[bool] = []

    async def look(is_fit: IsFit) -> bool:
        fit.append(is_fit())
        return False

    async def main() -> float:
        server, now = Server(), asyncio.get_running_loop().time
        target = Target(f"http://127.0.0.1:{server.port}", "/p", Secret("t"))
        async with connections.connecting(URL(target.base_url), 60) as kept:
            client = Client(kept, target, Deadline(60), Rooms())
            said = b"Keep-Alive: timeout=0\r\nContent-" if is_said else b"Content-"
            await answered(server, client, WHOLE.replace(b"Content-", said))
            if is_said:
                await client.fetch(NOTE, look)
            else:
                assert server.last is not None
                server.last.close()
            async with asyncio.timeout(30):
                # It is the network that is waited for.
                while kept.limit.seconds(now()) == 30:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            server.close()
            return kept.limit.seconds(now())

    assert asyncio.run(main()) < 30
    assert fit == [False] * is_said


def test_a_connection_that_grew_old_under_its_only_call_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_LONGEST_LIFE", 0.0)

    async def main() -> Answer:
        async with talking() as (server, client):
            return await answered(server, client)

    assert asyncio.run(main()).body == BODY


def test_what_is_used_of_the_connector_of_aiohttp_is_there() -> None:
    """Much of it is not promised: a release that lacks it is to fail here, by name."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            async with connector:
                request = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop())
                connection = await connector.connect(request, [], aiohttp.ClientTimeout())
                assert connection.protocol is not None
                assert connection.transport is not None
                assert connection.protocol.should_close is False
                assert callable(connection.protocol.connection_lost)
                assert connection.transport.get_extra_info("socket") is not None
                connector.clear_dns_cache()
                connection.close()

    asyncio.run(main())


def test_a_long_answer_is_read_once_nothing_of_the_one_before_is_in_memory() -> None:
    size = 3 << 20
    body = b'{"code":404,"message":"%b"}' % (b"x" * size)
    long = HEAD % len(body) + body
    packed = gzip.compress(BODY)
    bomb = HEAD % len(packed) + packed

    async def wait_for_room(wire: bytes) -> None:
        async with talking() as (server, client):
            first = await answered(server, client, long)
            assert first.body == body
            second = asyncio.create_task(answered(server, client, wire))
            done, _ = await asyncio.wait([second], timeout=0.3)
            assert not done
            first.release()
            first.release()
            assert (await second).fault is None

    for wire in (long, bomb):
        asyncio.run(wait_for_room(wire))


def test_a_balance_that_there_is_no_thread_to_read_on_is_not_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_work: object, _args: object) -> int:
        raise RuntimeError("can't start new thread")

    async def main() -> Word:
        server = Server()
        pages = AccountPages(f"http://127.0.0.1:{server.port}", Secret("t"), Redaction())
        async with asyncio.TaskGroup() as group:
            group.create_task(server.answer(HEAD % 2 + b"[]"))
            monkeypatch.setattr(_thread, "start_new_thread", refused)
            word = await pages.balance(5)
        server.close()
        return word

    assert asyncio.run(main()) == Untold(Why.ODD, "answer too large: no memory is left for it")
