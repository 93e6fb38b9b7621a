"""`harvester report`: one page to look at, offline."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from harvester.cli.ledgers import fleet_options, opened_reader, output_or_fleet
from harvester.cli.params import Command, day_timezone, price, result_option
from harvester.cli.telling import STANDARD_OUTPUT, json_option, say, tell, tell_aside
from harvester.errors import UsageError, want_of_extra
from harvester.sanitize import LONGEST_PATH, sanitize

# A page may be for others, if the user's mask lets them.
_FOR_ALL = 0o666


@click.command(
    cls=Command,
    examples=("harvester report notes.jsonl -o report.html --price 0.05",),
)
@output_or_fleet
@result_option("PAGE", "The page to write, or - for standard output")
@day_timezone
@price
@fleet_options
@json_option
def report(
    output: Path | None,
    place: Path,
    day_timezone: ZoneInfo,
    price: Decimal | None,
    ledger: str | None,
    harvest: str | None,
) -> None:
    """Write one page of charts and numbers that opens in any browser, offline."""
    from harvester.report import check_place
    from harvester.report.data import read_report
    from harvester.results import result_into
    from harvester.status.model import StatusQuery

    try:
        from harvester.report.page import page_of
    except ImportError as error:
        raise UsageError(
            f"`report` needs the library {error.name}, which is not installed: "
            f"{want_of_extra('report')}."
        ) from error
    is_piped = place == STANDARD_OUTPUT
    if is_piped:
        tell_aside()
    else:
        check_place(place, output)
    with opened_reader(output, ledger, harvest) as opened:
        query = StatusQuery(time.time(), day_timezone, price, target=opened.target)
        data = read_report(opened.reader, opened.output, opened.name, query, opened.hosts)
    html = page_of(data)
    if is_piped:
        click.echo(html.encode(), nl=False)
    else:
        with result_into(place, _FOR_ALL) as file:
            file.write(html.encode())
        say(f"wrote {sanitize(str(place), LONGEST_PATH)}: open it in a browser")
    tell({"page": place})
