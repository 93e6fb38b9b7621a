"""One way in: opens all that a run needs, gives the run, and takes it apart again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from harvester.api.account import AccountPages
from harvester.api.rooms import Rooms
from harvester.config import RunConfig
from harvester.descriptors import few_descriptors
from harvester.disk import boot_id
from harvester.engine.alone import Alone
from harvester.engine.clients import open_clients
from harvester.engine.fleet import FleetSession
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.input_thread import pages_from
from harvester.engine.kind import identity_of
from harvester.engine.open_output import begin
from harvester.engine.ports import BalanceSource, Event, Notice, Observer, Ports, RunBegan, RunEnded
from harvester.engine.run import QUEUE_LOST, PriorState, Run
from harvester.errors import HarvesterError, LocalIOError, OutputLockedError
from harvester.formatting import count, duration
from harvester.halt import Halt
from harvester.ledger.protocol import Ledger
from harvester.model import Page, StopReason, Summary
from harvester.output.sink import Sink
from harvester.rules.adaptive_rate import START
from harvester.sides import Side
from harvester.source.given import pages_of
from harvester.threads import OneThread, done_in_time

# A lock of the system's can be asked for, or waited for without end; so it is asked for again.
_LOOK_EVERY = 0.5
# Begun at once with the rate that was sustained last time, a night would begin with a refusal.
_NEAR = 0.9


# Where the monotonic clock stands still while the machine sleeps, there is another that does not.
_AWAKE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_clock() -> Callable[[], float]:
    """Unix seconds that never step while a run is on, whatever is done to the wall clock."""
    offset = time.time() - time.clock_gettime(_AWAKE)
    return lambda: offset + time.clock_gettime(_AWAKE)


def this_environment() -> Environment:
    """The machine we run on."""
    return Environment(steady_clock(), boot=boot_id())


@asynccontextmanager
async def open_run(
    config: RunConfig, observers: tuple[Observer, ...] = (), stdin: BinaryIO | None = None
) -> AsyncIterator[Run]:
    """A run that is ready to `run`; while another holds OUTPUT, it is waited for as config says.

    Raises HarvesterError before the first call, if INPUT, OUTPUT or its ledger cannot be used; and
    at its end what an observer raised.
    """
    halt, reading = Halt(), Halt()
    env = replace(this_environment(), look=halt.look)
    began_at = env.clock()
    coordinator = Alone() if config.fleet is None else FleetSession(config.fleet, config)

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    def left() -> float | None:
        limit = config.max_runtime
        return None if limit is None else max(0, limit - (env.clock() - began_at))

    # What is named may be a pipe that nobody writes to, or is to be read whole.
    read = partial(pages_of, config.inputs, config.input_options, stdin, reading.look)
    pages = pages_from(await done_in_time(read, reading, left()), reading)
    open_now = partial(coordinator.open, config, env)
    opened = await open_when_free(open_now, config.wait_for_lock, emit, halt, left)
    try:
        # Its time runs from when it was started.
        shortened = replace(config, max_runtime=left())
        assembly = _Assembly(shortened, coordinator, opened, env, pages, observers)
        async with _running(assembly) as run:
            yield run
    finally:
        opened.close()


async def open_when_free(
    open_now: Callable[[], OpenOutput],
    longest: float,
    emit: Callable[[Notice], None],
    halt: Halt,
    left: Callable[[], float | None],
) -> OpenOutput:
    """Open as soon as nobody else holds OUTPUT, trying for at most `longest` seconds.

    `open_now` is called as `done_in_time` does, with what is `left` of the run's time, and may be
    cut off anywhere, as by a crash. `emit` is called once, and only if there is something to wait
    for. Raises OutputLockedError when the time is over, HaltedError, and whatever else `open_now`
    raises, at once.
    """
    end = asyncio.get_running_loop().time() + longest
    is_told = False
    while True:
        try:
            return await done_in_time(open_now, halt, left(), OpenOutput.close)
        except OutputLockedError as error:
            waits = end - asyncio.get_running_loop().time()
            if waits <= 0:
                way_out = "With --wait-for-lock 10m a run waits for it."
                told = f"It was waited for {duration(longest)}." if longest else way_out
                raise OutputLockedError(f"{error} {told}") from None
        if not is_told:
            emit(
                Notice("waiting", f"another run holds OUTPUT: trying again for {duration(longest)}")
            )
            is_told = True
        await asyncio.sleep(min(_LOOK_EVERY, waits))


class _Assembly(Struct, frozen=True):
    """What a run is put together from."""

    config: RunConfig
    coordinator: Alone | FleetSession
    opened: OpenOutput
    env: Environment
    pages: AsyncIterator[Page]
    observers: tuple[Observer, ...]


@asynccontextmanager
async def _running(given: _Assembly) -> AsyncIterator[Run]:
    """The run of what is open; how it ended is written down."""
    config, opened = given.config, given.opened
    found = begin(opened, config, given.env)
    recovery, held = opened.recovery, identity_of(opened.output)
    prior = PriorState(
        None if held is None else held.simulated,
        found.found_unanswered,
        recovery.adopted,
        is_queue_lost=recovery.is_queue_lost and not config.has_input,
    )
    run: Run | None = None
    try:
        async with AsyncExitStack() as stack:
            run = await _assembled(given, prior, found.run, stack)
            _emit_began(run, opened, config)
            for notice in _notices(opened, prior):
                run.state.emit(notice)
            if found.joined and config.retry_failed:
                text = "others are at it, and have just tried: --retry-failed does nothing here; "
                run.state.emit(Notice("fleet", f"{text}`harvester retry` puts failed notes back"))
            _emit_few(run, config)
            yield run
    except asyncio.CancelledError:
        if run is None:
            end = StopReason.CANCELLED
            with suppress(HarvesterError):
                opened.ledger.finish_run(end.value, end.exit_code)
        raise
    finally:
        # However it ended: a cancelled run has drained.
        if run is not None and run.summary is not None:
            _write_down(run.summary, run, opened, config)
            run.state.emit(RunEnded(run.summary))
    if run.state.failure is not None:
        raise run.state.failure


async def _assembled(
    given: _Assembly, prior: PriorState, number: int, stack: AsyncExitStack
) -> Run:
    """A run with all that it needs, which the stack lets go of."""
    config, opened, coordinator = given.config, given.opened, given.coordinator
    ledger_thread = stack.enter_context(OneThread())
    output_thread = stack.enter_context(OneThread())
    reading = stack.enter_context(OneThread())
    throttle = partial(coordinator.throttle, config, start_rate(config, opened.ledger))
    clients = await open_clients(config, stack, throttle, Rooms(reading))
    ports = Ports(
        config,
        opened.ledger,
        ledger_thread,
        reading,
        Sink(opened.output, opened.spool, output_thread),
        given.pages,
        given.env.clock,
        random.random,
        coordinator,
        given.observers,
        _accounts(config),
    )
    run = Run(ports, clients, prior)
    await stack.enter_async_context(coordinator.joined(run, number))
    return run


def _accounts(config: RunConfig) -> tuple[BalanceSource, ...]:
    """Whom to ask for the balance."""
    if config.simulate or config.no_account:
        return ()
    base_url, redaction, proxy = config.base_url, config.redaction, config.proxy
    return tuple(AccountPages(base_url, each, redaction, proxy) for each in config.tokens)


def start_rate(config: RunConfig, ledger: Ledger) -> float | None:
    """Returns the calls a second to begin with where none were asked for, by the last run."""
    if config.rate is not None:
        return None
    found = ledger.start_rate()
    return START if found is None else found * _NEAR


def _write_down(summary: Summary, run: Run, opened: OpenOutput, config: RunConfig) -> None:
    ledger = opened.ledger
    # On a full disk the summary matters more than its copy in the ledger.
    with suppress(LocalIOError):
        held = identity_of(opened.output)
        if held is not None and not opened.part:
            # Only the answers of a server on this machine tell that it is a simulator.
            ledger.identify(held)
        if config.rate is None and summary.calls:
            ledger.remember_start_rate(run.pool.next_start_rate)
        example = next(map(str, summary.bad_examples), None)
        ledger.finish_run(summary.reason, summary.exit_code, summary.bad_lines, example)


def _emit_began(run: Run, opened: OpenOutput, config: RunConfig) -> None:
    counts = opened.ledger.counts()
    run.state.emit(
        RunBegan(
            str(opened.output.path),
            config.endpoint,
            config.simulate,
            counts.done,
            counts.queued,
            counts.failed,
        )
    )


def _emit_few(run: Run, config: RunConfig) -> None:
    """Say where there are fewer descriptors than calls that may be in flight."""
    wanted = min(config.most_workers, config.top_rate.per_second * config.timeout)
    if run.pool.most < wanted:
        run.state.emit(Notice("few descriptors", few_descriptors(run.pool.most)))


def _notices(opened: OpenOutput, prior: PriorState) -> Iterator[Notice]:
    """What opening found and had to mend."""
    recovery, place = opened.recovery, opened.output.path
    if recovery.set_aside is not None:
        text = f"the ledger was damaged and is kept as {recovery.set_aside}: name your INPUT again"
        yield Notice("set aside", text)
    if recovery.warning:
        yield Notice("disk", recovery.warning)
    if recovery.is_read_anew:
        text = f"{place} was stored in another way since, and read anew: all is there"
        yield Notice("read anew", text)
    if recovery.is_rebuilt:
        text = f"the ledger was rebuilt from {place}"
        text += f"; {QUEUE_LOST}" if recovery.is_queue_lost else ""
        yield Notice("rebuilt", text)
    elif recovery.adopted:
        text = f"adopted {count(recovery.adopted, 'paid line')} that the last run could not record"
        yield Notice("adopted", text)
    if recovery.cut:
        kept = Side.CUT.of(place).name
        text = f"cut {recovery.cut} bytes of a torn last line; they are kept in {kept}"
        yield Notice("cut", text)
    if recovery.lost:
        lost = count(recovery.lost, "note of the last second is", "notes of the last second are")
        yield Notice("lost", f"the power was cut: {lost} fetched again")
    if prior.found_unanswered:
        lost = count(prior.found_unanswered, "call")
        text = f"{lost} of the last run may have been charged without an answer"
        yield Notice("unanswered", text)
