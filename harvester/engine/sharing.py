"""What a shared harvest needs beside the line: the ledger's door, membership, patience."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from harvester.config import RunConfig
from harvester.engine.fleet import Fleet, fingerprint
from harvester.engine.joining import open_part
from harvester.engine.lane import Lane, Lanes
from harvester.engine.open_output import Environment, OpenOutput
from harvester.engine.ports import Notice
from harvester.engine.run import Companion, Run
from harvester.errors import HarvesterError
from harvester.ledger.fleet import Absence, FleetAddress, open_ledger, open_membership
from harvester.ledger.protocol import Identity, Ledger
from harvester.rules.day import day_began

if TYPE_CHECKING:
    from harvester.ledger.postgres.ledger import PostgresLedger

# So many seconds a run that is opening, or about to end, waits for a database that is away.
_PATIENCE = 15.0


class Waiting:
    """Whether to wait on for a database that is away: a run that is on does, without end.

    One that is opening or ending waits for some seconds, counted from when it first had to. Asked
    from the ledger's thread; `clock` is monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._run: Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since: float | None = None

    def watch(self, run: Run) -> None:
        """Go by this run from here on, until `end`."""
        self._run, self._loop = run, asyncio.get_running_loop()

    def end(self) -> None:
        """The run is over; what is left to be written is worth a moment only."""
        self._run = None

    def give_up(self) -> bool:
        """Whether to wait no longer."""
        run, now = self._run, self._clock()
        if run is not None and run.is_aborted:
            return True
        if run is not None and run.stop_reason is None:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since > _PATIENCE

    def is_over(self) -> None:
        """The database is back: the next time it goes is another one."""
        self._since = None
        self.tell("the database is back: going on")

    def tell(self, text: str) -> None:
        """Tell the run's observers, from the ledger's thread."""
        run, loop = self._run, self._loop
        if run is not None and loop is not None:
            loop.call_soon_threadsafe(run.tell, Notice("ledger", text))


class Sharing:
    """One host's way into a fleet's harvest."""

    def __init__(
        self,
        address: FleetAddress,
        config: RunConfig,
        env: Environment,
    ) -> None:
        self._address = address
        self._config = config
        self._fingerprints = [
            fingerprint(address.harvest, token.reveal()) for token in config.tokens
        ]
        self._env = env
        self._ledger: PostgresLedger | None = None
        self.waiting = Waiting()

    def open(self, identity: Identity, in_flight: int, *, is_local: bool) -> OpenOutput:
        """Open OUTPUT as a part of the harvest; errors as `open_part`'s."""

        def ledger_of(part: str) -> Ledger:
            self._ledger = open_ledger(
                self._address,
                part,
                self._config.output.resolve(),
                self._config.limits,
                lambda: day_began(self._env.clock(), self._config.day_timezone),
                self._fingerprints,
                Absence(
                    self.waiting.give_up,
                    self.waiting.tell,
                    self.waiting.is_over,
                ),
            )
            return self._ledger

        harvest, rebuild = self._address.harvest, self._config.rebuild
        return open_part(
            self._config.output,
            identity,
            self._env,
            harvest,
            ledger_of,
            rebuild=rebuild,
            in_flight=in_flight,
            is_local=is_local,
        )

    @asynccontextmanager
    async def joined(self, part: str, run: int, lanes: Sequence[Lane]) -> AsyncIterator[Companion]:
        """A member of the fleet, with its first grants; gives what keeps it one.

        Raises UsageError where other hosts keep to another rate.
        """
        membership = open_membership(self._address, part, asyncio.get_running_loop().time)
        try:
            with ThreadPoolExecutor(1, "harvester-fleet") as thread:
                by_token = dict(zip(self._fingerprints, lanes, strict=True))
                rate = self._config.top_rate
                fleet = Fleet(membership, by_token, rate, thread)
                await self._join(fleet, run)
                yield partial(self._keep, fleet)
        finally:
            # Whatever has gone wrong, the ledger's thread is to come to its end.
            self.waiting.end()
            membership.close()

    async def _keep(self, fleet: Fleet, lanes: Lanes) -> None:
        """Keep it a member until cancelled; tell what was found paid for twice."""
        told = self._tell_duplicates(lanes, 0)
        try:
            await fleet.keep(lanes)
        finally:
            self._tell_duplicates(lanes, told)

    def _tell_duplicates(self, lanes: Lanes, told: int) -> int:
        found = 0 if self._ledger is None else self._ledger.duplicates
        if found > told:
            text = (
                f"{found - told} of the notes on this part's lines were paid for twice: other "
                "hosts had fetched them meanwhile; `harvester status` lists them"
            )
            lanes.tell(Notice("paid twice", text))
        return found

    async def _join(self, fleet: Fleet, run: int) -> None:
        try:
            await fleet.join(run)
        except HarvesterError:
            with suppress(HarvesterError):
                await fleet.leave()
            raise
