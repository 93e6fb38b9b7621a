"""`harvester retry`: put failed notes back in the queue."""

from __future__ import annotations

from pathlib import Path

import click
import cloup

from harvester.cli.options import Command, existing_output
from harvester.engine.harvest import this_host
from harvester.engine.opening import ledger_path, open_held
from harvester.ledger.reader import reading
from harvester.model import State
from harvester.source import IdRule
from harvester.views.words import count


@cloup.command(cls=Command, examples=("harvester retry notes.jsonl --code 404",))
@existing_output
@cloup.option(
    "--code", "codes", metavar="CODE", type=int, multiple=True, help="Only this code; repeatable."
)
@cloup.option("--id", "ids", metavar="ID", multiple=True, help="Only this note; repeatable.")
def retry(output: Path, codes: tuple[int, ...], ids: tuple[str, ...]) -> None:
    """Put failed notes back in the queue: all of them, or by code or id."""
    path = output.resolve()
    with reading(ledger_path(path)):
        pass
    rule = IdRule()
    named = [rule.bare(note_id) or note_id for note_id in ids]
    opened = open_held(path, this_host())
    try:
        many = opened.ledger.retry((State.REJECTED, State.EXHAUSTED), codes, named)
    finally:
        opened.close()
    click.echo(
        f"{count(many, 'note')} back in the queue"
        + (f"; next: `harvester run -o {output}`" if many else "")
    )
