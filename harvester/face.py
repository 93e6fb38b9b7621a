"""The Python face: the run of the command line, for a notebook or an orchestrator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from decimal import Decimal
from typing import BinaryIO, Literal, TypedDict, Unpack

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

_Path = str | os.PathLike[str] | None
_Names = str | Sequence[str] | None


class HarvestOptions(TypedDict, total=False):
    """The options of `harvester run` as Python code says them; None leaves one out.

    Durations are seconds, or text with a unit: `"90s"`; those of a day or of a night need a unit:
    `"8h"`.
    """

    id_field: _Names
    carry: _Names
    input_format: Literal["text", "csv", "tsv", "jsonl", "json", "xlsx"] | None
    encoding: str | None
    id_pattern: str | None
    resolve_links: bool | None
    strict: bool | None
    rebuild: bool | None
    sync: bool | None
    token_file: _Path
    endpoint: str | None
    region: Literal["global", "cn"] | None
    base_url: str | None
    proxy: str | None
    accept_cache: bool | None
    simulate: bool | None
    max_notes: int | None
    max_calls: int | None
    max_charged: int | None
    max_charged_daily: int | None
    max_runtime: str | None
    wait_quota: str | bool | None
    day_timezone: str | None
    price: str | float | Decimal | None
    no_account: bool | None
    refresh: str | None
    retry_failed: bool | None
    rate: str | None
    burst: int | None
    workers: int | Literal["auto"] | None
    timeout: str | float | None
    allow_short_timeout: bool | None
    max_attempts: int | None
    max_unanswered: int | None
    backoff_base: str | float | None
    backoff_cap: str | float | None
    wait_for_lock: str | None
    ledger: str | None
    harvest: str | None


async def harvest(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    token: str | Sequence[str] | Secret[str | Sequence[str]] | None = None,
    on_event: Observer | None = None,
    **options: Unpack[HarvestOptions],
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
    said: dict[str, object] = {
        name: Secret(revealed(value)) if value and is_secret(name) else value
        for name, value in options.items()
    }
    del options
    try:
        config = RunConfig.read(inputs, output, said, token)
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
