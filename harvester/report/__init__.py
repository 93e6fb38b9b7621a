"""A page that shows what a ledger holds, self-contained, for the person who would rather look."""

from __future__ import annotations

from pathlib import Path

from harvester.paths import check_apart
from harvester.results import check_earlier, check_folder

# What `page.html` begins with; an earlier page is known by it.
MARK = b'<meta name="generator" content="harvester report">'
_HEAD = 1024


def check_place(page: Path, output: Path | None) -> None:
    """Raise UsageError unless a page may be written there; `output` is the harvest's, if named."""
    check_apart({"the page": page.resolve()}, output=output)
    check_earlier(page, "page of this command's", _is_page)
    check_folder(page)


def _is_page(place: Path) -> bool:
    with place.open("rb") as file:
        return MARK in file.read(_HEAD)
