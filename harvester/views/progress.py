"""A run while it goes on: a bar on a terminal, else a plain or JSON line now and then."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

import orjson
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from harvester.engine.run import Run
from harvester.views.words import codes, duration

_BAR_EVERY = 0.25
_LINE_EVERY = 30.0
# The rate shown is that of the latest seconds, so that it follows what happens.
_RATE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at a moment: counts of jobs and calls, calls a second, seconds left (None unknown)."""

    done: int
    total: int
    failed: int
    in_flight: int
    waiting: int
    charged: int
    calls: int
    by_code: dict[str, int]
    rate: float
    eta: float | None
    is_read: bool


class Meter:
    """Takes snapshots of a run and knows the rate of its latest seconds."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()

    def read(self) -> Snapshot:
        """The run as it is now."""
        progress = self._run.progress
        finished = progress.done + progress.failed
        now = self._clock()
        samples = self._samples
        samples.append((now, progress.spent.calls, finished))
        while now - samples[0][0] > _RATE_SECONDS:
            samples.popleft()
        began, calls, before = samples[0]
        elapsed = now - began
        speed = (finished - before) / elapsed if elapsed else 0.0
        return Snapshot(
            done=progress.done,
            total=progress.total,
            failed=progress.failed,
            in_flight=len(progress.flying),
            waiting=progress.waiting,
            charged=progress.spent.charged,
            calls=progress.spent.calls,
            by_code=dict(sorted(progress.by_code.items())),
            rate=(progress.spent.calls - calls) / elapsed if elapsed else 0.0,
            eta=progress.queued / speed if speed else None,
            is_read=progress.is_read,
        )


def plain_line(snap: Snapshot) -> str:
    """A snapshot as one line without escape codes."""
    total = f"{snap.total:,}" + ("" if snap.is_read else "+")
    eta = "" if snap.eta is None else f", {duration(snap.eta)} left"
    failed = f", {snap.failed:,} failed" if snap.failed else ""
    return (
        f"{snap.done:,} of {total} done{failed}, {snap.rate:.1f} calls/s{eta}; "
        f"{snap.in_flight:,} in flight, {snap.waiting:,} waiting; by code: {codes(snap.by_code)}"
    )


def json_line(snap: Snapshot) -> str:
    """A snapshot as one JSON object."""
    return orjson.dumps({"event": "progress"} | _fields(snap)).decode()


def _fields(snap: Snapshot) -> dict[str, object]:
    return {name: getattr(snap, name) for name in Snapshot.__slots__}


async def show_lines(run: Run, stream: TextIO, form: Callable[[Snapshot], str]) -> None:
    """Write a line now and then, until cancelled."""
    meter = Meter(run)
    meter.read()
    while True:
        await asyncio.sleep(_LINE_EVERY)
        stream.write(form(meter.read()) + "\n")
        stream.flush()


async def show_bar(run: Run, stream: TextIO) -> None:
    """Draw a bar on a terminal, until cancelled."""
    meter = Meter(run)
    console = Console(file=stream)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    task = bar.add_task("notes", total=None, eta="")
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            snap = meter.read()
            eta = "" if snap.eta is None else f"{duration(snap.eta)} left"
            bar.update(task, total=snap.total, completed=snap.done, eta=eta)
            live.update(_drawn(bar, snap), refresh=True)
            await asyncio.sleep(_BAR_EVERY)


def _drawn(bar: Progress, snap: Snapshot) -> Table:
    grid = Table.grid()
    grid.add_row(bar)
    failed = f" · {snap.failed:,} failed" if snap.failed else ""
    grid.add_row(
        f"{snap.rate:.1f} calls/s · {snap.in_flight:,} in flight · {snap.waiting:,} waiting · "
        f"{snap.charged:,} charged{failed} · by code {codes(snap.by_code)}"
    )
    return grid
