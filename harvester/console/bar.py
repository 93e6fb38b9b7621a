"""A run while it goes on, as a bar on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harvester.console.progress import below_bar, beside_bar, plain_line, show_lines
from harvester.engine.run import Run
from harvester.observe.sampler import ProgressSampler, Snapshot

_BAR_EVERY = 0.25
# A line as wide as the terminal would wrap on some, and Ctrl-C is echoed at its end as ^C.
_SPARE = 3
_WIDEST_BAR = 40
# Room beside the bar for "20,000/20,000 · 12 h 59 min left".
_BESIDE = 32


async def show_bar(run: Run, stream: TextIO, is_behind: Callable[[], bool]) -> None:
    """Draw a bar, until cancelled; lines where the stream is no terminal that could move up.

    While what was written is still on its way, nothing is drawn.
    """
    # Soft: long lines that are written above the bar stay whole for those who copy them.
    console = Console(file=stream, soft_wrap=True)
    if not console.is_terminal or console.is_dumb_terminal:
        await show_lines(run, stream, plain_line)
        return
    sampler = ProgressSampler(run)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            if not is_behind():
                live.update(_drawn(sampler.read(), console.width - _SPARE), refresh=True)
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
