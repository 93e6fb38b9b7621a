"""Puts one harvest together from its rooms, runs it, and takes it apart again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from harvester.api.proxy import Proxy
from harvester.descriptors import few_descriptors
from harvester.disk import boot_id
from harvester.engine.calling import lanes_to
from harvester.engine.opening import MOST_IN_FLIGHT, Host, Opened, begin, identity_of, open_harvest
from harvester.engine.ports import Notice, Observer, Ports, RunBegan, RunEnded
from harvester.engine.reading import pages_from
from harvester.engine.run import Run
from harvester.engine.sharing import Sharing
from harvester.engine.waiting import done_in_time, open_when_free
from harvester.errors import HarvesterError, LocalIOError
from harvester.halt import Halt, Look
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.protocol import Identity, Opening
from harvester.ledger.threaded import ThreadedLedger
from harvester.model import Page, StopReason, Summary
from harvester.output.threaded import ThreadedSink
from harvester.secret import Secret
from harvester.settings import Calling, RunSettings
from harvester.sides import Side
from harvester.threads import OneThread

_QUEUE_LOST = "what was still queued is not known: name the INPUT to go on with it"


class Harvest(Struct, frozen=True):
    """What to harvest: pages of note ids into an output, from a base URL with one token or more.

    `pages` opens the input, which may take long: it reads all of one that is to be checked first.
    While another run holds the output, it is waited for, at most `wait_for_lock` seconds. With
    `fleet` the output is one part of a harvest that hosts share.
    """

    settings: RunSettings
    output: Path
    pages: Callable[[Look], Iterator[Page]]
    base_url: str
    tokens: tuple[Secret[str], ...]
    observers: tuple[Observer, ...] = ()
    has_input: bool = True
    wait_for_lock: float = 0.0
    fleet: FleetAddress | None = None
    proxy: Proxy | None = None


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
    opening, reading = Halt(), Halt()
    host = replace(this_host(), look=opening.look)
    settings = harvest.settings
    identity = Identity(settings.endpoint, settings.simulated)
    began_at = host.clock()
    sharing = None
    if harvest.fleet is not None:
        sharing = Sharing(harvest.fleet, settings, harvest.tokens, host)

    in_flight = (settings.calling.workers or MOST_IN_FLIGHT) * len(harvest.tokens)
    local = is_local(harvest.base_url)

    def open_now() -> Opened:
        if sharing is not None:
            return sharing.open(harvest.output, identity, in_flight, is_local=local)
        return open_harvest(
            harvest.output,
            identity,
            host,
            rebuild=settings.rebuild,
            sync=settings.sync,
            in_flight=in_flight,
            is_local=local,
        )

    def tell(notice: Notice) -> None:
        for observer in harvest.observers:
            observer(notice)

    def left() -> float | None:
        limit = settings.limits.max_runtime
        return None if limit is None else max(0, limit - (host.clock() - began_at))

    pages = await done_in_time(partial(harvest.pages, reading.look), reading, left())
    opened = await open_when_free(open_now, harvest.wait_for_lock, tell, opening, left)
    try:
        # Its time runs from when it was started.
        limits = replace(settings.limits, max_runtime=left())
        shortened = replace(harvest, settings=replace(settings, limits=limits))
        read = pages_from(pages, reading)
        return await _run_opened(shortened, read, opened, host, sharing, began)
    finally:
        opened.close()


def is_local(base_url: str) -> bool:
    """Whether a URL is of this machine, where a simulator may answer."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _run_opened(
    harvest: Harvest,
    pages: AsyncIterator[Page],
    opened: Opened,
    host: Host,
    sharing: Sharing | None,
    began: Callable[[Run], None],
) -> Summary:
    found = begin(opened, harvest.settings, host, has_input=harvest.has_input)
    async with AsyncExitStack() as stack:
        try:
            run = await _line(harvest, pages, opened, host, sharing, found, stack)
        except asyncio.CancelledError:
            end = StopReason.CANCELLED
            with suppress(HarvesterError):
                opened.ledger.finish_run(end.value, end.exit_code)
            raise
        began(run)
        _tell_began(run, opened, harvest.settings)
        _tell_found(run, opened, found.found_unanswered)
        _tell_few(run, harvest.settings.calling)
        summary = await run.run()
    if sharing is not None:
        sharing.waiting.end()
    summary = replace(
        summary, found_unanswered=found.found_unanswered, adopted=opened.mended.adopted
    )
    if opened.mended.is_queue_lost and not harvest.has_input:
        detail = f"{summary.detail} {_QUEUE_LOST}".strip()
        summary = replace(summary, detail=detail, is_queue_lost=True)
    _write_down(summary, run, opened, harvest.settings)
    run.tell(RunEnded(summary))
    if run.failure is not None:
        raise run.failure
    return summary


async def _line(
    harvest: Harvest,
    pages: AsyncIterator[Page],
    opened: Opened,
    host: Host,
    sharing: Sharing | None,
    found: Opening,
    stack: AsyncExitStack,
) -> Run:
    """The run, with all that it needs; what is to be closed again is the stack's."""
    settings, ledger = harvest.settings, opened.ledger
    ledger_thread = stack.enter_context(OneThread("harvester-ledger"))
    output_thread = stack.enter_context(OneThread("harvester-output"))
    lanes = await lanes_to(
        harvest.base_url,
        harvest.tokens,
        settings,
        ledger,
        stack,
        proxy=harvest.proxy,
        is_shared=sharing is not None,
    )
    ports = Ports(
        ThreadedLedger(ledger, ledger_thread),
        ThreadedSink(opened.output, opened.reserve, output_thread),
        pages,
        host.clock,
        random.random,
        harvest.observers,
    )
    held = identity_of(opened.output)
    simulated = None if held is None else held.simulated
    if sharing is None:
        return Run(settings, ports, lanes, simulated=simulated)
    companion = await stack.enter_async_context(sharing.joined(opened.part, found.run, lanes))
    run = Run(settings, ports, lanes, companion, simulated=simulated)
    sharing.waiting.watch(run)
    return run


def _write_down(summary: Summary, run: Run, opened: Opened, settings: RunSettings) -> None:
    ledger = opened.ledger
    # On a full disk the summary matters more than its copy in the ledger.
    with suppress(LocalIOError):
        held = identity_of(opened.output)
        if held is not None and not opened.part:
            # Only the answers of a server on this machine tell that it is a simulator.
            ledger.identify(held)
        if settings.calling.is_rate_found and summary.calls:
            ledger.remember_borne(run.lanes.found)
        ledger.finish_run(summary.reason, summary.exit_code, summary.bad_lines)


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


def _tell_few(run: Run, calling: Calling) -> None:
    """Say where there are fewer descriptors than calls that may be in flight."""
    wanted = min(calling.workers or MOST_IN_FLIGHT, calling.rate.per_second * calling.timeout)
    if run.lanes.most < wanted:
        run.tell(Notice("few descriptors", few_descriptors(run.lanes.most)))


def _tell_found(run: Run, opened: Opened, unanswered: int) -> None:
    mended, place = opened.mended, opened.output.path
    if mended.set_aside is not None:
        text = f"the ledger was damaged and is kept as {mended.set_aside}: name your INPUT again"
        run.tell(Notice("set aside", text))
    if mended.warning:
        run.tell(Notice("disk", mended.warning))
    if mended.is_read_anew:
        text = f"{opened.output.path} was stored in another way since, and read anew: all is there"
        run.tell(Notice("read anew", text))
    if mended.is_rebuilt:
        text = f"the ledger was rebuilt from {opened.output.path}"
        text += f"; {_QUEUE_LOST}" if mended.is_queue_lost else ""
        run.tell(Notice("rebuilt", text))
    elif mended.adopted:
        text = f"adopted {mended.adopted} paid lines that the last run could not record"
        run.tell(Notice("adopted", text))
    if mended.cut:
        kept = Side.CUT.of(place).name
        text = f"cut {mended.cut} bytes of a torn last line; they are kept in {kept}"
        run.tell(Notice("cut", text))
    if mended.lost:
        text = f"the power was cut: {mended.lost} notes of the last second are fetched again"
        run.tell(Notice("lost", text))
    if unanswered:
        text = f"{unanswered} calls of the last run may have been charged without an answer"
        run.tell(Notice("unanswered", text))
