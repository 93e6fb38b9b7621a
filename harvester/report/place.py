"""Puts a page in its place whole or not at all, and never over anything but an earlier page."""

from __future__ import annotations

from pathlib import Path

from harvester.disk import replacing
from harvester.errors import LocalIOError, UsageError
from harvester.paths import check_apart

# What `page.html` begins with; an earlier page is known by it.
MARK = b'<meta name="generator" content="harvester report">'
_HEAD = 1024
# A page may be for others, if the user's mask lets them.
_FOR_ALL = 0o666


def check_place(page: Path, output: Path | None) -> None:
    """Raise UsageError unless a page may be written there; `output` is the harvest's, if named."""
    place = page.resolve()
    check_apart({"the page": place}, output=output)
    if place.exists() and not _is_ours(place):
        raise UsageError(
            f"{page} is there and is no page of this command's: name another file for the page, or "
            "move that one away."
        )
    if not place.parent.is_dir():
        raise UsageError(f"there is no folder {page.parent}: make it, or name another file.")


def _is_ours(place: Path) -> bool:
    """Whether a file is an earlier page; an empty one holds nothing to lose."""
    if not place.is_file():
        return False
    try:
        with place.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise LocalIOError(_unwritable(place, error)) from error
    return not head or MARK in head


def put(page: Path, text: str) -> None:
    """Write the page; raises LocalIOError."""
    try:
        with replacing(page.resolve(), mode=_FOR_ALL) as file:
            file.write(text.encode())
    except OSError as error:
        raise LocalIOError(_unwritable(page, error)) from error


def _unwritable(page: Path, error: OSError) -> str:
    return (
        f"the page {page} cannot be written ({error.strerror}): make room, check the permissions "
        "of its folder, or name another file with -o."
    )
