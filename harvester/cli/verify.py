"""`harvester verify`: hold OUTPUT, or all parts of a fleet, against the ledger."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.ledgers import fleet_options
from harvester.cli.params import OUTPUT, Command, many_outputs
from harvester.cli.telling import json_option


@click.command(
    cls=Command,
    examples=(
        "harvester verify notes.jsonl",
        "harvester verify host-*.jsonl --ledger postgresql://me@db/notes",
    ),
)
@many_outputs(
    metavar="OUTPUT...",
    type=OUTPUT,
    help="The file that `run -o` wrote; with --ledger, all parts of the harvest.",
)
@fleet_options
@json_option
def verify(paths: tuple[Path, ...], ledger: str | None, harvest: str | None) -> int:
    """Check that every done note is on exactly one good line, and every line known."""
    from harvester.cli.verifying import verified

    return verified(paths, ledger, harvest)
