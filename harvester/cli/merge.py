"""`harvester merge`: one file of several parts, with the newest line of each note."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.params import Command, many_outputs, result_option
from harvester.cli.signals import Signals
from harvester.cli.streams import complain
from harvester.cli.telling import STANDARD_OUTPUT, json_option, say, tell, tell_aside
from harvester.formatting import count
from harvester.sanitize import sanitize

if TYPE_CHECKING:
    from harvester.output.merge import Merged


@click.command(
    cls=Command,
    examples=(
        "harvester merge host-*.jsonl -o all.jsonl",
        "harvester merge host-*.jsonl -o - | gzip > all.jsonl.gz",
    ),
)
@many_outputs(metavar="PART...")
@result_option("ALL", "The file to write, or - for standard output")
@json_option
def merge(paths: tuple[Path, ...], place: Path) -> None:
    """Merge parts into one file: the newest line of each note, unchanged.

    A part that a run is writing is taken as it was at the start.
    """
    from harvester.json_text import told
    from harvester.ledger.latest_lines import latest_line_index
    from harvester.output.merge import Merge, check_place, parts_of
    from harvester.results import result_into

    parts = parts_of(paths)
    is_piped = place == STANDARD_OUTPUT
    if is_piped:
        tell_aside()
    else:
        check_place(place, parts)
    with Signals() as signals, latest_line_index() as newest:
        work = Merge(parts, newest, tell_torn, signals.check)
        work.read()
        if is_piped:
            merged = work.copy(sys.stdout.buffer)
        else:
            with result_into(place) as target:
                merged = work.copy(target)
    where = "" if is_piped else f" into {sanitize(str(place))}"
    tell(told(merged) | {"parts": len(parts), "notes": merged.notes, "output": place})
    say(f"merged {count(len(parts), 'part')}{where}: {_told(merged)}")


def _told(merged: Merged) -> str:
    lines, notes = count(merged.lines, "line"), count(merged.notes, "note")
    return f"{lines}, {notes}, {count(merged.older, 'older line')} left out"


def tell_torn(path: Path, size: int) -> None:
    """Say that a last line was left out."""
    complain(
        f"{sanitize(str(path))}: the last line is torn ({count(size, 'byte')}) and left out: a run "
        "is writing it, or was killed"
    )
