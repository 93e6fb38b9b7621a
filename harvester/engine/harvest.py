"""Puts one harvest together from its rooms, runs it, and takes it apart again."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harvester.api.client import Target, calling
from harvester.api.endpoints import endpoint_path
from harvester.disk import boot_id
from harvester.engine.lane import Lane
from harvester.engine.opening import Host, Opened, begin, open_harvest
from harvester.engine.ports import Notice, Observer, Ports, RunBegan, RunEnded
from harvester.engine.reading import pages_from
from harvester.engine.run import Run
from harvester.engine.waiting import open_when_free
from harvester.errors import LocalIOError
from harvester.ledger.protocol import Identity
from harvester.ledger.sqlite import SqliteLedger
from harvester.ledger.threaded import ThreadedLedger
from harvester.model import Page, Summary
from harvester.output.lines import SIMULATED_PREFIX
from harvester.output.threaded import ThreadedSink
from harvester.pace import Pace
from harvester.rules.tempo import START
from harvester.settings import RunSettings
from harvester.simulator import SimulatorSettings, serving

# What `run --simulate` meets: a believable night in small, with some answers to repeat.
_EMBEDDED = SimulatorSettings(
    latency=0.05, jitter=0.02, fail={301: 0.1}, request_id_prefix=SIMULATED_PREFIX
)
# Begun at once with what was borne last time, a night would begin with a refusal.
_NEAR = 0.9
_SIMULATED_TOKEN = "simulated"  # noqa: S105 - any word will do there


@dataclass(frozen=True, slots=True)
class Harvest:
    """What to harvest: pages of note ids into an output, from a base URL with one token or more.

    While another run holds the output, it is waited for, at most `wait_for_lock` seconds.
    """

    settings: RunSettings
    output: Path
    pages: Iterator[Page]
    base_url: str
    tokens: tuple[str, ...]
    observers: tuple[Observer, ...] = ()
    has_input: bool = True
    wait_for_lock: float = 0.0


def steady_clock() -> Callable[[], float]:
    """Unix seconds that never step while a run is on, whatever is done to the wall clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


def this_host() -> Host:
    """The machine we run on."""
    return Host(steady_clock(), boot=boot_id())


async def run_harvest(harvest: Harvest, began: Callable[[Run], None]) -> Summary:
    """Run one harvest; `began` is given the run once it can be watched and stopped.

    Raises HarvesterError before the first call, if OUTPUT or its ledger cannot be used.
    """
    host = this_host()
    settings = harvest.settings
    identity = Identity(settings.endpoint, settings.simulated)
    began_at = host.clock()

    def open_now() -> Opened:
        return open_harvest(
            harvest.output, identity, host, rebuild=settings.rebuild, sync=settings.sync
        )

    def tell(notice: Notice) -> None:
        for observer in harvest.observers:
            observer(notice)

    opened = await open_when_free(open_now, harvest.wait_for_lock, tell)
    try:
        left = _shortened(settings, host.clock() - began_at)
        return await _run_opened(replace(harvest, settings=left), opened, host, began)
    finally:
        opened.close()


def _shortened(settings: RunSettings, waited: float) -> RunSettings:
    """The settings of a run that has waited: its time runs from when it was started."""
    limits = settings.limits
    if limits.max_runtime is None:
        return settings
    return replace(
        settings, limits=replace(limits, max_runtime=max(0, limits.max_runtime - waited))
    )


async def _run_opened(
    harvest: Harvest,
    opened: Opened,
    host: Host,
    began: Callable[[Run], None],
) -> Summary:
    settings, ledger = harvest.settings, opened.ledger
    found = begin(opened, settings, host, has_input=harvest.has_input)
    async with AsyncExitStack() as stack:
        ledger_thread = stack.enter_context(ThreadPoolExecutor(1, "harvester-ledger"))
        output_thread = stack.enter_context(ThreadPoolExecutor(1, "harvester-output"))
        lanes = await _lanes(harvest, ledger, stack)
        ports = Ports(
            ThreadedLedger(ledger, ledger_thread),
            ThreadedSink(opened.output, opened.reserve, output_thread),
            pages_from(harvest.pages),
            host.clock,
            random.random,
            harvest.observers,
        )
        run = Run(settings, ports, lanes)
        began(run)
        _tell_began(run, opened, settings)
        _tell_found(run, opened, found.found_unanswered)
        summary = await run.run()
    summary = replace(
        summary, found_unanswered=found.found_unanswered, adopted=opened.mended.adopted
    )
    # On a full disk the summary matters more than its copy in the ledger.
    with suppress(LocalIOError):
        if settings.calling.is_rate_found and summary.calls:
            ledger.remember_borne(run.lanes.found)
        ledger.finish_run(summary.reason, summary.exit_code)
    run.tell(RunEnded(summary))
    if run.failure is not None:
        raise run.failure
    return summary


async def _lanes(harvest: Harvest, ledger: SqliteLedger, stack: AsyncExitStack) -> list[Lane]:
    """A lane for each token, to the API or to an embedded simulator."""
    settings = harvest.settings
    base_url = await stack.enter_async_context(_server(harvest))
    tokens = (_SIMULATED_TOKEN,) if settings.simulated else harvest.tokens
    lanes = []
    for number, token in enumerate(tokens, 1):
        path, cache = endpoint_path(settings.endpoint), settings.calling.accept_cache
        target = Target(base_url, path, token, cache)
        client = await stack.enter_async_context(calling(target, settings.calling.timeout))
        name = f"token {number} of {len(tokens)}"
        lanes.append(Lane(name, client, pace_of(settings, ledger)))
    return lanes


def pace_of(settings: RunSettings, ledger: SqliteLedger) -> Pace:
    """The pace asked for, or one that finds itself from where the last run found it."""
    calling = settings.calling
    if not calling.is_rate_found:
        return Pace(calling.rate, calling.burst)
    borne = ledger.borne()
    start = START if borne is None else borne * _NEAR
    return Pace(calling.rate, calling.burst, start)


@asynccontextmanager
async def _server(harvest: Harvest) -> AsyncIterator[str]:
    """The base URL to call: the one given, or that of an embedded simulator."""
    if not harvest.settings.simulated:
        yield harvest.base_url
        return
    async with serving(_EMBEDDED) as simulator:
        yield simulator.url


def _tell_began(run: Run, opened: Opened, settings: RunSettings) -> None:
    counts = opened.ledger.counts()
    run.tell(
        RunBegan(
            str(opened.output.path),
            settings.endpoint,
            settings.simulated,
            counts.done,
            counts.queued,
            counts.failed,
        )
    )


def _tell_found(run: Run, opened: Opened, unanswered: int) -> None:
    mended = opened.mended
    if mended.set_aside is not None:
        text = f"the ledger was damaged and is kept as {mended.set_aside}: name your INPUT again"
        run.tell(Notice("set aside", text))
    if mended.is_rebuilt:
        run.tell(Notice("rebuilt", f"the ledger was rebuilt from {opened.output.path}"))
    elif mended.adopted:
        text = f"adopted {mended.adopted} paid lines that the last run could not record"
        run.tell(Notice("adopted", text))
    if mended.cut:
        run.tell(Notice("cut", f"cut {mended.cut} bytes of a torn last line"))
    if mended.lost:
        text = f"the power was cut: {mended.lost} notes of the last second are fetched again"
        run.tell(Notice("lost", text))
    if unanswered:
        text = f"{unanswered} calls of the last run may have been charged without an answer"
        run.tell(Notice("unanswered", text))
