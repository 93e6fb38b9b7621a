"""`harvester failures`: the notes that failed, and why."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import cloup
import orjson
from rich.console import Console

from harvester.cli.completion import Named
from harvester.cli.options import Command, existing_output
from harvester.engine.opening import ledger_path
from harvester.ledger.reader import FailedJob, reading
from harvester.plain import plain
from harvester.views.failures import failure_lines


@cloup.command(
    cls=Command,
    examples=(
        "harvester failures notes.jsonl",
        "harvester failures notes.jsonl --format ids > failed.txt",
    ),
)
@existing_output
@cloup.option(
    "--format",
    "form",
    metavar="FORM",
    default="table",
    type=Named(["table", "jsonl", "ids"]),
    help="table for people, jsonl for programs, ids to give to `run`.",
)
def failures(output: Path, form: str) -> None:
    """List the notes that failed: id, code, reason, attempts."""
    with reading(ledger_path(output.resolve())) as reader:
        if form == "table":
            width = Console().width if sys.stdout.isatty() else None
            for line in failure_lines(reader.failures(), width):
                click.echo(line)
            return
        for job in reader.failures():
            click.echo(job.note_id if form == "ids" else _json(job))


def _json(job: FailedJob) -> bytes:
    return orjson.dumps(
        {
            "noteId": job.note_id,
            "state": job.state.name.lower(),
            "code": job.code,
            "reason": plain(job.reason),
            "attempts": job.attempts,
        }
    )
