"""The clients of a run, one for each token, with a throttle of its own, until it is disabled."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct, field
from msgspec.structs import replace

from harvester.api.client import Target, calling
from harvester.api.endpoints import endpoint_parameter, endpoint_path
from harvester.api.redaction import Redaction
from harvester.api.rooms import Rooms
from harvester.config import RunConfig
from harvester.descriptors import raise_limit
from harvester.engine.ports import Coordinator, Fetcher, Notice
from harvester.engine.state import RunState
from harvester.formatting import duration
from harvester.ledger.protocol import ANY_MARK
from harvester.model import StopReason
from harvester.pace import Throttle
from harvester.secret import Secret
from harvester.simulator import SimulatorSettings

# What `run --simulate` meets: a believable night in small, with some answers to repeat.
_EMBEDDED = SimulatorSettings(latency=0.05, jitter=0.02, fail={301: 0.1})


class TokenClient(Struct, eq=False):
    """One token's way to the API.

    `name` tells it from the others without showing it, and `mark` over runs, `redaction` knows the
    tokens of all clients, `most` is how many calls at once there are descriptors for, `in_flight`
    counts the calls in flight and those about to be, and `disabled` is why nothing more is sent.
    While it `is_doubted`, since a token that may be of the same account was told that quota or
    balance are used up, only one call is in flight, and its answer decides.
    """

    name: str
    fetcher: Fetcher
    throttle: Throttle
    redaction: Redaction = field(default_factory=Redaction)
    most: int = sys.maxsize
    mark: str = ""
    in_flight: int = 0
    disabled: StopReason | None = None
    is_doubted: bool = False
    is_asked: bool = False

    @property
    def room(self) -> int:
        """How many more calls may be in flight."""
        return (1 if self.is_doubted else self.most) - self.in_flight

    def reserve(self, calls: int) -> None:
        """Count so many calls more, or fewer."""
        self.is_asked = self.is_doubted and (self.is_asked or calls > 0)
        self.in_flight += calls

    def doubt(self) -> None:
        """Ask it once, before it goes on."""
        self.is_doubted = True

    def believe(self) -> None:
        """End the doubt, if the answer is to a call that was sent in doubt."""
        self.is_doubted = self.is_doubted and not self.is_asked

    def disable(self, reason: StopReason) -> None:
        """Send nothing more."""
        self.disabled = reason

    def wake(self) -> None:
        """Send again, if it was the day's quota that was used up."""
        if self.disabled is StopReason.QUOTA:
            self.disabled = None
        self.is_doubted = False

    def shrink(self) -> None:
        """Have fewer calls at once from here on than there are in flight."""
        self.most = max(1, min(self.most, self.in_flight - 1))


class TokenPool:
    """All clients of a run: when the last of them is disabled, the run stops."""

    def __init__(
        self, clients: Sequence[TokenClient], state: RunState, coordinator: Coordinator
    ) -> None:
        self._clients = tuple(clients)
        self._state = state
        self._coordinator = coordinator

    def __iter__(self) -> Iterator[TokenClient]:
        return iter(self._clients)

    def slow_down(self, client: TokenClient, wait: float | None, elapsed: float) -> None:
        """Slow a client down, after `wait` seconds if the server said so; tell of what is news.

        The call that was refused began `elapsed` seconds ago.
        """
        if client.throttle.slow_down(wait, elapsed):
            self._coordinator.slowed_down(client.name, wait)
            throttle = client.throttle
            text = f"rate limit: {throttle.per_second:.3g} calls/s from here"
            if throttle.paused_for >= 1:
                text += f", after a pause of {duration(throttle.paused_for)}"
            self._state.emit(Notice("slow down", text))

    def refuse(self, detail: str) -> None:
        """Stop the run: something is wrong with every request, whatever its token."""
        self._coordinator.disabled("", StopReason.REFUSED, detail)
        self._state.stop(StopReason.REFUSED, detail)

    def disable(
        self, client: TokenClient, reason: StopReason, detail: str, *, is_shared: bool = False
    ) -> None:
        """Send nothing more with a token.

        What it was told holds for it alone, or, if it `is_shared`, for all tokens of its account:
        which those are is found by asking each other one once.
        """
        if client.disabled is not None:
            return
        client.disable(reason)
        self._coordinator.disabled(client.name, reason, detail, is_shared=is_shared)
        left = [other for other in self._clients if other.disabled is None]
        if is_shared:
            self.doubt()
        if left:
            text = f"{client.name} is disabled ({reason.value}: {detail}); {len(left)} left"
            self._state.emit(Notice("token disabled", text))
            return
        many = len(self._clients)
        text = detail if many == 1 else f"all {many} tokens are disabled; last: {detail}"
        if reason is StopReason.QUOTA or (self._state.can_wait and self._is_any_back_tomorrow):
            self._state.use_up_day(StopReason.QUOTA, text)
        else:
            self._state.stop(reason, text)

    @property
    def _is_any_back_tomorrow(self) -> bool:
        return any(client.disabled is StopReason.QUOTA for client in self._clients)

    def doubt(self) -> None:
        """Ask each token once, as another, maybe of the same account, was told of a used up one."""
        for client in self._clients:
            if client.disabled is None:
                client.doubt()

    def wake(self) -> None:
        """Use those tokens again whose quota was used up."""
        for client in self._clients:
            client.wake()
        self._state.room.set()

    def restore(self, starts: Mapping[str, Sequence[float]], now: float) -> None:
        """Count calls of earlier runs toward the limit of each client, as `starts` gave them."""
        for client in self._clients:
            earlier = starts.get(client.mark, starts.get(ANY_MARK, ()))
            client.throttle.restore([now - start for start in earlier])

    def starts(self, now: float) -> dict[str, list[float]]:
        """Returns when the calls that the limit still counts started, by mark, on `now`'s clock."""
        starts: dict[str, list[float]] = {}
        for client in self._clients:
            # Two tokens of one mark count together, rather than one of them not at all.
            ages = client.throttle.ages()
            starts.setdefault(client.mark, []).extend(now - age for age in ages)
        return starts

    @property
    def most(self) -> int:
        """How many calls at once there are descriptors for, over all clients."""
        return sum(client.most for client in self._clients)

    @property
    def per_second(self) -> float:
        """The pace now, in calls a second, of all clients that are in use."""
        return sum(c.throttle.per_second for c in self._clients if c.disabled is None)

    @property
    def sustained_rate(self) -> float | None:
        """The least rate, in calls a second, that the server was found to sustain with a token."""
        rates = (client.throttle.sustained_rate for client in self._clients)
        return min((rate for rate in rates if rate is not None), default=None)

    @property
    def next_start_rate(self) -> float:
        """The rate to begin the next run with, in calls a second for each token."""
        return min(client.throttle.next_start_rate for client in self._clients)


async def open_clients(
    config: RunConfig,
    stack: AsyncExitStack,
    throttle: Callable[[Secret[str]], Throttle],
    rooms: Rooms,
) -> list[TokenClient]:
    """A client for each token, through a proxy if there is one; connections are the stack's."""
    path, tokens, proxy = endpoint_path(config.endpoint), config.tokens, config.proxy
    asked = endpoint_parameter(config.endpoint)
    redaction = config.redaction
    # An embedded simulator has the other end of each connection.
    most = max(1, raise_limit() // (len(tokens) * (1 + config.simulate)))
    clients = []
    for number, token in enumerate(tokens, 1):
        target = Target(config.base_url, path, token, config.accept_cache, proxy, asked)
        fetcher = await stack.enter_async_context(calling(target, config.timeout, rooms))
        name, mark = f"token {number} of {len(tokens)}", mark_of(token.reveal())
        clients.append(TokenClient(name, fetcher, throttle(token), redaction, most, mark))
    return clients


def mark_of(token: str) -> str:
    """What tells a token from the few others of one ledger, and no more: sixteen bits."""
    return hashlib.sha256(token.encode()).hexdigest()[:4]


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
