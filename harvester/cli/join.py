"""`harvester join`: bring an OUTPUT and its ledger into a fleet's harvest."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.ledgers import fleet_named, fleet_options, tell_moved
from harvester.cli.params import Command, existing_output
from harvester.cli.telling import json_option, say
from harvester.sanitize import sanitize


@click.command(
    cls=Command,
    examples=("harvester join notes.jsonl --ledger postgresql://me@db/notes",),
)
@existing_output
@fleet_options
@json_option
def join(output: Path, ledger: str | None, harvest: str | None) -> None:
    """Bring an OUTPUT and its ledger into a harvest that hosts share, as a part of it.

    All goes along: what is done, queued and failed, carried columns, runs and charges. Nothing is
    paid for again. Killed in the middle, it goes on when it is called again.
    """
    fleet = fleet_named(ledger, harvest)
    from harvester.engine.moving import join as join_fleet
    from harvester.engine.open_run import this_environment

    joined = join_fleet(output, fleet, this_environment())
    if joined.kept is not None:
        say(f"its own ledger is kept as {sanitize(joined.kept.name)}")
    text = f"{sanitize(str(output))} is a part of the harvest {fleet.harvest} now"
    tell_moved(text, output, fleet, joined.counts, kept=joined.kept)
