"""`harvester failures`: the notes that failed, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import orjson

from harvester.cli.options import existing_output
from harvester.engine.opening import ledger_path
from harvester.ledger.reader import FailedJob, reading
from harvester.plain import plain


@click.command(epilog="Example: harvester failures notes.jsonl --format ids")
@existing_output
@click.option(
    "--format",
    "form",
    default="table",
    show_default=True,
    type=click.Choice(["table", "jsonl", "ids"]),
)
def failures(output: Path, form: str) -> None:
    """List the notes that failed: id, code, reason, attempts."""
    with reading(ledger_path(output.resolve())) as reader:
        if form == "table":
            for line in _table(reader.failures()):
                click.echo(line)
            return
        for job in reader.failures():
            click.echo(job.note_id if form == "ids" else _json(job))


def _table(jobs: Iterator[FailedJob]) -> Iterator[str]:
    yield f"{'note id':<24}  {'state':<9}  {'code':>4}  {'attempts':>8}  reason"
    for job in jobs:
        code = "-" if job.code is None else str(job.code)
        yield (
            f"{plain(job.note_id):<24}  {job.state.name.lower():<9}  {code:>4}  "
            f"{job.attempts:>8}  {plain(job.reason)}"
        )


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
