"""Where a table may be written: over an earlier one at most, and over no file of a harvest."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from harvester.errors import UsageError
from harvester.export.columns import Column
from harvester.export.forms import SQLITE_MARK, is_text_table
from harvester.output.lines import read_head
from harvester.paths import check_apart
from harvester.results import check_folder

ENDINGS = (".csv", ".xlsx", ".parquet", ".sqlite", ".jsonl")
# What tells an earlier workbook or Parquet file of ours.
MARK = b"harvester export"
_TAIL = 64 << 10
_SQLITE_MARK_AT = 68


def check_place(place: Path, outputs: Sequence[Path]) -> str:
    """The form of the table, by its ending; raises UsageError unless one may be written there."""
    form = place.suffix.lower()
    if form not in ENDINGS:
        raise UsageError(
            f"{place}: the name's ending says what is written: {', '.join(ENDINGS)}: name a file "
            "with one of them."
        )
    for output in outputs:
        check_apart({"the table": place}, output=output)
    check_folder(place)
    return form


def is_table(columns: Sequence[Column], place: Path) -> bool:
    """Whether a file is an earlier table; raises OSError."""
    size = place.stat().st_size
    try:
        with place.open("rb") as file:
            match place.suffix.lower():
                case ".xlsx":
                    with zipfile.ZipFile(file) as parts:
                        return MARK in parts.read("docProps/core.xml")
                case ".parquet":
                    file.seek(max(0, size - _TAIL))
                    return MARK in file.read()
                case ".sqlite":
                    file.seek(_SQLITE_MARK_AT)
                    return file.read(4) == SQLITE_MARK.to_bytes(4)
                case _:
                    line = file.readline(_TAIL)
                    return read_head(line) is None and is_text_table(line, columns)
    except (ValueError, KeyError, zipfile.BadZipFile):
        return False
