"""`harvester forget`: erase notes, and never fetch them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.helping import option
from harvester.cli.params import FILE, Command, existing_output
from harvester.cli.telling import json_option, say, tell
from harvester.errors import UsageError
from harvester.formatting import count
from harvester.sanitize import sanitize
from harvester.source.ids import IdRule

if TYPE_CHECKING:
    from harvester.engine.forgetting import Forgotten


@click.command(
    cls=Command, examples=("harvester forget notes.jsonl --id 67f32a94000000001d02eb4a",)
)
@existing_output
@option("--id", "ids", metavar="ID", multiple=True, help="A note, by its id or link; repeatable.")
@option("--ids-from", "ids_from", metavar="FILE", type=FILE, help="A list of notes, or -.")
@json_option
def forget(output: Path, ids: tuple[str, ...], ids_from: Path | None) -> None:
    """Erase notes from OUTPUT and its ledger, and never fetch them again.

    For a person who asks to be erased. What was exported, merged or copied is not touched.
    """
    from harvester.engine.open_output import forget as forget_in
    from harvester.engine.open_run import this_environment
    from harvester.json_text import told

    wanted = _wanted(ids, ids_from)
    if not wanted:
        raise UsageError("name the notes to be erased: --id ID, or --ids-from FILE.")
    path = output.resolve()
    _check(path, output, wanted)
    done = forget_in(path, wanted, this_environment())
    tell(told(done) | {"forgotten": len(wanted), "output": output})
    for line in _lines(done, len(wanted)):
        say(line)


def _wanted(ids: Sequence[str], ids_from: Path | None) -> list[str]:
    """The notes that were named, each once; raises UsageError."""
    from harvester.source.given import pages_of
    from harvester.source.options import InputOptions

    # Others may be of a run with --id-pattern.
    found = [IdRule().whole(text) or text for text in ids]
    if ids_from is not None:
        for page in pages_of(str(ids_from), InputOptions(strict=True)):
            found += page.ids
    return list(dict.fromkeys(found))


def _check(path: Path, output: Path, wanted: Sequence[str]) -> None:
    """Raise UsageError for what is no note, and for a part of a fleet's harvest."""
    from harvester.ledger.sqlite.reading import ledger_path, reading
    from harvester.output.part import read_part_marker

    if read_part_marker(path) is not None:
        raise UsageError(f"{output} is a part of a fleet's harvest, which forgets no notes.")
    odd = [text for text in wanted if IdRule().bare(text) is None]
    with reading(ledger_path(path)) as reader:
        unknown = [text for text in odd if text not in reader.jobs_of(odd)]
    if unknown:
        raise UsageError(
            f"--id {sanitize(unknown[0])!r} is no note's id or link, and no note here is called "
            "so: nothing was erased."
        )


def _lines(done: Forgotten, wanted: int) -> Iterator[str]:
    links = f", and {count(done.links, 'short link')} that led there" if done.links else ""
    known = "" if wanted == 1 else f"{done.notes:,} of them known here, "
    yield (
        f"forgot {count(wanted, 'note')}, {known}{count(done.lines, 'line')} erased{links}: "
        f"{'it will not' if wanted == 1 else 'none will'} be fetched again"
    )
    if done.left:
        names = ", ".join(sanitize(path.name) for path in done.left)
        yield f"beside it lie files that may still tell of them, and are yours to clean: {names}"
