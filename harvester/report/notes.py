"""The newest notes of an OUTPUT, and which changed most since they were last fetched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from harvester.export.record import read_record, unwrap, value_at
from harvester.output.lines import read_head, unreadable

T = TypeVar("T")
Record = dict[str, Any]

MOST_NOTES = 3000
MOST_CHANGES = 20
# So much of OUTPUT's end is read: some 20,000 notes.
_MOST_BYTES = 64 << 20
_WEB = ("https://", "http://")
# As the endpoints of the family say it.
_TITLE = ("title", "display_title", "desc")
_AUTHOR = ("userInfo.nickName", "user.nickname", "user.name")
_LIKES = ("likeNum", "liked_count", "likes")
_COMMENTS = ("cmtNum", "comments_count")
_LINK = ("noteLink", "share_info.link")


class Note(Struct, frozen=True):
    """What a person looks for first; `fetched_at` is Unix seconds, `link` empty where none is."""

    note_id: str
    title: str
    author: str
    likes: int | None
    comments: int | None
    link: str
    fetched_at: float


class Change(Struct, frozen=True):
    """How many more likes a note has than it had; `since` is Unix seconds."""

    note: Note
    more: int
    since: float


class Notes(Struct, frozen=True):
    """The newest notes, newest first, of `many`; `changes`, the largest first.

    `is_all` tells that OUTPUT was read whole, so that there are no more.
    """

    told: list[Note]
    changes: list[Change]
    many: int
    is_all: bool


def read_notes(output: Path) -> Notes:
    """The notes on the last lines of an OUTPUT, also while a run is writing it.

    Raises LocalIOError.
    """
    newest: dict[str, Note] = {}
    before: dict[str, Note] = {}
    try:
        start = max(0, output.stat().st_size - _MOST_BYTES)
        for note in _notes_from(output, start):
            earlier = newest.pop(note.note_id, None)
            if earlier is not None:
                before[note.note_id] = earlier
            newest[note.note_id] = note
    except FileNotFoundError:
        start = 0
    except OSError as error:
        raise unreadable(output, error) from error
    told = sorted(newest.values(), key=lambda note: note.fetched_at, reverse=True)
    changes = sorted(_changes(newest, before), key=lambda change: -abs(change.more))
    return Notes(told[:MOST_NOTES], changes[:MOST_CHANGES], len(told), start == 0)


def _notes_from(output: Path, start: int) -> Iterator[Note]:
    with output.open("rb") as file:
        file.seek(start)
        if start:
            file.readline()
        for line in file:
            record = read_record(line) if read_head(line) else None
            if record is not None:
                unwrap(record)
                yield _note_of(record)


def _changes(newest: dict[str, Note], before: dict[str, Note]) -> Iterator[Change]:
    for note_id, old in before.items():
        new = newest[note_id]
        if new.likes is not None and old.likes is not None and new.likes != old.likes:
            yield Change(new, new.likes - old.likes, old.fetched_at)


def _note_of(record: Record) -> Note:
    link = _first(record, _LINK, str) or ""
    return Note(
        str(record["noteId"]),
        _first(record, _TITLE, str) or "",
        _first(record, _AUTHOR, str) or "",
        _first(record, _LIKES, int),
        _first(record, _COMMENTS, int),
        link if link.startswith(_WEB) else "",
        datetime.fromisoformat(record["fetchedAt"]).timestamp(),
    )


def _first(record: Record, names: tuple[str, ...], kind: type[T]) -> T | None:
    """What stands under the first of the names where something of its kind does."""
    found = (value_at(name.split("."), record["data"]) for name in names)
    return next((value for value in found if type(value) is kind and value != ""), None)
