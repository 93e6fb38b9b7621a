"""`harvester failures`: the notes that failed, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.choices import SuggestingChoice
from harvester.cli.helping import option
from harvester.cli.ledgers import fleet_options, opened_reader, output_or_fleet
from harvester.cli.params import Command
from harvester.sanitize import in_json, sanitize

if TYPE_CHECKING:
    from harvester.ledger.reader import FailedJob


@click.command(
    cls=Command,
    examples=(
        "harvester failures notes.jsonl",
        "harvester failures notes.jsonl --format ids > failed.txt",
    ),
)
@output_or_fleet
@option(
    "--format",
    "form",
    metavar="FORM",
    default="table",
    type=SuggestingChoice(["table", "jsonl", "ids"]),
    help="table for people, jsonl for programs, ids to give to `run`.",
)
@fleet_options
def failures(output: Path | None, form: str, ledger: str | None, harvest: str | None) -> None:
    """List the notes that failed: id, code, reason, attempts."""
    with opened_reader(output, ledger, harvest) as opened:
        reader = opened.reader
        if form == "table":
            from rich.console import Console

            from harvester.console.failures import failure_lines

            width = Console().width if sys.stdout.isatty() else None
            for line in failure_lines(reader.failures(), width):
                click.echo(line)
            return
        for job in reader.failures():
            click.echo(sanitize(job.note_id) if form == "ids" else _json(job))


def _json(job: FailedJob) -> bytes:
    import orjson

    return in_json(
        orjson.dumps(
            {
                "noteId": job.note_id,
                "state": job.state.name.lower(),
                "code": job.code,
                "reason": sanitize(job.reason),
                "attempts": job.attempts,
            }
        )
    )
