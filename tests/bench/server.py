"""A fast local API for benchmarks: it notes when each call arrived, and may refuse over a limit.

`python -m tests.bench.server LATENCY JITTER LIMIT` prints its URL; `/starts` gives the moments of
all calls for notes (seconds), and which were refused; `/limit?N` changes the limit. LIMIT 0 is
none. After `/quota` the daily quota is used up. The balance counts in no rate.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from contextlib import suppress

import orjson

_NOTE = '{"code":0,"message":"success","data":{"title":"上海落户","content":%s,"likeNum":0}}'
_LONG = 1234567890123456789
# Notes of 3 KB by the first part of a path: of characters, of their escapes, of runs of digits.
_BODIES = {
    b"plain": (_NOTE % f'"{"上海落户" * 240}"').encode(),
    b"escaped": (_NOTE % json.dumps("上海落户" * 120)).encode(),
    b"digits": (
        _NOTE % json.dumps([1234567890123456789] * 72 + ["1234567890123456789"] * 64)
    ).encode(),
}
_REFUSED = b'{"code":302,"message":"rate limit exceeded"}'
_NO_QUOTA = b'{"code":303,"message":"daily quota exceeded"}'
_BALANCE = b'{"code":0,"message":null,"data":{"balance":"123.4500","currency":"CNY"}}'


class Api:
    """What all connections share."""

    def __init__(self, latency: float, jitter: float, limit: int) -> None:
        self.latency, self.jitter, self.limit = latency, jitter, limit
        self.is_used_up = False
        self.starts: list[tuple[float, bool]] = []
        self._window: deque[float] = deque()
        self._dice = random.Random(1)

    def delay(self) -> float:
        return max(0.0, self.latency + self._dice.uniform(-self.jitter, self.jitter))

    def refuses(self) -> bool:
        """Count a call that arrives now; whether it is one too many in the latest second."""
        now = time.monotonic()
        while self._window and now - self._window[0] >= 1:
            self._window.popleft()
        refused = self.is_used_up or (bool(self.limit) and len(self._window) >= self.limit)
        if not refused:
            self._window.append(now)
        self.starts.append((now, refused))
        return refused


class Connection(asyncio.Protocol):
    """One kept-alive connection; requests have no body and are not pipelined."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\r\n\r\n"):
            return
        target = self._buffer.split(b" ", 2)[1]
        self._buffer = b""
        if target.startswith(b"/starts"):
            self._reply(orjson.dumps(self._api.starts))
        elif target.startswith(b"/limit?"):
            self._api.limit = int(target.partition(b"?")[2])
            self._reply(b"{}")
        elif target.startswith(b"/quota"):
            self._api.is_used_up = True
            self._reply(b"{}")
        elif target.startswith(b"/user/"):
            self._reply(_BALANCE)
        else:
            self._answer(target)

    def _answer(self, target: bytes) -> None:
        if self._api.refuses():
            said = _NO_QUOTA if self._api.is_used_up else _REFUSED
            self._reply(said, b"429 Too Many Requests")
            return
        body = _BODIES.get(target.split(b"/", 2)[1], _BODIES[b"plain"])
        if delay := self._api.delay():
            self._loop.call_later(delay, self._reply, body)
        else:
            self._reply(body)

    def _reply(self, body: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)


async def main(latency: float, jitter: float, limit: int) -> None:
    """Serve until ended."""
    # One that waits for a processor would see calls together that came apart.
    with suppress(OSError):
        os.nice(-20)
    api = Api(latency, jitter, limit)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", 0, backlog=2048)
    print("http://127.0.0.1:{}".format(server.sockets[0].getsockname()[1]), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
