"""`harvester leave`: make one OUTPUT with a ledger of its own of a fleet's harvest."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.helping import option
from harvester.cli.ledgers import fleet_named, fleet_options, tell_moved
from harvester.cli.params import OUTPUT, Command, many_outputs
from harvester.cli.telling import json_option
from harvester.sanitize import sanitize


@click.command(
    cls=Command,
    examples=("harvester leave part-*.jsonl -o notes.jsonl --ledger postgresql://me@db/notes",),
)
@many_outputs(
    metavar="PART...", help="All parts of the harvest, fetched here after their hosts have ended."
)
@option(
    "-o",
    "--output",
    "place",
    metavar="OUTPUT",
    type=OUTPUT,
    required=True,
    help="The file to write, which is not there yet; its ledger is put beside it.",
)
@fleet_options
@json_option
def leave(paths: tuple[Path, ...], place: Path, ledger: str | None, harvest: str | None) -> None:
    """Make one OUTPUT with a ledger of its own of a harvest that hosts shared.

    All goes along, and `run -o OUTPUT` goes on with it; no host does any more. Killed in the
    middle, it goes on when it is called again.
    """
    fleet = fleet_named(ledger, harvest)
    from harvester.cli.merge import tell_torn
    from harvester.engine.moving import leave as leave_fleet
    from harvester.engine.open_run import this_environment
    from harvester.output.merge import parts_of

    parts = parts_of(paths)
    left = leave_fleet(parts, place, fleet, this_environment(), tell_torn)
    text = f"the harvest {fleet.harvest} goes on as {sanitize(str(place))}"
    tell_moved(text, place, fleet, left, parts=len(parts))
