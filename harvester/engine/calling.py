"""The lanes that a harvest calls on: to the API, or to a simulator inside."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from harvester.api.client import Target, calling
from harvester.api.endpoints import endpoint_path
from harvester.api.proxy import Proxy
from harvester.api.redaction import Redaction
from harvester.api.rooms import Rooms
from harvester.descriptors import raise_limit
from harvester.engine.lane import Lane
from harvester.ledger.protocol import DirectLedger
from harvester.pace import Pace
from harvester.rules.shares import reduced
from harvester.rules.tempo import START
from harvester.secret import Secret
from harvester.settings import Rate, RunSettings
from harvester.simulator import SimulatorSettings

# What `run --simulate` meets: a believable night in small, with some answers to repeat.
_EMBEDDED = SimulatorSettings(latency=0.05, jitter=0.02, fail={301: 0.1})
# Begun at once with what was borne last time, a night would begin with a refusal.
_NEAR = 0.9
SIMULATED_TOKEN = "simulated"  # noqa: S105 - any word will do there


async def lanes_to(
    base_url: str,
    tokens: Sequence[Secret[str]],
    settings: RunSettings,
    ledger: DirectLedger,
    stack: AsyncExitStack,
    *,
    proxy: Proxy | None,
    is_shared: bool,
) -> list[Lane]:
    """A lane for each token, through a proxy if there is one; connections are the stack's."""
    path, cache = endpoint_path(settings.endpoint), settings.calling.accept_cache
    url = await stack.enter_async_context(_server(base_url, settings))
    redaction = Redaction((*tokens, *(proxy.secrets if proxy is not None else ())))
    # An embedded simulator has the other end of each connection.
    most = max(1, raise_limit() // (len(tokens) * (1 + settings.simulated)))
    lanes, rooms = [], Rooms()
    for number, token in enumerate(tokens, 1):
        target = Target(url, path, token, cache, proxy)
        client = await stack.enter_async_context(calling(target, settings.calling.timeout, rooms))
        name = f"token {number} of {len(tokens)}"
        pace = pace_of(settings, ledger, is_shared=is_shared)
        lanes.append(Lane(name, client, pace, redaction, most, mark_of(token.reveal())))
    return lanes


def mark_of(token: str) -> str:
    """What tells a token from the few others of one ledger, and no more: sixteen bits."""
    return hashlib.sha256(token.encode()).hexdigest()[:4]


def pace_of(settings: RunSettings, ledger: DirectLedger, *, is_shared: bool = False) -> Pace:
    """The pace asked for, or one that finds itself from where the last run found it."""
    calling = settings.calling
    rate = Rate(*reduced(calling.rate)) if is_shared else calling.rate
    if not calling.is_rate_found:
        return Pace(rate, calling.burst, is_shared=is_shared)
    borne = ledger.borne()
    start = START if borne is None else borne * _NEAR
    return Pace(rate, calling.burst, start, is_shared=is_shared)


@asynccontextmanager
async def _server(base_url: str, settings: RunSettings) -> AsyncIterator[str]:
    """The base URL to call: the one given, or that of an embedded simulator."""
    if not settings.simulated:
        yield base_url
        return
    # A server costs every run its start, and only practice wants one.
    from harvester.simulator.server import serving  # noqa: PLC0415

    async with serving(_EMBEDDED) as simulator:
        yield simulator.url
