"""The columns of an input that travel along with its note ids, as the text of a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from harvester.errors import InputError, UsageError
from harvester.sanitize import sanitize

# So many jobs are held at once that longer ones could be felt in memory.
LONGEST_EXTRA = 16 * 1024  # bytes

_ALL = "all"
_TOO_LONG = f"carries more than {LONGEST_EXTRA:,} bytes: name fewer columns"
_FORM: dict[str, Any] = {"separators": (",", ":"), "allow_nan": False}
_written = json.JSONEncoder(ensure_ascii=False, **_FORM).encode
_escaped = json.JSONEncoder(**_FORM).encode


class ExtraFields(Struct, frozen=True):
    """Which columns travel along, in the list's own order: those named, or all but the id's."""

    names: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether every column travels along."""
        return not self.names

    def columns(self, header: Sequence[str], column: int, place: str) -> list[tuple[str, int]]:
        """The names and indices of a table's columns that travel along; `column` is the note id's.

        Raises InputError, which names the `place`, for one that is not there.
        """
        places = {text: index for index, text in reversed(list(enumerate(header)))}
        missing = [text for text in self.names if text not in places]
        if missing:
            raise InputError(
                f"{place}: no column {sanitize(', '.join(missing))} to carry; columns found: "
                f"{sanitize(', '.join(header))}. Name others with --carry, or say --carry all"
            )
        found = ((index, text) for text, index in places.items())
        return [
            (text, index)
            for index, text in sorted(found)
            if (text and index != column if self.is_all else text in self.names)
        ]

    def of_row(self, columns: Sequence[tuple[str, int]], row: Sequence[str]) -> tuple[str, str]:
        """What a row carries, or why it cannot; a row too short carries null."""
        width = len(row)
        record = {name: row[at] if at < width else None for name, at in columns}
        try:
            data = orjson.dumps(record)
        except orjson.JSONEncodeError:
            return _text(record)
        return ("", _TOO_LONG) if len(data) > LONGEST_EXTRA else (data.decode(), "")

    def of_record(self, record: Mapping[str, Any], field: str) -> tuple[str, str]:
        """What a JSON object carries, value for value, or why it cannot; `field` is the id's."""
        return _text(
            {
                name: value
                for name, value in record.items()
                if (name != field if self.is_all else name in self.names)
            }
        )


def parse_extra_fields(names: str | Sequence[str] | None) -> ExtraFields | None:
    """Read "campaign,owner", a list of names, or "all"; None carries nothing. Raises UsageError."""
    if names is None:
        return None
    listed = names.split(",") if isinstance(names, str) else list(names)
    listed = [name.strip() for name in listed]
    if listed == [_ALL]:
        return ExtraFields()
    if not listed or not all(listed):
        raise UsageError("--carry wants names of columns, such as campaign,owner, or all.")
    return ExtraFields(tuple(dict.fromkeys(listed)))


def _text(record: Mapping[str, Any]) -> tuple[str, str]:
    try:
        text = _written(record)
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate can only be written as an escape
        text = _escaped(record)
        size = len(text)
    except (ValueError, RecursionError):
        return "", "a value that is no JSON cannot be carried"
    return ("", _TOO_LONG) if size > LONGEST_EXTRA else (text, "")
