"""The Python face: the run of the command line, for a notebook or an orchestrator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import BinaryIO

from harvester.config import RunConfig, is_secret
from harvester.engine.clients import practised
from harvester.engine.links import in_turn
from harvester.engine.open_run import open_run
from harvester.engine.ports import Observer
from harvester.engine.run import Run
from harvester.errors import OptionError
from harvester.model import StopReason, Summary
from harvester.secret import Secret, revealed
from harvester.source.options import Inputs


async def harvest(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    token: str | Sequence[str] | Secret[str | Sequence[str]] | None = None,
    on_event: Observer | None = None,
    **options: object,
) -> Summary:
    """Fetch every note that inputs name and output does not hold yet.

    `inputs` are paths, links or ids, or any iterable of them or of share texts; () goes on with
    what is still queued. `token` is one or more. The options are those of `harvester run`, by the
    same names: `rate="5/s"`, `max_runtime="8h"`, `simulate=True`; durations are seconds, or text
    with a unit. `on_event` is called with each `Event`. Several harvests may run in one loop, on
    different outputs.

    Cancelling drains: nothing new is sent, and what is in flight is awaited and saved before
    CancelledError goes on; cancelling again stops at once. Raises HarvesterError for what keeps a
    run from beginning, TypeError for what is no option; how a run ended is in the Summary.
    """
    # Whoever prints the locals of a frame is shown none of it, nor of a name that is misspelt.
    token = None if token is None else Secret(revealed(token))
    options = {
        name: Secret(revealed(value)) if value and is_secret(name) else value
        for name, value in options.items()
    }
    try:
        config = RunConfig.read(inputs, output, options, token)
    except OptionError as error:
        raise error.by(error.option) from None
    observers = () if on_event is None else (on_event,)
    async with practised(config) as practice:

        async def go(config: RunConfig, stdin: BinaryIO | None) -> Summary:
            async with open_run(config, observers, stdin) as run:
                return await _drained(run)

        return await in_turn(practice, go)


async def _drained(run: Run) -> Summary:
    """Run to the end; where that is cancelled, what is in flight is saved first."""
    # This function owns the task: it never returns before the task has ended.
    task = asyncio.create_task(run.run())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        run.stop(StopReason.CANCELLED)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            run.abort()
            await asyncio.wait([task])
            raise
        raise
