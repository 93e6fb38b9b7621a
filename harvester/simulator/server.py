"""The simulated API on a socket: each call is decided as it arrives, then waits its delay.

Quota, rate and charge are decided before the delay, as with the real API: a client that is killed
in the middle of a call has been charged for it.
"""

from __future__ import annotations

import asyncio
import errno
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from os import strerror
from typing import Any

from aiohttp import web
from msgspec import Struct

from harvester.errors import UsageError
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi

_SHUTDOWN_SECONDS = 0.1
_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,4})?")


class SimulatorServer(Struct, frozen=True):
    """A listening simulator: its base URL (no slash at the end) and the API behind it."""

    url: str
    api: SimulatedApi


@asynccontextmanager
async def serving(
    settings: SimulatorSettings, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[SimulatorServer]:
    """Serve the simulated API for as long as the context lasts; port 0 takes any free one.

    Calls in flight at the end are cut off. Raises `UsageError` where it cannot listen there.
    """
    api = SimulatedApi(settings)
    runner = web.AppRunner(
        _Pages(api).app(),
        access_log=None,  # it would write down the token, which stands in the query
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(_without_full_house)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield SimulatorServer(_url(runner), api)
    finally:
        await runner.cleanup()
        loop.set_exception_handler(before)


def _without_full_house(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Write nothing of a caller that has to wait for a free descriptor; all else as usual."""
    if getattr(context.get("exception"), "errno", None) not in (errno.EMFILE, errno.ENFILE):
        loop.default_exception_handler(context)


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EADDRINUSE:
            raise UsageError(f"port {port} on {host} is taken: choose another --port") from error
        # asyncio words its errors for programmers; the system's own words are plainer
        reason = strerror(number) if number and number in errno.errorcode else str(error)
        raise UsageError(
            f"cannot listen on {host} port {port} ({reason}): choose another --host or --port"
        ) from error


def _url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Pages:
    """The pages of the server: the API's own, and the simulator's under `/_simulator`."""

    def __init__(self, api: SimulatedApi) -> None:
        self._api = api
        # Unix seconds that never go back, so no window of the rate limit is ever torn.
        self._offset = time.time() - time.monotonic()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/_simulator/charges", self.charges),
                web.post("/_simulator/day", self.day),
                web.post("/_simulator/balance", self.balance),
                web.get("/{path:.*}", self.call, allow_head=False),
            ]
        )
        return app

    async def call(self, request: web.Request) -> web.Response:
        called = request.path, request.query, self._now()
        reply = self._api.page(*called) or self._api.answer(*called)
        await asyncio.sleep(reply.delay)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    async def charges(self, _request: web.Request) -> web.Response:
        return web.json_response(self._api.charges())

    async def day(self, request: web.Request) -> web.Response:
        self._api.new_day()
        return await self.charges(request)

    async def balance(self, request: web.Request) -> web.Response:
        added = request.query.get("add", "")
        if not _AMOUNT.fullmatch(added):
            raise web.HTTPBadRequest(text="say how much to add: ?add=12.50\n")
        self._api.top_up(Decimal(added), self._now())
        return await self.charges(request)

    def _now(self) -> float:
        return self._offset + time.monotonic()
