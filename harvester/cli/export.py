"""`harvester export`: a table of the notes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from harvester.cli.choices import SuggestingChoice
from harvester.cli.helping import option
from harvester.cli.merge import tell_torn
from harvester.cli.params import OUTPUT, Command, day_timezone
from harvester.cli.signals import Signals
from harvester.cli.telling import json_option, say, tell
from harvester.formatting import count
from harvester.sanitize import sanitize


@click.command(
    cls=Command,
    examples=(
        "harvester export notes.jsonl -o notes.xlsx --preset marketing --headings zh",
        "harvester export notes.jsonl -o likes.csv --changes --fields title,likeNum,cmtNum",
    ),
)
@click.argument(
    "paths",
    metavar="OUTPUT...",
    type=OUTPUT,
    nargs=-1,
    required=True,
    help="Files that `run -o` wrote, also gzipped.",
)
@option(
    "-o",
    "--output",
    "place",
    metavar="FILE",
    type=OUTPUT,
    required=True,
    help="The table to write: .csv, .xlsx, .parquet, .sqlite or .jsonl; an earlier one there is "
    "replaced.",
)
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
    from harvester.export.columns import Choice, Layout, NoFieldError, Seen, UnforeseenError
    from harvester.export.place import check_place, is_table
    from harvester.export.table import check_library, newest_rows, rows_over_time, table_into
    from harvester.ledger.latest_lines import latest_line_index
    from harvester.output.merge import Merge, parts_of
    from harvester.results import check_earlier

    choice = Choice.read(fields, preset, headings, with_changes=changes)
    check_library(check_place(place, paths))
    parts = parts_of(paths)
    seen = Seen(choice.fields)

    def rows_of(check: Callable[[bytes], bool], on_torn: Callable[[Path, int], None]) -> int:
        """Write the table of what is seen by a check, twice read; gives how many rows."""
        rows = 0
        with latest_line_index() as index:
            work = Merge(parts, index, on_torn, signals.check, check)
            work.read()
            columns = seen.columns(choice)
            check_earlier(place, "table of this command's", partial(is_table, columns))
            layout = Layout(columns, day_timezone, seen)
            found = newest_rows(work, layout)
            if history or changes:
                found = rows_over_time(parts, index, layout, with_changes=changes)
            with table_into(place, columns, day_timezone, with_bom=not no_bom) as write:
                for row in found:
                    signals.check()
                    write(row)
                    rows += 1
        return rows

    with Signals() as signals:
        try:
            rows = rows_of(seen.look_now_and_then, tell_torn)
        except (UnforeseenError, NoFieldError):
            rows = rows_of(seen.look_at, lambda _path, _size: None)
    columns = seen.columns(choice)
    what = count(rows, "line" if history and not changes else "note")
    say(f"exported {what}, {count(len(columns), 'column')}, into {sanitize(str(place))}")
    tell({"rows": rows, "columns": [column.heading for column in columns], "output": place})
