"""A dry run: what a run would do, and what it would cost, sending and changing nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from harvester.ledger.reader import LedgerReader
from harvester.ledger.sqlite import SqliteLedger
from harvester.model import BadLine, State
from harvester.options import Inputs, Options, pages_of, settings_of
from harvester.plain import plain
from harvester.rules.tempo import START
from harvester.settings import Rate
from harvester.views.words import count, duration, money


def estimate_lines(
    inputs: Inputs, reader: LedgerReader | None, options: Options, price: float | None
) -> Iterator[str]:
    """Lines for people, going by a ledger if there is one.

    Raises what a run would raise before its first call.
    """
    settings = settings_of(options)
    bad: list[BadLine] = []
    with ExitStack() as stack:
        added, held = _look(inputs, options, reader, bad, stack)
        counts = None if reader is None else reader.counts(time.time())
    queued = 0 if counts is None else counts.queued + counts.exhausted
    if counts is not None and settings.retry_failed:
        queued += counts.rejected
    total = added + queued
    calling = settings.calling
    # A pace to be found begins with this one.
    rate = Rate(START, 1.0) if calling.is_rate_found else calling.rate
    seconds = total / rate.per_second
    yield f"{count(added, 'new note')}, {held:,} already known, {queued:,} queued before"
    yield (
        f"would make at least {count(total, 'call')}{money(total, price)}, in at least "
        f"{duration(seconds)} at {rate}"
    )
    if bad:
        yield f"{count(len(bad), 'line')} of input name no note:"
        yield from (f"  {plain(str(line), 600)}" for line in bad[:10])
    yield "dry run: nothing was sent, nothing was changed"


def _look(
    inputs: Inputs,
    options: Options,
    reader: LedgerReader | None,
    bad: list[BadLine],
    stack: ExitStack,
) -> tuple[int, int]:
    """Count new and known notes, each once, in a ledger thrown away afterwards."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harvester-")))
    scratch = SqliteLedger(folder / "ledger", time.time)
    stack.callback(scratch.close)
    added = held = 0
    for page in pages_of(inputs, options, None):
        bad += page.bad
        known: dict[str, State] = {} if reader is None else reader.known(page.ids)
        new = [note_id for note_id in page.ids if note_id not in known]
        added += scratch.enrol(new, None).added
        held += len(known)
    return added, held
