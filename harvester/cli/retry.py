"""`harvester retry`: put failed notes back in the queue."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.helping import option
from harvester.cli.ledgers import (
    fleet_meant,
    fleet_options,
    named,
    output_or_fleet,
    reading_part,
    retry_in,
    target_of,
)
from harvester.cli.params import Command


@click.command(cls=Command, examples=("harvester retry notes.jsonl --code 404",))
@output_or_fleet
@option(
    "--code", "codes", metavar="CODE", type=int, multiple=True, help="Only this code; repeatable."
)
@option("--id", "ids", metavar="ID", multiple=True, help="Only this note; repeatable.")
@fleet_options
def retry(
    output: Path | None,
    codes: tuple[int, ...],
    ids: tuple[str, ...],
    ledger: str | None,
    harvest: str | None,
) -> None:
    """Put failed notes back in the queue: all of them, or by code or id."""
    from harvester.formatting import count
    from harvester.source.ids import IdRule

    rule = IdRule()
    wanted = [rule.bare(note_id) or note_id for note_id in ids]
    fleet = fleet_meant(output, ledger, harvest)
    if fleet is None:
        many = _retry_beside(named(output), codes, wanted)
        command = f"harvester run -o {output}"
    else:
        with reading_part(fleet):
            many = retry_in(fleet, codes, wanted)
        command = f"harvester run -o PART {target_of(fleet)}"
    following = f"; next: `{command}`, unless a run is on" if fleet else f"; next: `{command}`"
    click.echo(f"{count(many, 'note')} back in the queue" + (following if many else ""))


def _retry_beside(output: Path, codes: tuple[int, ...], ids: list[str]) -> int:
    """Put failed notes of an OUTPUT's own ledger back in the queue; gives how many."""
    from harvester.engine.open_output import open_held
    from harvester.engine.open_run import this_environment
    from harvester.ledger.protocol import FAILED
    from harvester.ledger.reader import ledger_path, reading

    path = output.resolve()
    with reading(ledger_path(path)):
        pass
    opened = open_held(path, this_environment())
    try:
        return opened.ledger.retry(FAILED, codes, ids)
    finally:
        opened.close()
