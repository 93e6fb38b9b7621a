"""A whole line on virtual time: real rules, ledger and file, no waiting."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.engine.alone import Alone
from harvester.engine.clients import TokenClient, mark_of
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.kind import identity_of
from harvester.engine.open_output import begin, open_output
from harvester.engine.open_run import start_rate
from harvester.engine.ports import BalanceSource, Event, Ports
from harvester.engine.run import PriorState, Run
from harvester.model import Answer, BadLine, Page, Start, Summary
from harvester.output.sink import Sink
from harvester.parsing import read_rate
from harvester.secret import Secret
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi
from tests.virtual import InlineExecutor, run_virtually

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
PATH = "/api/xiaohongshu-pgy/get-note-detail/v1"
# 2026-11-23 00:00 in Shanghai: where a test's clock begins.
MIDNIGHT = 1_795_363_200.0


async def one_page(ids: list[str]) -> AsyncIterator[Page]:
    yield Page(ids)


async def endless(ids: list[str]) -> AsyncIterator[Page]:
    """A pipe that stays open and gives no more."""
    yield Page(ids, is_live=True)
    await asyncio.Event().wait()


async def trickling(ids: list[str]) -> AsyncIterator[Page]:
    """A pipe that gives bad lines again and again."""
    yield Page(ids, is_live=True)
    while True:
        await asyncio.sleep(0.1)
        yield Page([], [BadLine("<stdin>", 1, "no note", "x")], is_live=True)


async def without_end(_ids: list[str]) -> AsyncIterator[Page]:
    """An iterator that always has more."""
    for nth in count():
        yield Page([f"{nth:024x}"])
        await asyncio.sleep(0.01)


async def slow_file(ids: list[str]) -> AsyncIterator[Page]:
    """A file that takes two minutes to read."""
    for nth in range(240):
        yield Page(ids[nth : nth + 1], [] if ids[nth:] else [BadLine("f", nth, "no note", "x")])
        await asyncio.sleep(0.5)


class Upstream(Struct):
    """The simulated API, called without a socket; keeps when each call began."""

    simulated: SimulatedApi
    latency: float = 0.05
    connecting: float = 0.0
    starts: list[tuple[float, str]] = []
    script: Callable[[str, int, float], Answer | None] = lambda _note, _nth, _now: None
    calls: dict[str, int] = {}
    refused: set[float] = set()
    token: str = "t"  # noqa: S105 - the simulator takes any
    begins: float = MIDNIGHT

    async def fetch(self, note_id: str, start: Start) -> Answer | None:
        await asyncio.sleep(self.connecting)
        if not await start(lambda: True):
            return None
        now = asyncio.get_running_loop().time()
        self.starts.append((now, note_id))
        nth = self.calls[note_id] = self.calls.get(note_id, 0) + 1
        answer = self.script(note_id, nth, now)
        if answer is None:
            query: Mapping[str, str] = {"token": self.token, "noteId": note_id}
            reply = self.simulated.answer(PATH, query, self.begins + now)
            answer = Answer(reply.status, reply.body)
        if b'"code":302' in (answer.body or b""):
            self.refused.add(now)
        await asyncio.sleep(answer.elapsed or self.latency)
        return replace(answer, elapsed=asyncio.get_running_loop().time() - now)


CONFIG = RunConfig(
    output=Path("notes.jsonl"),
    inputs=("ids.txt",),
    rate=read_rate("50/s"),
    endpoint=ENDPOINT,
    tokens=(Secret("t"),),
    base_url="http://127.0.0.1:1",
    backoff_base=1.0,
    backoff_cap=120.0,
)


@dataclass
class Night:
    """One OUTPUT over several runs; loop time goes on from run to run as nights do."""

    folder: Path
    events: list[Event] = field(default_factory=list)
    clock: float = MIDNIGHT
    more_upstreams: tuple[Upstream, ...] = ()
    accounts: tuple[BalanceSource, ...] = ()
    pages: Callable[[list[str]], AsyncIterator[Page]] = one_page
    descriptors: int = sys.maxsize

    def run(
        self,
        ids: list[str],
        upstream: Upstream,
        config: RunConfig = CONFIG,
        meddle: Callable[[Run], Coroutine[Any, Any, None]] | None = None,
    ) -> Summary:
        async def main() -> Summary:
            loop = asyncio.get_running_loop()
            host = Environment(lambda: self.clock + loop.time())
            opened = self.open(host, config)
            begin(opened, replace(config, inputs=tuple(ids)), host)
            try:
                summary = await self._line(opened, ids, upstream, config, meddle)
            finally:
                opened.close()
            self.clock += loop.time()
            return summary

        return run_virtually(main())

    def open(self, host: Environment, config: RunConfig) -> OpenOutput:
        return open_output(replace(config, output=self.output), host)

    @property
    def output(self) -> Path:
        return self.folder / "notes.jsonl"

    async def _line(
        self,
        opened: OpenOutput,
        ids: list[str],
        upstream: Upstream,
        config: RunConfig,
        meddle: Callable[[Run], Coroutine[Any, Any, None]] | None,
    ) -> Summary:
        loop = asyncio.get_running_loop()
        inline = InlineExecutor()
        alone = Alone()
        ports = Ports(
            config,
            opened.ledger,
            inline,
            inline,
            Sink(opened.output, opened.spool, inline),
            self.pages(ids),
            lambda: self.clock + loop.time(),
            lambda: 0.5,
            alone,
            (self.events.append,),
            self.accounts,
        )
        start = start_rate(config, opened.ledger)
        clients = [
            TokenClient(
                f"token {number}",
                fetcher,
                alone.throttle(config, start, Secret("t")),
                mark=mark_of(fetcher.token),
                most=self.descriptors,
            )
            for number, fetcher in enumerate((upstream, *self.more_upstreams), 1)
        ]
        held = identity_of(opened.output)
        run = Run(ports, clients, PriorState(None if held is None else held.simulated))
        async with asyncio.TaskGroup() as group:
            if meddle is not None:
                group.create_task(meddle(run))
            summary = await run.run()
        if config.rate is None:
            opened.ledger.remember_start_rate(run.pool.next_start_rate)
        return summary

    def lines(self) -> list[bytes]:
        return self.output.read_bytes().splitlines()


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def note_ids(many: int) -> list[str]:
    return [f"{0x67F32A94 + n:08x}{n:016x}" for n in range(many)]


def upstream(latency: float = 0.05, **settings: object) -> Upstream:
    return Upstream(SimulatedApi(SimulatorSettings(**settings)), latency)  # type: ignore[arg-type]


def code(number: int) -> Answer:
    return Answer(200, b'{"code":%d,"message":"x","data":null}' % number)


def saved_ids(night: Night) -> list[str]:
    return sorted(json.loads(line)["noteId"] for line in night.lines())
