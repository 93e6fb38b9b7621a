"""A run while it goes on, in words: what stands at its bar, or a line now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TextIO

from rich.cells import cell_len

from harvester.engine.run import Run
from harvester.formatting import codes, duration
from harvester.json_text import to_json, told
from harvester.observe.sampler import ProgressSampler, Snapshot

_LINE_EVERY = 30.0
_BETWEEN = " · "


def plain_line(snap: Snapshot) -> str:
    """A snapshot as one line without escape codes."""
    total = f"{snap.total:,}" + ("" if snap.is_read else "+")
    eta = "" if snap.eta is None else f", {duration(snap.eta)} left"
    others = "".join(f", {text}" for text in _lost(snap))
    cost = "" if snap.cost is None else f", {snap.cost:,.2f} spent"
    return "".join(f"{text}; " for text in _resting(snap)) + (
        f"{snap.done:,} of {total} done{others}{cost}, {snap.rate:.1f} calls/s{eta}; "
        f"{snap.in_flight:,} in flight, {snap.waiting:,} waiting; by code: {codes(snap.by_code)}"
    )


def _resting(snap: Snapshot) -> Iterator[str]:
    """Until when nothing is sent, and why, by the clock of who reads it; nothing if all goes on."""
    if snap.resumes_at is not None:
        yield f"waiting for the next day, until {_local(snap.resumes_at):%a %H:%M %Z}"
    elif snap.next_due is not None:
        yield f"waiting to try what is left again, until {_local(snap.next_due):%H:%M:%S}"


def _local(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC).astimezone()


def _lost(snap: Snapshot) -> Iterator[str]:
    """The notes that will not be had."""
    if snap.failed > snap.gone:
        yield f"{snap.failed - snap.gone:,} failed"
    if snap.gone:
        yield f"{snap.gone:,} gone"


def json_line(snap: Snapshot) -> str:
    """A snapshot as one JSON object."""
    return to_json({"at": snap.at, "event": "progress"} | told(snap)).decode()


async def show_lines(run: Run, stream: TextIO, form: Callable[[Snapshot], str]) -> None:
    """Write a line now and then, until cancelled."""
    sampler = ProgressSampler(run)
    sampler.read()
    while True:
        await asyncio.sleep(_LINE_EVERY)
        stream.write(form(sampler.read()) + "\n")
        stream.flush()


def beside_bar(snap: Snapshot, width: int) -> str:
    """What stands beside the bar, at most `width` cells of it, the most important first to stay."""
    total = f"{snap.total:,}" + ("" if snap.is_read else "+")
    parts = [(0, f"{snap.done:,}/{total}"), (2, f"{snap.done * 100 // (snap.total or 1)} %")]
    if snap.eta is not None:
        parts.append((1, f"{duration(snap.eta)} left"))
    return _fitting(parts, width)


def below_bar(snap: Snapshot, width: int) -> str:
    """The line below the bar, at most `width` cells: the least important parts go first."""
    for text in _resting(snap):
        return _fitting([(0, text), (1, f"{snap.charged:,} charged")], width)
    parts = [
        (0, f"{snap.rate:.1f} calls/s"),
        (1, f"{snap.in_flight:,} in flight"),
        (4, f"{snap.waiting:,} waiting"),
        (3, f"{snap.charged:,} charged" + ("" if snap.cost is None else f" ({snap.cost:,.2f})")),
        *((2, text) for text in _lost(snap)),
    ]
    codes = enumerate(snap.by_code.items(), 5)
    parts += [(rank, f"code {code}: {many:,}") for rank, (code, many) in codes]
    return _fitting(parts, width)


def _fitting(parts: list[tuple[int, str]], width: int) -> str:
    """Parts in their order, less the ones of the highest rank until the rest fits."""
    kept = list(parts)
    while len(kept) > 1 and cell_len(_joined(kept)) > width:
        kept.remove(max(kept))
    return _joined(kept)


def _joined(parts: list[tuple[int, str]]) -> str:
    return _BETWEEN.join(text for _, text in parts)
