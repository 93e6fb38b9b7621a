"""Workers of a fleet that fail when their story says so, in one virtual time with their database.

A life is one process of one worker: what runs for it carries it in a context variable, so that all
of it can be stopped at once, and nothing of it reaches disk or database once it is dead.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import psycopg

from harvester.disk import Disk
from harvester.ledger.postgres.connection import Connection
from harvester.ledger.postgres.ledger import PostgresLedger
from harvester.ledger.protocol import Claimed, Sent
from harvester.model import Job, StopReason
from harvester.pace import LedgerClock, SharedThrottle
from harvester.parsing import Rate
from harvester.rules.turns import Turns
from tests.contract.fleet import Database
from tests.crashes.fleet_story import Fate, Fault, Kind, Phase
from tests.crashes.world import CrashError, RunawayError
from tests.virtual import InlineExecutor, VirtualLoop

T = TypeVar("T")
P = ParamSpec("P")
START = 1_795_363_200.0
_MOST_OPERATIONS = 3000
LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class StoppableLoop(VirtualLoop):
    """A virtual loop in which all that one life does can be stopped for a while, as by SIGSTOP."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Life, list[tuple[Context, Callable[..., object], Any]]] = {}

    def call_soon(  # type: ignore[override] # the same, told without the type variables
        self,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401 - the callback's own
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call, unless the life that it is for is stopped by then."""
        where = copy_context() if context is None else context
        return super().call_soon(self._pass, where, callback, args, context=where)

    def _pass(self, where: Context, callback: Callable[..., object], args: Any) -> None:  # noqa: ANN401 - the same
        life = LIFE.get()
        if life is not None and life in self._kept:
            self._kept[life].append((where, callback, args))
        else:
            callback(*args)

    def stop_life(self, life: Life, seconds: float) -> None:
        """Stop all that a life does, from its next step on."""
        if life not in self._kept:
            self._kept[life] = []
            self.call_later(seconds, self._go_on, life)

    def _go_on(self, life: Life) -> None:
        for where, callback, args in self._kept.pop(life):
            self.call_soon(callback, *args, context=where)


class World:
    """What the workers of a story share: time, and the database that keeps to it.

    `stops` are those recorded, by session, `problems` what went against a promise.
    """

    def __init__(self, loop: StoppableLoop, database: Database) -> None:
        self.loop = loop
        self.database = database
        self.problems: list[str] = []
        self.stops: dict[int, tuple[StopReason, str]] = {}
        self._told = 0

    @property
    def now(self) -> float:
        """Unix seconds."""
        return START + self.loop.time()

    def tick(self) -> None:
        """Let the database know how late it is."""
        milliseconds = round(self.now * 1000)
        if milliseconds != self._told:
            self._told = milliseconds
            self.database.set_clock(self.now)

    def elapse(self, seconds: float) -> None:
        """Let time pass in the middle of a call."""
        self.loop.elapse(seconds)
        self.tick()


class Life:
    """One process of a worker, that counts its operations.

    `departed` counts by note what may have been recorded as about to be sent, be it by a commit
    whose answer was lost, after which the lease lapsed; `answers_lost` are such commits, and
    `pauses_at_start` the pauses before its latest call started.
    """

    def __init__(self, world: World, worker: int, number: int, fate: Fate) -> None:
        self.world = world
        self.worker = worker
        self.number = number
        self.run = 0
        self.session = 0
        self.is_dead = False
        self.pauses = 0
        self.pauses_at_start = 0
        self.operations = 0
        self.answers_lost = 0
        self.departed: Counter[str] = Counter()
        self.disk = _FaultyDisk(self)
        self.task: asyncio.Task[Any] | None = None
        self._faults = {fault.at: fault for fault in fate.faults}
        self._dice = random.Random(f"{worker} {number}")
        self._connections: list[FaultyConnection] = []

    def __str__(self) -> str:
        return f"worker {self.worker} in its life {self.number}"

    def check_alive(self) -> None:
        """Nothing is done by the dead."""
        if self.is_dead:
            raise CrashError

    def next_fault(self) -> Fault | None:
        """Count an operation that is about to be done; gives what goes wrong with it."""
        self.check_alive()
        self.operations += 1
        if self.operations > _MOST_OPERATIONS:
            raise RunawayError
        fault = self._faults.get(self.operations)
        if fault is not None and fault.kind is Kind.PAUSE:
            self.pauses += 1
            self.world.loop.stop_life(self, fault.seconds)
            return None
        return fault

    def connected(self, connection: FaultyConnection) -> None:
        """Keep in mind what its death cuts."""
        self._connections.append(connection)

    def cut(self) -> None:
        """Cut its connections to the database, without goodbye."""
        for connection in self._connections:
            _cut(connection)

    def die(self) -> None:
        """Be no more, from here on."""
        self.is_dead = True
        self.cut()
        if self.task is not None:
            self.task.cancel()

    def bury(self, folder: Path) -> None:
        """Close what it held, as the system does for a dead process."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        for link in list(Path("/proc/self/fd").iterdir()):
            # The descriptor of the listing itself is gone by now.
            with suppress(FileNotFoundError):
                if link.readlink().parent == folder:
                    os.close(int(link.name))

    def write(self, fd: int, data: memoryview) -> int:
        """Write to OUTPUT, unless the story has other plans."""
        fault = self.next_fault()
        if fault is None:
            return os.write(fd, data)
        if fault.kind is Kind.BREAK:
            self.cut()
            return os.write(fd, data)
        if fault.phase is Phase.TORN:
            os.write(fd, data[: self._dice.randrange(len(data))])
        elif fault.phase is Phase.AFTER:
            os.write(fd, data)
        self.die()
        raise CrashError


def _cut(connection: FaultyConnection) -> None:
    if not connection.closed:
        with closing(socket.socket(fileno=os.dup(connection.fileno()))) as line, suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


class _FaultyDisk(Disk):
    def __init__(self, life: Life) -> None:
        self._life = life

    def write(self, fd: int, data: memoryview) -> int:
        return self._life.write(fd, data)

    def truncate(self, fd: int, length: int) -> None:
        self._life.check_alive()
        super().truncate(fd, length)

    def allocate(self, fd: int, length: int) -> None:  # noqa: ARG002 - as the door has it
        self._life.check_alive()

    def sync(self, fd: int, *, is_full: bool = False) -> None:  # noqa: ARG002 - of macOS alone  # noqa: ARG002 - the same; the system outlives the worker
        self._life.check_alive()

    def remove(self, path: Path) -> None:
        self._life.check_alive()
        super().remove(path)


class LifeExecutor(InlineExecutor):
    """Runs each call of a life where it is made, with the database's clock set before."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._life.check_alive()
        self._life.world.tick()
        return super().submit(fn, *args, **kwargs)


class FaultyConnection(Connection):
    """The product's connection, that breaks around a commit when the life's story says so."""

    _life: Life | None = None
    _after: Fault | None = None

    @classmethod
    def connect(cls, *args: Any, **how: Any) -> Self:  # noqa: ANN401 - psycopg's own
        life = LIFE.get()
        if life is not None:
            life.check_alive()
        connection = super().connect(*args, **how)
        connection._life = life  # noqa: SLF001 - its own
        if life is not None:
            life.connected(connection)
        return connection

    def execute(self, query: Any, *args: Any, **how: Any) -> psycopg.Cursor[tuple[Any, ...]]:  # noqa: ANN401 - the same
        if self._life is not None:
            self._life.check_alive()
            if query == b"COMMIT":
                self._before_commit(self._life)
        return super().execute(query, *args, **how)

    def _before_commit(self, life: Life) -> None:
        fault = life.next_fault()
        if fault is None or fault.phase is Phase.AFTER:
            self._after = fault
            return
        life.cut()
        if fault.kind is Kind.DEATH:
            life.die()
            raise CrashError

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        self._after = None
        with super().pipeline() as pipeline:
            yield pipeline
        self._after_commit(self._life, self._after)

    def _after_commit(self, life: Life | None, fault: Fault | None) -> None:
        if life is None or fault is None:
            return
        life.cut()
        if fault.kind is Kind.DEATH:
            life.die()
            raise CrashError
        life.answers_lost += 1
        raise psycopg.OperationalError("the answer to the commit was lost, as the story has it")


class WatchedThrottle(SharedThrottle):
    """The product's throttle, that tells when a call starts: it is on its way a moment later."""

    def __init__(self, life: Life, rate: Rate, token: str) -> None:
        clock, now = LedgerClock(), life.world.loop.time()
        clock.look(now, now, life.world.now)
        super().__init__(rate, None, token, clock)
        self._life = life

    def start(self) -> float | None:
        """Start one more call, if it may."""
        delay = super().start()
        if delay == 0:
            self._life.pauses_at_start = self._life.pauses
        return delay


class WatchedLedger(PostgresLedger):
    """The product's ledger, with an eye on what is claimed and what is about to be sent."""

    def __init__(self, life: Life, *args: Any, **how: Any) -> None:  # noqa: ANN401 - the ledger's own
        super().__init__(*args, **how)
        self._life = life

    def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        """Claim, and see that nothing was claimed that nobody is told of."""
        claimed = super().claim(limit, lease, held)
        world = self._life.world
        if claimed.jobs:
            query = "SELECT count(*) FROM claim WHERE claim_id = %s"
            made = world.database.one(query, claimed.jobs[0].claim_id)
            if made != len(claimed.jobs):
                world.problems.append(f"{self._life} claimed {made}, got {len(claimed.jobs)}")
        return claimed

    def mark_sent(self, jobs: Sequence[Job], lease: float, turns: Turns | None = None) -> Sent:
        """Depart, and see that no stop was recorded before."""
        life = self._life
        stopped, before = life.session in life.world.stops, life.answers_lost
        for job in jobs:
            life.departed[job.note_id] += 1
        sent = super().mark_sent(jobs, lease, turns)
        if life.answers_lost == before:
            for job in set(jobs).difference(sent.jobs):
                life.departed[job.note_id] -= 1
        if sent.jobs and stopped:
            life.world.problems.append(f"{life} sent {len(sent.jobs)} calls after a recorded stop")
        return sent
