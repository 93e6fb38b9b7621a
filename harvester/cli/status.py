"""`harvester status`: what is done, waiting, failed; the runs so far; what is left."""

from __future__ import annotations

import time
from pathlib import Path

import click
import orjson

from harvester.cli.options import existing_output, price
from harvester.engine.day import Day
from harvester.engine.opening import ledger_path
from harvester.ledger.reader import reading
from harvester.settings import DEFAULT_DAY_ZONE, parse_timezone
from harvester.views.status import status_lines, status_of


@click.command(epilog="Example: harvester status notes.jsonl --price 0.05")
@existing_output
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--day-timezone", default=DEFAULT_DAY_ZONE, show_default=True)
@price
def status(
    output: Path,
    as_json: bool,  # noqa: FBT001 - click passes flags
    day_timezone: str,
    price: float | None,
) -> None:
    """Say what is done, waiting and failed, the runs so far, and what is left."""
    day_began = Day(time.time, parse_timezone(day_timezone)).began()
    with reading(ledger_path(output.resolve())) as reader:
        found = status_of(reader, time.time(), day_began)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    for line in status_lines(found, price):
        click.echo(line)
