"""`harvester report`: one page to look at, offline."""

from __future__ import annotations

import time
from pathlib import Path

import click
import cloup

from harvester.cli.options import OUTPUT, Command, day_timezone, existing_output, price
from harvester.errors import UsageError
from harvester.settings import parse_timezone
from harvester.views.report.file import check_place, put
from harvester.views.report.story import story_of
from harvester.views.status import Question


@cloup.command(
    cls=Command,
    examples=("harvester report notes.jsonl -o report.html --price 0.05",),
)
@existing_output
@cloup.option(
    "-o",
    "--output",
    "page",
    metavar="PAGE",
    type=OUTPUT,
    required=True,
    help="The page to write; an earlier one there is replaced.",
)
@day_timezone
@price
def report(output: Path, page: Path, day_timezone: str, price: float | None) -> None:
    """Write one page of charts and numbers that opens in any browser, offline."""
    try:
        from harvester.views.report.page import page_of  # noqa: PLC0415 - an extra brings its library
    except ImportError as error:
        raise UsageError(
            f"`report` needs the library {error.name}, which is not installed: "
            "pip install 'harvester[report]'"
        ) from error
    check_place(page, output)
    zone = parse_timezone(day_timezone)
    question = Question(time.time(), zone, price)
    put(page, page_of(story_of(output, question)))
    click.echo(f"wrote {page}: open it in a browser")
