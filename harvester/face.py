"""The Python face: the run of the command line, for a notebook or an orchestrator."""

from __future__ import annotations

import asyncio
import os
from typing import Unpack

from harvester.engine.harvest import run_harvest
from harvester.engine.ports import Observer
from harvester.engine.run import Run
from harvester.errors import OptionError
from harvester.model import StopReason, Summary
from harvester.options import Inputs, Options, check_keywords, hide, plan


async def harvest(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    on_event: Observer | None = None,
    **options: Unpack[Options],
) -> Summary:
    """Fetch every note that inputs name and output does not hold yet.

    `inputs` are paths, or any iterable of note ids; () goes on with what is still queued. The
    options are those of `harvester run`, by the same names (see `Options`). `on_event` is called
    with each `Event`. Several harvests may run in one loop, on different outputs.

    Cancelling drains: nothing new is sent, and what is in flight is awaited and saved before
    CancelledError goes on; cancelling again stops at once. Raises HarvesterError for what keeps a
    run from beginning; how a run ended is in the Summary.
    """
    hide(options)
    check_keywords(options)
    observers = () if on_event is None else (on_event,)
    try:
        planned = plan(inputs, output, options, observers)
    except OptionError as error:
        raise error.by(error.option) from None
    runs: list[Run] = []
    # This function owns the task: it never returns before the task has ended.
    task = asyncio.create_task(run_harvest(planned, runs.append))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await _drain(task, runs)
        raise


async def _drain(task: asyncio.Task[Summary], runs: list[Run]) -> None:
    """Wait for a cancelled harvest to save what is in flight."""
    if not runs:
        task.cancel()
    for run in runs:
        run.stop(StopReason.CANCELLED)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        for run in runs:
            run.abort()
        await asyncio.wait([task])
        raise
