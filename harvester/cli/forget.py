"""`harvester forget`: erase notes, and never fetch them again."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.helping import option
from harvester.cli.params import OUTPUT, Command, existing_output
from harvester.cli.telling import json_option, say, tell


@click.command(
    cls=Command, examples=("harvester forget notes.jsonl --id 67f32a94000000001d02eb4a",)
)
@existing_output
@option("--id", "ids", metavar="ID", multiple=True, help="A note, by its id or link; repeatable.")
@option("--ids-from", "ids_from", metavar="FILE", type=OUTPUT, help="A list of notes, or -.")
@json_option
def forget(output: Path, ids: tuple[str, ...], ids_from: Path | None) -> None:
    """Erase notes from OUTPUT and its ledger, and never fetch them again.

    For a person who asks to be erased. What was exported, merged or copied is not touched.
    """
    from harvester.engine.open_output import forget as forget_in
    from harvester.engine.open_run import this_environment
    from harvester.errors import UsageError
    from harvester.formatting import count
    from harvester.json_text import told
    from harvester.ledger.sqlite.reading import ledger_path, reading
    from harvester.output.part import read_part_marker
    from harvester.sanitize import sanitize
    from harvester.source.given import pages_of
    from harvester.source.ids import IdRule
    from harvester.source.options import InputOptions

    rule = IdRule()
    # Others may be of a run with --id-pattern.
    wanted = [rule.whole(text) or text for text in ids]
    if ids_from is not None:
        for page in pages_of(str(ids_from), InputOptions(strict=True)):
            wanted += page.ids
    if not wanted:
        raise UsageError("name the notes to be erased: --id ID, or --ids-from FILE.")
    path = output.resolve()
    if read_part_marker(path) is not None:
        raise UsageError(f"{output} is a part of a fleet's harvest, which forgets no notes.")
    odd = [text for text in wanted if rule.bare(text) is None]
    with reading(ledger_path(path)) as reader:
        unknown = [text for text in odd if text not in reader.jobs_of(odd)]
    if unknown:
        raise UsageError(
            f"--id {sanitize(unknown[0])!r} is no note's id or link, and no note here is called "
            "so: nothing was erased."
        )
    unlike = list(dict.fromkeys(wanted))
    done = forget_in(path, unlike, this_environment())
    say(
        f"forgot {count(len(unlike), 'note')}: {count(done.lines, 'line')} erased; "
        f"{done.notes:,} of them {'was' if done.notes == 1 else 'were'} known, and none will be "
        "fetched again"
    )
    tell(told(done) | {"forgotten": len(unlike), "output": output})
