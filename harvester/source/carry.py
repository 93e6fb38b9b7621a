"""The columns of an input that travel along with its note ids, as the text of a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NoReturn

from msgspec import Struct

from harvester.errors import InputError, UsageError
from harvester.sanitize import sanitize
from harvester.source.ids import NoNoteError

# So many jobs are held at once that longer ones could be felt in memory.
LONGEST_CARRIED = 16 * 1024  # bytes

_ALL = "all"


class Carry(Struct, frozen=True):
    """Which columns travel along: those named, or all but the note id's."""

    names: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether every column travels along."""
        return not self.names

    def columns(self, header: Sequence[str], column: int, name: str) -> list[tuple[str, int]]:
        """The names and indices of a table's columns that travel along.

        `column` is the note id's. Raises InputError, which names the input, for one that is not
        there.
        """
        places = {text: index for index, text in reversed(list(enumerate(header)))}
        if self.is_all:
            found = ((text, index) for text, index in places.items() if text and index != column)
            return sorted(found, key=itemgetter(1))
        missing = [text for text in self.names if text not in places]
        if missing:
            raise InputError(
                f"{name}:1: no column {sanitize(', '.join(missing))} to carry; columns found: "
                f"{sanitize(', '.join(header))}. Name others with --carry, or say --carry all"
            )
        return [(text, places[text]) for text in self.names]

    def of_row(self, columns: Sequence[tuple[str, int]], row: Sequence[str]) -> str:
        """What a row carries; a row too short carries null. Raises NoNoteError where too long."""
        width = len(row)
        return _text({name: row[at] if at < width else None for name, at in columns})

    def of_record(self, line: bytes, field: str) -> str:
        """What a line's JSON object carries, value for value; `field` is the note id's.

        Raises NoNoteError for what cannot be carried.
        """
        try:
            record: Mapping[str, Any] = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise NoNoteError("a value that is no JSON cannot be carried") from None
        names = (name for name in record if name != field) if self.is_all else self.names
        return _text({name: record[name] for name in names if name in record})


def parse_carry(names: str | Sequence[str] | None) -> Carry | None:
    """Read "campaign,owner", a list of names, or "all"; None carries nothing. Raises UsageError."""
    if names is None:
        return None
    listed = names.split(",") if isinstance(names, str) else list(names)
    listed = [name.strip() for name in listed]
    if listed == [_ALL]:
        return Carry()
    if not listed or not all(listed):
        raise UsageError("--carry wants names of columns, such as campaign,owner, or all.")
    return Carry(tuple(dict.fromkeys(listed)))


def _text(record: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate can only be written as an escape
        text = json.dumps(record, separators=(",", ":"))
        size = len(text)
    if size > LONGEST_CARRIED:
        raise NoNoteError(f"carries more than {LONGEST_CARRIED:,} bytes: name fewer columns")
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
