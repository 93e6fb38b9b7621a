"""A webhook on loopback: it keeps what it is told, and answers as it is to."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

from tests.process.threaded import Streams


class Hook(Streams):
    """`told` are the messages, `heads` what stood above each; without an `answer` it is silent."""

    def __init__(
        self,
        answer: str | None = "",
        status: str = "200 OK",
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(context)
        self._answer, self._status = answer, status
        self.told: list[dict[str, Any]] = []
        self.heads: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        self.heads.append(head)
        self.told.append(json.loads(body or b"{}"))
        if self._answer is None:
            await reader.read()
            return
        said = self._answer.encode()
        writer.write(f"HTTP/1.1 {self._status}\r\nContent-Length: {len(said)}\r\n\r\n".encode())
        writer.write(said)
        await writer.drain()

    def url(self, path: str = "/hook/s3cretkey") -> str:
        return f"http://127.0.0.1:{self.port}{path}"
