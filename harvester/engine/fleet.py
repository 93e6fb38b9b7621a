"""This host in its fleet: heartbeats that bring its share of the rate, and stops that all hear.

Nothing is ours to start until it is granted, and no longer than the grant lasts; so a host that is
cut off from the ledger falls silent by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from harvester.engine.lane import Lane, Lanes
from harvester.engine.ports import Notice
from harvester.errors import HarvesterError, UsageError
from harvester.model import StopReason
from harvester.parsing import Rate

if TYPE_CHECKING:
    from harvester.ledger.postgres.membership import Beat, Membership, Told

T = TypeVar("T")
# In seconds: a beat, and the pause after one that failed.
_BEAT_EVERY = 0.3
# What another host was told a moment ago, our own calls of that moment may have been told too.
_TOLD_AGO = 1.0
_FINGERPRINT_DIGITS = 16


def fingerprint(harvest: str, token: str) -> str:
    """What stands for a token in the fleet's ledger, since the token itself must be nowhere."""
    digest = hashlib.sha256(f"{harvest}\0{token}".encode()).hexdigest()
    return digest[:_FINGERPRINT_DIGITS]


class Fleet:
    """Keeps the membership of one run; `thread` makes one call at a time.

    `lanes` are this host's by token fingerprint; each calls at `rate` at most together with all
    other hosts that use its token.
    """

    def __init__(
        self,
        membership: Membership,
        lanes: Mapping[str, Lane],
        rate: Rate,
        thread: Executor,
    ) -> None:
        self._membership = membership
        self._lanes = dict(lanes)
        self._names = {id(lane): name for name, lane in lanes.items()}
        self._wants = dict.fromkeys(lanes, rate)
        self._thread = thread
        self._outbox: deque[Callable[[], None]] = deque()
        self._known_stops: set[str] = set()
        self._members = 1
        self._is_aside = False

    async def join(self, run: int) -> None:
        """Be a member from here on; raises UsageError where others keep to another rate."""
        await self._do(self._membership.join, run)
        self._grant(await self._do(self._membership.beat, self._wants))

    async def keep(self, lanes: Lanes) -> None:
        """Beat and listen until cancelled, then leave."""
        lanes.listen(self._on_rest, self._on_slow_down)
        try:
            while True:
                await self._turn(lanes)
        finally:
            self._membership.wake()
            # What was heard last may be a stop, which the others have yet to be told of.
            for last in (self._send, self.leave):
                with suppress(HarvesterError):
                    await last()

    async def leave(self) -> None:
        """Be a member no more."""
        await self._do(self._membership.leave)

    async def _turn(self, lanes: Lanes) -> None:
        try:
            await self._send()
            beat = await self._do(self._membership.beat, self._wants)
            self._heed(beat, lanes)
            pause = _BEAT_EVERY if beat.again_in is None else min(_BEAT_EVERY, beat.again_in)
            if pause > 0 and not self._outbox:
                for told in await self._do(self._membership.wait, pause):
                    self._hear(told, lanes)
        except UsageError as error:
            self._wait_aside(str(error), lanes)
            await asyncio.sleep(_BEAT_EVERY)
        except HarvesterError:
            # The ledger's own calls tell of it. Grants end by themselves meanwhile.
            await asyncio.sleep(_BEAT_EVERY)

    async def _do(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    # What the fleet says

    def _wait_aside(self, said: str, lanes: Lanes) -> None:
        """Tell once that this host has nothing to call with: others joined while it was away."""
        if not self._is_aside:
            self._is_aside = True
            lanes.tell(Notice("fleet", f"nothing is sent from here: {said}"))

    def _grant(self, beat: Beat) -> None:
        for name, lane in self._lanes.items():
            lane.pace.grant(beat.grants.get(name, 0), beat.valid_until)

    def _heed(self, beat: Beat, lanes: Lanes) -> None:
        self._grant(beat)
        self._is_aside = False
        for name, (reason, detail) in beat.stops.items():
            self._stop(name, StopReason(reason), detail, lanes)
        if beat.members != self._members:
            self._members = beat.members
            shared = f"{beat.members} hosts share this harvest"
            lanes.tell(Notice("fleet", shared if beat.members > 1 else "this host is alone now"))

    def _hear(self, told: Told, lanes: Lanes) -> None:
        if told.kind == "stop":
            self._stop(told.token, StopReason(told.reason), told.detail, lanes)
        elif told.kind == "slow down" and told.token in self._lanes:
            lane = self._lanes[told.token]
            if lane.pace.slow_down(told.wait, _TOLD_AGO):
                text = f"rate limit, met by another host: {lane.pace.per_second:.3g} calls/s here"
                lanes.tell(Notice("slow down", text))

    def _stop(self, name: str, reason: StopReason, detail: str, lanes: Lanes) -> None:
        """Heed a stop of one token, or of all where none is named."""
        if name in self._known_stops:
            return
        self._known_stops.add(name)
        for token, lane in self._lanes.items():
            if name in ("", token):
                lanes.rest(lane, reason, detail)

    # What this host says

    def _on_rest(self, lane: Lane | None, reason: StopReason, detail: str) -> None:
        name = "" if lane is None else self._names[id(lane)]
        if name not in self._known_stops:
            self._known_stops.add(name)
            self._say(lambda: self._membership.tell_stop(name, reason.value, detail))

    def _on_slow_down(self, lane: Lane, wait: float | None) -> None:
        name = self._names[id(lane)]
        self._say(lambda: self._membership.tell_slow_down(name, wait))

    def _say(self, message: Callable[[], None]) -> None:
        self._outbox.append(message)
        self._membership.wake()

    async def _send(self) -> None:
        """Tell what is to be told; what fails is told again."""
        while self._outbox:
            await self._do(self._outbox[0])
            self._outbox.popleft()
