"""A harvest that hosts share: this one's part of it, one rate for all, stops that all hear.

A call starts at a moment that the ledger gave out as it was recorded; so a host that is cut off
from the ledger falls silent by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.engine.clients import TokenClient, TokenPool
from harvester.engine.dispatcher import LARGEST_BATCH
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.kind import check_kind, identity_asked, identity_of
from harvester.engine.open_output import bring_together, open_file, with_room
from harvester.engine.ports import Coordinator, Notice
from harvester.engine.run import Run
from harvester.engine.state import RunState, wait_at_most
from harvester.errors import HarvesterError, UnforeseenError, UsageError
from harvester.ledger.fleet import FleetAddress, Outage, PartIdentity, need_driver
from harvester.ledger.sqlite.reading import ledger_path
from harvester.model import StopReason
from harvester.output.part import PartMarker, read_part_marker, write_part_marker
from harvester.output.spool import EmergencySpool
from harvester.pace import LedgerClock, SharedThrottle, Throttle
from harvester.rules.day import day_began
from harvester.rules.turns import name_of
from harvester.secret import Secret
from harvester.sides import Side
from harvester.threads import OneThread

if TYPE_CHECKING:
    from harvester.ledger.postgres.ledger import PostgresLedger
    from harvester.ledger.postgres.membership import Beat, Membership, Slowed, Stop

# In seconds: a beat, and the pause after one that failed.
_BEAT_EVERY = 0.3
# In seconds, and in exchanges with the database.
_AHEAD, _TRIPS = 0.5, 12
# To claim, send and record a batch, and what comes between.
_TRIPS_A_BATCH = 4
# What another host was told a moment ago, our own calls of that moment may have been told too.
_TOLD_AGO = 1.0
_FINGERPRINT_DIGITS = 16


def fingerprint(harvest: str, token: str) -> str:
    """What stands for a token in the fleet's ledger, since the token itself must be nowhere."""
    digest = hashlib.sha256(f"{harvest}\0{token}".encode()).hexdigest()
    return digest[:_FINGERPRINT_DIGITS]


class FleetSession(Coordinator):
    """The `Coordinator` of a host in a fleet; to be opened, then joined, then kept.

    Each client calls at `top_rate` at most together with those of all hosts that use its token.
    """

    # Others wait for the end of a lease. A database is asked for less often than a file.
    lease_margin = 15.0
    commit_every = 0.2
    # In seconds: so long is a database waited for that is away, by who opens or ends.
    patience = 15.0

    _part: str
    _ledger: PostgresLedger
    _state: RunState
    _pool: TokenPool
    _membership: Membership
    _thread: OneThread
    _heard: Beat
    # The run that is on, while it is.
    _running: RunState | None = None

    def __init__(self, address: FleetAddress, config: RunConfig) -> None:
        self._address = address
        tokens = [fingerprint(address.harvest, token.reveal()) for token in config.tokens]
        self._tokens = tuple(dict.fromkeys(tokens))
        self._rate = name_of(config.top_rate)
        self._clock = LedgerClock()
        self._clients: dict[str, TokenClient] = {}
        self._outage = Outage(self._patience, self._tell_of_outage)
        self._has_news = asyncio.Event()

    @property
    def ahead_seconds(self) -> float:
        """What can be sent in so long is claimed ahead: more, the farther the database is.

        Others cannot send what this host holds.
        """
        return _AHEAD + _TRIPS * self._clock.trip

    def open(self, config: RunConfig, env: Environment) -> OpenOutput:
        """Open OUTPUT as a part of the harvest; errors as `open_part`'s."""
        need_driver()
        from harvester.ledger.postgres.claims import Caps  # noqa: PLC0415 - of an extra
        from harvester.ledger.postgres.ledger import PostgresLedger  # noqa: PLC0415 - the same

        caps = Caps(config.limits, lambda: day_began(env.clock(), config.day_timezone))

        def ledger_of(name: str) -> PostgresLedger:
            self._part = name
            part = PartIdentity.here(name, config.output.resolve(), self._tokens)
            self._ledger = PostgresLedger(self._address, part, caps=caps, outage=self._outage)
            return self._ledger

        return open_part(config, env, self._address.harvest, ledger_of)

    def throttle(self, config: RunConfig, start: float | None, token: Secret[str]) -> Throttle:
        """Returns the throttle of one token: its calls start at moments that the ledger gives."""
        name = fingerprint(self._address.harvest, token.reveal())
        return SharedThrottle(config.top_rate, start, name, self._clock)

    @asynccontextmanager
    async def joined(self, run: Run, number: int) -> AsyncIterator[None]:
        """Be a member of the fleet as the run of a number.

        Raises UsageError where other hosts keep to another rate.
        """
        from harvester.ledger.postgres.membership import Membership  # noqa: PLC0415 - of an extra

        self._pool, self._state, self._loop = run.pool, run.state, asyncio.get_running_loop()
        self._clients = dict(zip(self._tokens, run.pool, strict=True))
        self._membership = Membership(
            self._address, self._part, self._tokens, self._rate, self._loop.time
        )
        try:
            with OneThread() as self._thread:
                await self._join(number)
                self._running = run.state
                yield
        finally:
            # Whatever has gone wrong, the ledger's thread is to come to its end.
            self._running = None
            self._membership.close()

    def _patience(self) -> float | None:
        """For how long a database that is away is waited for: by a run that is on, without end."""
        state = self._running
        if state is None or state.is_stopping:
            return 0.0 if state and state.is_aborted else self.patience
        return None

    def _tell_of_outage(self, text: str) -> None:
        """Tell the run's observers, from the ledger's thread."""
        state = self._running
        if state is not None:
            self._loop.call_soon_threadsafe(state.emit, Notice("ledger", text))

    async def _join(self, number: int) -> None:
        beat = await self._thread.run(self._membership.join, number)
        if said := self._other_rate(beat):
            with suppress(HarvesterError):
                await self._thread.run(self._membership.leave)
            raise UsageError(f"{said}: give the same --rate on all.")
        # Of who was slowed down before, nothing is to be told; of all else, everything.
        self._heard = replace(beat, members=1, stops={})
        self._clock.look(beat.sent, beat.received, beat.now)

    def _other_rate(self, beat: Beat) -> str:
        """What to say of another rate that hosts which are alive keep to with one of our tokens."""
        if beat.other_rate is None:
            return ""
        rates = f"{beat.other_rate}, not {self._rate}"
        return f"another host of this harvest calls with the same token at {rates}"

    async def keep(self) -> None:
        """Beat and listen until cancelled, then leave; tell what was found paid for twice."""
        self._tell_duplicates()
        try:
            while True:
                self._has_news.clear()
                await self._beat()
                await wait_at_most(self._has_news, _BEAT_EVERY)
        finally:
            # What was heard last may be a stop, which the others have yet to be told of.
            with suppress(HarvesterError):
                await self._thread.run(self._membership.leave)
            self._tell_duplicates()

    async def _beat(self) -> None:
        try:
            self._heed(await self._thread.run(self._membership.beat))
        except UnforeseenError as error:
            self._state.stop(StopReason.LOCAL_IO, str(error))
        except HarvesterError:
            # The ledger's own calls tell of it, and what cannot be recorded is not sent.
            return

    def _emit(self, kind: str, text: str) -> None:
        self._state.emit(Notice(kind, text))

    def _tell_duplicates(self) -> None:
        if found := self._ledger.new_duplicates():
            text = (
                f"{found} of the notes on this part's lines were paid for twice: other hosts had "
                "fetched them meanwhile; `harvester status` lists them"
            )
            self._emit("paid twice", text)

    # What the fleet says

    def _heed(self, beat: Beat) -> None:
        """Heed what is news, compared with the beat before."""
        before, self._heard = self._heard, beat
        self._clock.look(beat.sent, beat.received, beat.now)
        if before.stops.keys() - beat.stops.keys() and self._state.resumes_at is None:
            # A day has begun: its tokens are asked again.
            self._pool.wake()
        for token in beat.stops.keys() - before.stops.keys():
            if token or not self._state.is_stopping:
                self._stop(token, beat.stops[token])
        for token, slowed in beat.slowed.items():
            if slowed.times != before.slowed.get(token, slowed).times and not slowed.by_us:
                self._slow_down(token, slowed)
        self._tell_far()
        # Whoever stood still may come back to a rate that others have agreed on meanwhile.
        if beat.other_rate and not before.other_rate:
            self._emit("fleet", f"nothing is sent from here: {self._other_rate(beat)}")
        if beat.members != before.members:
            shared = f"{beat.members} hosts share this harvest"
            self._emit("fleet", shared if beat.members > 1 else "this host is alone now")
            for client in self._clients.values():
                client.throttle.share_with(beat.members)

    def _tell_far(self) -> None:
        """Say where the database is too far away for the rate."""
        trip = self._clock.trip
        most = LARGEST_BATCH / (_TRIPS_A_BATCH * max(trip, 1e-6))
        if most < self._pool.per_second:
            text = f"the database is {trip * 1000:.0f} ms away, there and back: no more than about "
            self._state.emit_once("far", f"{text}{most:.3g} calls/s can start from here")

    def _slow_down(self, token: str, slowed: Slowed) -> None:
        """Heed what another host was told: the pace is that of all."""
        throttle = self._clients[token].throttle
        if throttle.slow_down(slowed.wait, _TOLD_AGO):
            text = f"rate limit, met by another host: {throttle.per_second:.3g} calls/s here"
            self._emit("slow down", text)

    def _stop(self, stopped: str, stop: Stop) -> None:
        """Heed a stop of one token, or of all where none is named."""
        clients = [client for token, client in self._clients.items() if stopped in ("", token)]
        reason = StopReason(stop.reason)
        # What this host has said itself, it has heeded.
        if stop.shared and not any(client.disabled is reason for client in clients):
            self._pool.doubt()
        for client in clients:
            self._pool.disable(client, reason, stop.detail)

    # What this host says

    def disabled(
        self, client: str, reason: StopReason, detail: str, *, is_shared: bool = False
    ) -> None:
        """See `Coordinator.disabled`."""
        token = self._token_of(client)
        if token not in self._heard.stops:
            self._membership.tell_stop(token, reason.value, detail, shared=is_shared)
            self._has_news.set()

    def slowed_down(self, client: str, wait: float | None) -> None:
        """See `Coordinator.slowed_down`."""
        token = self._token_of(client)
        self._membership.tell_slow_down(token, self._clients[token].throttle.paused_for, wait)
        self._has_news.set()

    def _token_of(self, name: str) -> str:
        return next((t for t, client in self._clients.items() if client.name == name), "")


def open_part(
    config: RunConfig, env: Environment, harvest: str, ledger_of: Callable[[str], PostgresLedger]
) -> OpenOutput:
    """Open OUTPUT for a run; `ledger_of` opens the ledger of a part by its name.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError.
    """
    path = config.output.resolve()
    _check_no_ledger(path)
    with ExitStack() as undo:
        output = open_file(path, env, undo)
        had_marker = read_part_marker(path) is not None
        marker = part_marker_of(path, harvest, env, undo)
        # What the fleet's ledger holds says nothing of a file that it does not know yet.
        found = identity_of(output)
        if found is not None:
            check_kind(found, config)
        ledger = ledger_of(marker.part)
        undo.callback(ledger.close)
        if had_marker and output.length and not config.rebuild:
            _check_known(ledger, path)
        # Told of the harvest, not of OUTPUT, which may be empty.
        known, asked = ledger.identity(), identity_asked(config)
        # A server on this machine may be a simulator; only its answers tell.
        is_simulated = asked.simulated or (
            config.is_local and known is not None and known.simulated
        )
        ledger.identify(replace(asked, simulated=is_simulated))
        held = OpenOutput(output, ledger, EmergencySpool(path, env.disk), part=marker.part)
        recovery = bring_together(held, config, env)
        opened = with_room(replace(held, recovery=recovery), config)
        undo.pop_all()
    return opened


def _check_known(ledger: PostgresLedger, path: Path) -> None:
    """Refuse where the ledger is another one than the part was written with: it would pay anew."""
    if ledger.is_new:
        ledger.forget_part()
        raise UsageError(
            f"{path} holds notes of a harvest that this database does not know: name the right one "
            "with --ledger and --harvest, or bring the part in with --rebuild; what only other "
            "parts hold would be fetched, and paid for, again until they are brought in, too."
        )


def _check_no_ledger(path: Path) -> None:
    if ledger_path(path).exists():
        raise UsageError(
            f"{path} has a ledger of its own, {ledger_path(path).name}: bring it in with "
            "`harvester join`, leave --ledger out, or choose another --output, where its notes are "
            "paid for again."
        )


def part_marker_of(path: Path, harvest: str, env: Environment, undo: ExitStack) -> PartMarker:
    """The part's marker, made if there is none; `undo` leaves no file behind."""
    marker = read_part_marker(path)
    if marker is None:
        marker = PartMarker.fresh(harvest)
        undo.callback(env.disk.remove, Side.PART_MARKER.of(path))
        write_part_marker(path, marker)
    if marker.harvest != harvest:
        raise UsageError(
            f"{path} is a part of the harvest {marker.harvest}, not of {harvest}: give "
            f"--harvest {marker.harvest}, or choose another --output, where its notes are paid for "
            "again."
        )
    return marker
