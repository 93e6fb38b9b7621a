"""`harvester status`: what is done, waiting, failed; the runs so far; what is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
from msgspec.structs import replace

from harvester.cli.helping import columns, option
from harvester.cli.ledgers import fleet_options, opened_reader, output_or_fleet
from harvester.cli.params import Command, Parsed, day_timezone, price
from harvester.cli.signals import REASONS, Signals
from harvester.cli.streams import Clean
from harvester.cli.telling import json_option, tell, wants_json
from harvester.errors import UsageError
from harvester.parsing import Rate, read_rate, whole

if TYPE_CHECKING:
    from harvester.status.model import Status


@click.command(
    cls=Command,
    examples=(
        "harvester status notes.jsonl --price 0.05",
        "harvester status notes.jsonl --rate 10/s --max-charged-daily 20000",
        "harvester status --ledger postgresql://me@db/notes",
    ),
)
@output_or_fleet
@option(
    "--rate",
    metavar="RATE",
    type=Parsed(read_rate),
    help="Forecast at this rate, such as 5/s, instead of the last run's.",
)
@option(
    "--max-charged-daily",
    metavar="N",
    type=Parsed(whole(1)),
    help="Forecast with this daily cap instead of the last run's.",
)
@option("--watch", is_flag=True, help="Draw it every two seconds on a terminal until the run ends.")
@day_timezone
@price
@fleet_options
@json_option
def status(
    output: Path | None,
    rate: Rate | None,
    max_charged_daily: int | None,
    *,
    watch: bool,
    day_timezone: ZoneInfo,
    price: Decimal | None,
    ledger: str | None,
    harvest: str | None,
) -> int:
    """Say what is done, waiting and failed, the runs so far, and when the rest is done."""
    from harvester.status.model import StatusQuery
    from harvester.status.reading import read_status

    query = StatusQuery(
        now=time.time(),
        zone=day_timezone,
        price=price,
        rate=None if rate is None else rate.per_second,
        daily_cap=max_charged_daily,
    )

    def look() -> Status:
        with opened_reader(output, ledger, harvest) as opened:
            now = replace(query, now=time.time(), target=opened.target)
            return read_status(opened.reader, opened.output, now, opened.hosts)

    if watch:
        return _watched(look)
    found = look()
    if wants_json():
        tell(found)
        return 0
    from harvester.console.status_text import status_lines

    width = columns() if sys.stdout.isatty() else None
    for line in status_lines(found, width):
        click.echo(line)
    return 0


def _watched(look: Callable[[], Status]) -> int:
    """Draw the status until no run is on, or a signal comes; gives the exit code."""
    from harvester.console.status_text import watch

    if wants_json() or not sys.stdout.isatty():
        raise UsageError("--watch draws on a terminal, for people: leave it out.")
    stream, enough = sys.stdout, threading.Event()
    with Signals() as signals, signals.acting(lambda _: enough.set()):
        watch(look, stream.bare if isinstance(stream, Clean) else stream, enough.wait)
        return 0 if signals.first is None else REASONS[signals.first].exit_code
