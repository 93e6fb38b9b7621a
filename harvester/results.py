"""Files that are made: where one may be put, put there whole or not at all, or said why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harvester.disk import reason_of, replacing
from harvester.errors import LocalIOError, UsageError


def check_folder(place: Path) -> None:
    """Raise UsageError where there is no folder for a file."""
    if not place.resolve().parent.is_dir():
        raise UsageError(f"there is no folder {place.parent}: make it, or name another file.")


def check_earlier(place: Path, what: str, is_ours: Callable[[Path], bool]) -> None:
    """Raise UsageError for what is there and is no earlier one; LocalIOError if it cannot be read.

    An empty file holds nothing to lose.
    """
    whole = place.resolve()
    try:
        if not whole.exists():
            return
        if whole.is_file() and (not whole.stat().st_size or is_ours(whole)):
            return
    except OSError as error:
        raise LocalIOError(
            f"{place} is there and cannot be read ({reason_of(error)}): name another file."
        ) from error
    raise UsageError(
        f"{place} is there and is no {what}: name another file, or move that one away."
    )


@contextmanager
def result_into(place: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that takes its place whole at the end, or not at all; raises LocalIOError."""
    advice = "make room, check the permissions of its folder, or name another file with -o"
    with writing(place, advice), replacing(place.resolve(), mode) as file:
        yield file


@contextmanager
def writing(place: Path, advice: str = "make room, then try again") -> Iterator[None]:
    """Raise LocalIOError for whatever keeps a file from being written."""
    try:
        yield
    except OSError as error:
        text = f"{place} cannot be written ({reason_of(error)}): {advice}."
        raise LocalIOError(text) from error
