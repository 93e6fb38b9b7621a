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
from harvester.cli.telling import json_option, tell, wants_json
from harvester.errors import UsageError
from harvester.sanitize import sanitize

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
@json_option
@fleet_options
def failures(output: Path | None, form: str, ledger: str | None, harvest: str | None) -> None:
    """List the notes that failed: id, code, reason, attempts."""
    if wants_json() and form != "table":
        raise UsageError(f"--json and --format {form} contradict each other: give one of them.")
    with opened_reader(output, ledger, harvest) as opened:
        found = opened.reader.failures()
        if wants_json():
            jobs = list(map(_told, found))
            tell({"output": output, "failed": len(jobs), "failures": jobs})
        elif form == "table":
            from rich.console import Console

            from harvester.console.failures import failure_lines

            width = Console().width if sys.stdout.isatty() else None
            for line in failure_lines(found, width):
                click.echo(line)
        else:
            from harvester.json_text import to_json

            for job in found:
                click.echo(sanitize(job.note_id) if form == "ids" else to_json(_told(job)))


def _told(job: FailedJob) -> dict[str, object]:
    from harvester.json_text import told

    return {**told(job), "state": job.state.name.lower()}
