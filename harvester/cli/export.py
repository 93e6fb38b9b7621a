"""`harvester export`: a table of the notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from harvester.cli.choices import SuggestingChoice
from harvester.cli.helping import option
from harvester.cli.merge import tell_torn
from harvester.cli.params import Command, day_timezone, many_outputs, result_option
from harvester.cli.signals import Signals
from harvester.cli.telling import json_option, say, tell
from harvester.formatting import count
from harvester.sanitize import sanitize


@click.command(
    cls=Command,
    examples=(
        "harvester export notes.jsonl -o notes.xlsx --preset marketing --headings zh",
        "harvester export notes.jsonl -o likes.csv --changes --fields noteId,title,likeNum",
    ),
)
@many_outputs(metavar="OUTPUT...")
@result_option("FILE", "The table to write: .csv, .xlsx, .parquet, .sqlite or .jsonl")
@option(
    "--fields",
    metavar="NAMES",
    help="The columns, in their order: title,likeNum,userInfo.nickName; `input` for all carried.",
)
@option(
    "--preset",
    metavar="NAME",
    type=SuggestingChoice(("marketing",)),
    help="A set of columns: marketing.",
)
@option(
    "--headings",
    metavar="LANGUAGE",
    type=SuggestingChoice(("raw", "zh", "en")),
    default="raw",
    help="The vendor's names (raw), or words: zh, en.",
)
@option("--history", is_flag=True, help="A row for every line, oldest first.")
@option(
    "--changes",
    is_flag=True,
    help="Of every number its first, its last and the difference, over all lines of a note.",
)
@option("--no-bom", is_flag=True, help="Leave out of .csv the mark by which Excel knows UTF-8.")
@day_timezone
@json_option
def export(
    paths: tuple[Path, ...],
    place: Path,
    fields: str | None,
    preset: str | None,
    headings: str,
    history: bool,  # noqa: FBT001 - click's flags
    changes: bool,  # noqa: FBT001
    no_bom: bool,  # noqa: FBT001
    day_timezone: ZoneInfo,
) -> None:
    """Write a table of the notes: for a spreadsheet, a database or a program.

    A row a note, its newest line; an OUTPUT that a run is writing is taken as it was at the start.
    """
    from harvester.export.columns import Choice, NoFieldError, columns_of
    from harvester.export.place import check_place
    from harvester.export.rows import UnseenError
    from harvester.export.shape import Seen
    from harvester.export.table import Table, check_library, write_table
    from harvester.ledger.latest_lines import latest_line_index
    from harvester.output.merge import Merge, parts_of

    choice = Choice.read(fields, preset, headings, with_history=history, with_changes=changes)
    check_library(check_place(place, paths))
    table = Table(parts_of(paths), place, choice, day_timezone, with_bom=not no_bom)
    seen = Seen(choice.fields)

    def rows_of(check: Callable[[bytes], bool], on_torn: Callable[[Path, int], None]) -> int:
        """Write the table of what is seen by a check; gives how many rows."""
        with latest_line_index() as index:
            work = Merge(table.parts, index, on_torn, signals.check, check)
            return write_table(table, seen, work, index, signals.check)

    with Signals() as signals:
        try:
            rows = rows_of(seen.look_now_and_then, tell_torn)
        except (UnseenError, NoFieldError):
            rows = rows_of(seen.look_at, lambda _path, _size: None)
    headings_of = [column.heading for column in columns_of(seen, choice)]
    what = count(rows, "line" if history and not changes else "note")
    say(f"exported {what}, {count(len(headings_of), 'column')}, into {sanitize(str(place))}")
    tell({"rows": rows, "columns": headings_of, "output": place})
