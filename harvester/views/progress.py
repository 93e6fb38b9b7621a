"""A run while it goes on: a bar on a terminal, else a plain or JSON line now and then."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

import orjson
from msgspec import Struct
from msgspec.structs import asdict
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harvester.engine.run import Run
from harvester.views.words import codes, duration

_BAR_EVERY = 0.25
_LINE_EVERY = 30.0
# The rate shown is that of the latest seconds, so that it follows what happens.
_RATE_SECONDS = 30.0
_BETWEEN = " · "
# A line as wide as the terminal would wrap on some, and Ctrl-C is echoed at its end as ^C.
_SPARE = 3
_WIDEST_BAR = 40
# Room beside the bar for "20,000/20,000 · 12 h 59 min left".
_BESIDE = 32


class Snapshot(Struct, frozen=True):
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
        finished = progress.settled
        now = self._clock()
        samples = self._samples
        samples.append((now, progress.spent.calls, finished))
        # The first one kept is the latest that is old enough: the stretch is never shorter.
        while len(samples) > 1 and now - samples[1][0] >= _RATE_SECONDS:
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
    return orjson.dumps({"event": "progress"} | asdict(snap)).decode()


async def show_lines(run: Run, stream: TextIO, form: Callable[[Snapshot], str]) -> None:
    """Write a line now and then, until cancelled."""
    meter = Meter(run)
    meter.read()
    while True:
        await asyncio.sleep(_LINE_EVERY)
        stream.write(form(meter.read()) + "\n")
        stream.flush()


async def show_bar(run: Run, stream: TextIO, is_behind: Callable[[], bool]) -> None:
    """Draw a bar, until cancelled; lines where the stream is no terminal that could move up.

    While what was written is still on its way, nothing is drawn.
    """
    # Soft: long lines that are written above the bar stay whole for those who copy them.
    console = Console(file=stream, soft_wrap=True)
    if not console.is_terminal or console.is_dumb_terminal:
        await show_lines(run, stream, plain_line)
        return
    meter = Meter(run)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            if not is_behind():
                live.update(_drawn(meter.read(), console.width - _SPARE), refresh=True)
            await asyncio.sleep(_BAR_EVERY)


def _drawn(snap: Snapshot, width: int) -> Group:
    """Two lines, neither wider than `width` cells."""
    bar = ProgressBar(snap.total or 1, snap.done, width=_bar_width(width))
    first = Table.grid(padding=(0, 1, 0, 0))
    first.add_row(bar, _one_line(beside_bar(snap, width - _bar_width(width) - 1)))
    return Group(first, _one_line(below_bar(snap, width)))


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _bar_width(width: int) -> int:
    # Always the same at the same width, so that nothing moves as numbers grow.
    return max(4, min(_WIDEST_BAR, width - _BESIDE))


def beside_bar(snap: Snapshot, width: int) -> str:
    """What stands beside the bar, at most `width` cells of it, the most important first to stay."""
    total = f"{snap.total:,}" + ("" if snap.is_read else "+")
    parts = [(0, f"{snap.done:,}/{total}"), (2, f"{_percent(snap)} %")]
    if snap.eta is not None:
        parts.append((1, f"{duration(snap.eta)} left"))
    return _fitting(parts, width)


def _percent(snap: Snapshot) -> int:
    return snap.done * 100 // snap.total if snap.total else 0


def below_bar(snap: Snapshot, width: int) -> str:
    """The line below the bar, at most `width` cells: the least important parts go first."""
    parts = [
        (0, f"{snap.rate:.1f} calls/s"),
        (1, f"{snap.in_flight:,} in flight"),
        (4, f"{snap.waiting:,} waiting"),
        (3, f"{snap.charged:,} charged"),
    ]
    if snap.failed:
        parts.append((2, f"{snap.failed:,} failed"))
    line = _fitting(parts, width)
    room = width - cell_len(line + _BETWEEN)
    by_code = _codes_cut(snap.by_code, room) if len(line.split(_BETWEEN)) == len(parts) else ""
    return line + _BETWEEN + by_code if by_code else line


def _fitting(parts: list[tuple[int, str]], width: int) -> str:
    """Parts in their order, less the ones of the highest rank until the rest fits."""
    kept = list(parts)
    while len(kept) > 1 and cell_len(_joined(kept)) > width:
        kept.remove(max(kept))
    return _joined(kept)


def _joined(parts: list[tuple[int, str]]) -> str:
    return _BETWEEN.join(text for _, text in parts)


def _codes_cut(by_code: dict[str, int], width: int) -> str:
    """The answers by code, cut between two of them; nothing where not even one fits."""
    whole = "codes " + codes(by_code)
    if cell_len(whole) <= width:
        return whole
    kept = dict(by_code)
    while kept:
        kept.popitem()
        cut = f"codes {codes(kept)}, …"
        if kept and cell_len(cut) <= width:
            return cut
    return ""
