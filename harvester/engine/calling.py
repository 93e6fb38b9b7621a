"""The lanes that a harvest calls on: to the API, or to a simulator inside."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec.structs import replace

from harvester.api.client import Target, calling
from harvester.api.endpoints import endpoint_path
from harvester.api.redaction import Redaction
from harvester.api.rooms import Rooms
from harvester.config import RunConfig
from harvester.descriptors import raise_limit
from harvester.engine.lane import Lane
from harvester.ledger.protocol import Ledger
from harvester.pace import Pace
from harvester.parsing import Rate
from harvester.rules.adaptive_rate import START
from harvester.rules.shares import reduced
from harvester.simulator import SimulatorSettings

# What `run --simulate` meets: a believable night in small, with some answers to repeat.
_EMBEDDED = SimulatorSettings(latency=0.05, jitter=0.02, fail={301: 0.1})
# Begun at once with the rate that was sustained last time, a night would begin with a refusal.
_NEAR = 0.9


async def lanes_to(
    config: RunConfig, ledger: Ledger, stack: AsyncExitStack, *, is_shared: bool
) -> list[Lane]:
    """A lane for each token, through a proxy if there is one; connections are the stack's."""
    path, tokens, proxy = endpoint_path(config.endpoint), config.tokens, config.proxy
    redaction = Redaction((*tokens, *(proxy.secrets if proxy is not None else ())))
    # An embedded simulator has the other end of each connection.
    most = max(1, raise_limit() // (len(tokens) * (1 + config.simulate)))
    lanes, rooms = [], Rooms()
    for number, token in enumerate(tokens, 1):
        target = Target(config.base_url, path, token, config.accept_cache, proxy)
        client = await stack.enter_async_context(calling(target, config.timeout, rooms))
        name = f"token {number} of {len(tokens)}"
        pace = pace_of(config, ledger, is_shared=is_shared)
        lanes.append(Lane(name, client, pace, redaction, most, mark_of(token.reveal())))
    return lanes


def mark_of(token: str) -> str:
    """What tells a token from the few others of one ledger, and no more: sixteen bits."""
    return hashlib.sha256(token.encode()).hexdigest()[:4]


def pace_of(config: RunConfig, ledger: Ledger, *, is_shared: bool = False) -> Pace:
    """The pace asked for, or one that finds itself from where the last run found it."""
    rate = Rate(*reduced(config.top_rate)) if is_shared else config.top_rate
    if config.rate is not None:
        return Pace(rate, config.burst, is_shared=is_shared)
    last = ledger.start_rate()
    start = START if last is None else last * _NEAR
    return Pace(rate, config.burst, start, is_shared=is_shared)


@asynccontextmanager
async def practised(config: RunConfig) -> AsyncIterator[RunConfig]:
    """The same run, at an embedded simulator if that is what it is to call."""
    if not config.simulate:
        yield config
        return
    # A server costs every run its start, and only practice wants one.
    from harvester.simulator.server import serving  # noqa: PLC0415

    async with serving(_EMBEDDED) as simulator:
        yield replace(config, base_url=simulator.url)
