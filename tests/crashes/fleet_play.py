"""Plays a story of a fleet: workers die, stop and come back, in one loop, until all is done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harvester.config import RunConfig
from harvester.engine import ports
from harvester.engine.clients import TokenClient, TokenPool
from harvester.engine.fleet import FleetSession, open_part
from harvester.engine.held import Environment
from harvester.engine.open_output import begin
from harvester.engine.ports import Ports
from harvester.engine.run import PriorState, Run
from harvester.errors import HarvesterError
from harvester.ledger.fleet import PartIdentity
from harvester.ledger.postgres import connection
from harvester.ledger.postgres.ledger import PostgresLedger
from harvester.ledger.postgres.membership import Membership
from harvester.model import Answer, Fault, Start, StopReason, Summary
from harvester.output.part import read_part_marker
from harvester.output.sink import Sink
from harvester.parsing import Rate
from harvester.rules.backoff import RetryLimits
from harvester.rules.turns import name_of
from harvester.secret import Secret
from tests.contract.fleet import Stage, Waited
from tests.crashes.fleet_promises import Call, Played, broken_promises
from tests.crashes.fleet_story import WORKERS, Fate, Story
from tests.crashes.fleet_world import (
    LIFE,
    START,
    FaultyConnection,
    Life,
    LifeExecutor,
    StoppableLoop,
    WatchedLedger,
    WatchedThrottle,
    World,
)
from tests.crashes.play import ENDPOINT, pages_of

RETRY_LIMITS = RetryLimits(4, 2, 1.0, 8.0)
_TIMEOUT = 5.0
_TOKEN = "fleet-token"  # noqa: S105 - a fingerprint, of nothing
_ANSWERS = {
    "301": Answer(200, b'{"code":301,"message":"again","data":null}'),
    "302": Answer(429, b'{"code":302,"message":"slower"}', retry_after="1"),
    "500": Answer(500, b'{"code":500}'),
    "404": Answer(200, b'{"code":404}'),
    "202": Answer(200, b'{"code":202}'),
    "303": Answer(200, b'{"code":303,"message":"quota"}'),
    "unsent": Answer(fault=Fault.NO_CONNECTION),
    "lost": Answer(fault=Fault.TIMEOUT),
    "broken": Answer(fault=Fault.BROKEN),
}
# In seconds. Beats are rarer than a host's, and hold for longer: each costs real time.
_BEAT_EVERY, _ALIVE_FOR = 0.5, 10.0
_QUOTA_RESTS = 15.0
_MOST_LIVES = 25


class Server:
    """The API of a story: says for each note what the story says, then saves."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._said: Counter[int] = Counter()
        self._quota_until: float | None = None

    async def fetch(self, wanted: str, start: Start) -> Answer | None:
        """Answer one call, and see that the caller holds a claim on it."""
        life = LIFE.get()
        assert life is not None
        life.check_alive()
        if not await start(lambda: True):
            return None
        note, calls = int(wanted[8:], 16), self._played.calls
        call = Call(len(calls), note, life, self._say(note, life.world.loop.time()))
        calls.append(call)
        self._check_claim(life, wanted)
        # Different for each call, so that answers overtake each other.
        slow = 4.0 if call.answer == "slow" else 0.0
        await asyncio.sleep(slow + 0.01 + (len(calls) * 7919 % 97) / 97)
        life.check_alive()
        call.landed = True
        if call.is_save:
            body = b'{"code":0,"data":{"call":%d,"x":"%s"}}' % (call.number, b"x" * 200)
            return Answer(200, body)
        return _ANSWERS[call.answer]

    def _say(self, note: int, now: float) -> str:
        story = self._played.story
        if story.quota and self._quota_until is None:
            charged = sum(call.is_charged for call in self._played.calls)
            self._quota_until = now + _QUOTA_RESTS if charged >= story.quota else None
        if self._quota_until is not None and now < self._quota_until:
            return "303"
        self._said[note] += 1
        answers = story.notes[note]
        return answers[self._said[note] - 1] if self._said[note] <= len(answers) else "0"

    def _check_claim(self, life: Life, wanted: str) -> None:
        if life.pauses > life.pauses_at_start:
            # Stopped on its way between the turn and the network, where nobody can look again.
            return
        query = (
            "SELECT count(*) FROM claim JOIN job USING (seq)"
            " WHERE note_id = %s AND claim.run = %s AND sent_at IS NOT NULL"
        )
        if not life.world.database.one(query, wanted, life.run):
            life.world.problems.append(f"{life} called for {wanted} without holding a claim on it")


@dataclass
class Worker:
    """One host: its folder and its place in the story; `lives` counts its processes."""

    number: int
    folder: Path
    played: Played
    server: Server
    lives: int = 0
    kept: bytes = b""

    @property
    def output(self) -> Path:
        return self.folder / "notes.jsonl"

    async def career(self) -> None:
        """All lives of this worker."""
        story = self.played.story
        for fate in story.careers[self.number]:
            await asyncio.sleep(fate.rest)
            await self._live(fate)
        if self.number in story.gone:
            return
        for _ in range(_MOST_LIVES):
            summary = await self._live(Fate())
            if self.played.world.problems:
                return
            if summary is not None and summary.exit_code in (0, 1) and not summary.exhausted:
                return
            await asyncio.sleep(5.0 + self.number)
        self.played.world.problems.append(f"worker {self.number} never ends")

    async def _live(self, fate: Fate) -> Summary | None:
        world = self.played.world
        self.lives += 1
        life = Life(world, self.number, self.lives, fate)
        self.played.lives.append(life)
        living = asyncio.create_task(_live(self, life))
        life.task = living
        await asyncio.wait([living])
        life.bury(self.folder)
        if life.is_dead:
            self.tear(fate)
            return None
        self._check_kept()
        if (error := living.exception()) is not None:
            world.problems.append(f"{life} raised {_told(error)}")
            return None
        return living.result()

    def tear(self, fate: Fate) -> None:
        """Leave of OUTPUT what was recorded or there before, of the rest what the story says.

        A death takes nothing that an earlier life had left, also where it was not recorded yet.
        """
        if fate.torn_at is not None and self.output.exists():
            size, marker = self.output.stat().st_size, read_part_marker(self.output)
            query = "SELECT coalesce(max(length), 0) FROM part WHERE uuid = %s"
            name = "" if marker is None else marker.part
            known = max(self.played.world.database.one(query, name), len(self.kept))
            with self.output.open("r+b") as file:
                file.truncate(known + int(fate.torn_at * (size - known)))
        self._check_kept()

    def _check_kept(self) -> None:
        output = self.output.read_bytes() if self.output.exists() else b""
        if not output.startswith(self.kept):
            text = f"worker {self.number} lost lines in its life {self.lives}"
            self.played.world.problems.append(text)
        self.kept = output[: output.rfind(b"\n") + 1]


def _told(error: BaseException) -> str:
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return f"{type(inner).__name__}: {inner}"


def play(story: Story, folder: Path, stage: Stage) -> list[str]:
    """Everything that went against the promises."""
    stage.clear(START)
    loop = StoppableLoop()
    loop.set_exception_handler(lambda _loop, _context: None)
    played = Played(story, World(loop, stage.database), folder)
    with _breaking_connections(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_play(played))
    return played.world.problems or list(broken_promises(played))


@contextmanager
def _breaking_connections() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "Connection", FaultyConnection)
        yield


async def _play(played: Played) -> None:
    server = Server(played)
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            folder = played.folder_of(number)
            folder.mkdir()
            group.create_task(Worker(number, folder, played, server).career())


async def _live(worker: Worker, life: Life) -> Summary:
    LIFE.set(life)
    played, world = worker.played, life.world
    skew = played.story.skews[worker.number]
    host = Environment(lambda: world.now + skew, life.disk)
    config = RunConfig(
        output=worker.output,
        tokens=(Secret("t"),),
        inputs=("ids.txt",),
        rate=Rate(played.story.per_second, 1.0),
        timeout=_TIMEOUT,
        endpoint=ENDPOINT,
        max_attempts=RETRY_LIMITS.max_attempts,
        max_unanswered=RETRY_LIMITS.max_unanswered,
        backoff_base=RETRY_LIMITS.base,
        backoff_cap=RETRY_LIMITS.cap,
    )
    world.tick()

    def ledger_of(part: str) -> PostgresLedger:
        identity = PartIdentity(part, f"host {worker.number}", str(worker.output), (_TOKEN,))
        return WatchedLedger(life, world.database.address, identity, outage=Waited(world.elapse))

    opened = open_part(config, host, world.database.harvest, ledger_of)
    runs = "SELECT count(*) FROM run"
    before = world.database.one(runs)
    life.run = begin(opened, config, host).run
    if (begun := world.database.one(runs) - before) != 1:
        world.problems.append(f"{life} began as {begun} runs")
    life.session = world.database.one("SELECT session FROM run WHERE id = %s", life.run)
    inline = LifeExecutor(life)
    client = TokenClient(_TOKEN, worker.server, WatchedThrottle(life, config.top_rate, _TOKEN))
    world.database.do(
        "INSERT INTO pace (token_fp, rate) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        _TOKEN,
        name_of(config.top_rate),
    )
    coordinator = Coordinator(life, client, opened.part)
    ports = Ports(
        config,
        opened.ledger,
        inline,
        inline,
        Sink(opened.output, opened.spool, inline),
        pages_of(len(played.story.notes)),
        host.clock,
        lambda: 0.5,
        coordinator,
    )
    run = Run(ports, [client], PriorState())
    coordinator.pool = run.pool
    summary = await run.run()
    world.tick()
    opened.ledger.finish_run(summary.reason, summary.exit_code)
    opened.close()
    left = world.database.one("SELECT count(*) FROM claim WHERE run = %s", life.run)
    if left:
        world.problems.append(f"{life} ended ({summary.reason}) and left {left} claims behind")
    if summary.exit_code not in (0, 1, StopReason.QUOTA.exit_code, StopReason.UPSTREAM.exit_code):
        world.problems.append(f"{life} ended with {summary.reason}: {summary.detail}")
    return summary


@dataclass
class Coordinator(ports.Coordinator):
    """What keeps a worker in its fleet, and what others say of a stop."""

    life: Life
    client: TokenClient
    part: str
    pool: TokenPool | None = None
    untold: list[tuple[StopReason, str]] = field(default_factory=list)
    alive_until: float = 0.0
    lease_margin: float = FleetSession.lease_margin
    ahead_seconds: float = 1.0
    commit_every: float = FleetSession.commit_every

    async def keep(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beat()
            await asyncio.sleep(_BEAT_EVERY)

    def _beat(self) -> None:
        life, world = self.life, self.life.world
        life.check_alive()
        if world.loop.time() >= self.alive_until:
            self._be_alive()
        if self.untold:
            self._tell()
        if life.session in world.stops and self.pool is not None:
            self.pool.disable(self.client, *world.stops[life.session])

    def _be_alive(self) -> None:
        world = self.life.world
        world.tick()
        world.database.do(
            "INSERT INTO member (run, part, session, alive_until)"
            " SELECT id, part, session, now_ms() + %s FROM run WHERE id = %s"
            " ON CONFLICT (run) DO UPDATE SET alive_until = excluded.alive_until",
            round(_ALIVE_FOR * 1000),
            self.life.run,
        )
        self.alive_until = world.loop.time() + _ALIVE_FOR / 3

    def slowed_down(self, client: str, wait: float | None) -> None:
        """Nobody else is told."""

    def disabled(
        self,
        client: str,  # noqa: ARG002 - there is one
        reason: StopReason,
        detail: str,
        *,
        is_shared: bool = False,  # noqa: ARG002 - the same
    ) -> None:
        """Tell the others."""
        if self.life.session not in self.life.world.stops:
            self.untold.append((reason, detail))
            self._tell()

    def _tell(self) -> None:
        world = self.life.world
        world.tick()
        address = world.database.address
        with closing(Membership(address, self.part, clock=world.loop.time)) as membership:
            try:
                reason, detail = self.untold[0]
                membership.tell_stop(_TOKEN, reason.value, detail)
                membership.join(self.life.run)
            except HarvesterError:
                return
        world.stops[self.life.session] = self.untold[0]
        self.untold.clear()
