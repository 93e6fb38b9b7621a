"""One way in: opens all that a run needs, gives the run, and takes it apart again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_address
from typing import BinaryIO
from urllib.parse import urlsplit

from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.descriptors import few_descriptors
from harvester.disk import boot_id
from harvester.engine.calling import lanes_to
from harvester.engine.opening import MOST_IN_FLIGHT, Host, Opened, begin, identity_of, open_harvest
from harvester.engine.ports import Event, Notice, Observer, Ports, RunBegan, RunEnded
from harvester.engine.reading import pages_from
from harvester.engine.run import QUEUE_LOST, Run, RunStart
from harvester.engine.sharing import Sharing
from harvester.engine.waiting import done_in_time, open_when_free
from harvester.errors import HarvesterError, LocalIOError
from harvester.halt import Halt
from harvester.ledger.protocol import Identity
from harvester.ledger.threaded import ThreadedLedger
from harvester.model import Page, StopReason, Summary
from harvester.output.threaded import ThreadedSink
from harvester.sides import Side
from harvester.source.given import pages_of
from harvester.threads import OneThread


def steady_clock() -> Callable[[], float]:
    """Unix seconds that never step while a run is on, whatever is done to the wall clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


def this_host() -> Host:
    """The machine we run on."""
    return Host(steady_clock(), boot=boot_id())


def is_local(base_url: str) -> bool:
    """Whether a URL is of this machine, where a simulator may answer."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@asynccontextmanager
async def open_run(
    config: RunConfig, observers: tuple[Observer, ...] = (), stdin: BinaryIO | None = None
) -> AsyncIterator[Run]:
    """A run that is ready to `run`; while another holds OUTPUT, it is waited for as config says.

    Raises HarvesterError before the first call, if INPUT, OUTPUT or its ledger cannot be used; and
    at its end what an observer raised.
    """
    opening, reading = Halt(), Halt()
    host = replace(this_host(), look=opening.look)
    began_at = host.clock()
    sharing = None if config.fleet is None else Sharing(config.fleet, config, host)
    in_flight = (config.workers or MOST_IN_FLIGHT) * len(config.tokens)

    def open_now() -> Opened:
        identity, local = Identity(config.endpoint, config.simulate), is_local(config.base_url)
        if sharing is not None:
            return sharing.open(identity, in_flight, is_local=local)
        return open_harvest(
            config.output,
            identity,
            host,
            rebuild=config.rebuild,
            sync=config.sync,
            in_flight=in_flight,
            is_local=local,
        )

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    def left() -> float | None:
        limit = config.max_runtime
        return None if limit is None else max(0, limit - (host.clock() - began_at))

    # What is named may be a pipe that nobody writes to, or is to be read whole.
    read = partial(pages_of, config.inputs, config.input_options, stdin, reading.look)
    pages = pages_from(await done_in_time(read, reading, left()), reading)
    opened = await open_when_free(open_now, config.wait_for_lock, emit, opening, left)
    try:
        # Its time runs from when it was started.
        shortened = replace(config, max_runtime=left())
        async with _running(shortened, opened, host, pages, observers, sharing) as run:
            yield run
    finally:
        opened.close()


@asynccontextmanager
async def _running(
    config: RunConfig,
    opened: Opened,
    host: Host,
    pages: AsyncIterator[Page],
    observers: tuple[Observer, ...],
    sharing: Sharing | None,
) -> AsyncIterator[Run]:
    """The run of what is open; how it ended is written down."""
    found = begin(opened, config, host)
    mended, held = opened.mended, identity_of(opened.output)
    start = RunStart(
        None if held is None else held.simulated,
        found.found_unanswered,
        mended.adopted,
        is_queue_lost=mended.is_queue_lost and not config.has_input,
    )
    async with AsyncExitStack() as stack:
        try:
            ledger_thread = stack.enter_context(OneThread("harvester-ledger"))
            output_thread = stack.enter_context(OneThread("harvester-output"))
            lanes = await lanes_to(config, opened.ledger, stack, is_shared=sharing is not None)
            ports = Ports(
                ThreadedLedger(opened.ledger, ledger_thread),
                ThreadedSink(opened.output, opened.spool, output_thread),
                pages,
                host.clock,
                random.random,
                observers,
            )
            companion = None
            if sharing is not None:
                companion = await stack.enter_async_context(
                    sharing.joined(opened.part, found.run, lanes)
                )
        except asyncio.CancelledError:
            end = StopReason.CANCELLED
            with suppress(HarvesterError):
                opened.ledger.finish_run(end.value, end.exit_code)
            raise
        run = Run(config, ports, lanes, companion, start)
        if sharing is not None:
            sharing.waiting.watch(run)
        _tell_began(run, opened, config)
        for notice in _notices(opened, start):
            run.tell(notice)
        _tell_few(run, config)
        yield run
    if sharing is not None:
        sharing.waiting.end()
    if run.summary is not None:
        _write_down(run.summary, run, opened, config)
        run.tell(RunEnded(run.summary))
    if run.failure is not None:
        raise run.failure


def _write_down(summary: Summary, run: Run, opened: Opened, config: RunConfig) -> None:
    ledger = opened.ledger
    # On a full disk the summary matters more than its copy in the ledger.
    with suppress(LocalIOError):
        held = identity_of(opened.output)
        if held is not None and not opened.part:
            # Only the answers of a server on this machine tell that it is a simulator.
            ledger.identify(held)
        if config.rate is None and summary.calls:
            ledger.remember_start_rate(run.lanes.next_start_rate)
        ledger.finish_run(summary.reason, summary.exit_code, summary.bad_lines)


def _tell_began(run: Run, opened: Opened, config: RunConfig) -> None:
    counts = opened.ledger.counts()
    run.tell(
        RunBegan(
            str(opened.output.path),
            config.endpoint,
            config.simulate,
            counts.done,
            counts.queued,
            counts.failed,
        )
    )


def _tell_few(run: Run, config: RunConfig) -> None:
    """Say where there are fewer descriptors than calls that may be in flight."""
    wanted = min(config.workers or MOST_IN_FLIGHT, config.top_rate.per_second * config.timeout)
    if run.lanes.most < wanted:
        run.tell(Notice("few descriptors", few_descriptors(run.lanes.most)))


def _notices(opened: Opened, start: RunStart) -> Iterator[Notice]:
    """What opening found and had to mend."""
    mended, place = opened.mended, opened.output.path
    if mended.set_aside is not None:
        text = f"the ledger was damaged and is kept as {mended.set_aside}: name your INPUT again"
        yield Notice("set aside", text)
    if mended.warning:
        yield Notice("disk", mended.warning)
    if mended.is_read_anew:
        text = f"{place} was stored in another way since, and read anew: all is there"
        yield Notice("read anew", text)
    if mended.is_rebuilt:
        text = f"the ledger was rebuilt from {place}"
        text += f"; {QUEUE_LOST}" if mended.is_queue_lost else ""
        yield Notice("rebuilt", text)
    elif mended.adopted:
        text = f"adopted {mended.adopted} paid lines that the last run could not record"
        yield Notice("adopted", text)
    if mended.cut:
        kept = Side.CUT.of(place).name
        text = f"cut {mended.cut} bytes of a torn last line; they are kept in {kept}"
        yield Notice("cut", text)
    if mended.lost:
        text = f"the power was cut: {mended.lost} notes of the last second are fetched again"
        yield Notice("lost", text)
    if start.found_unanswered:
        text = f"{start.found_unanswered} calls of the last run may have been charged without an "
        yield Notice("unanswered", f"{text}answer")
