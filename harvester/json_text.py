"""What programs are told: typed things as JSON, with keys in camelCase and moments in UTC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from harvester.formatting import iso_utc
from harvester.sanitize import cleaned

# Exact, and a number all the same.
_encode = msgspec.json.Encoder(decimal_format="number").encode
_MOMENT = re.compile(r"at|\w+At|asOf|nextDue|lastHeartbeat")


def camel(name: str) -> str:
    """A field's name as its key."""
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


def told(thing: Any) -> Any:  # noqa: ANN401 - whatever a field may hold
    """A thing as JSON has it; Unix seconds under the name of a moment become ISO 8601 in UTC.

    Texts lose their control characters; the keys of a mapping are data, and stay.
    """
    if isinstance(thing, Struct):
        names = ((name, camel(name)) for name in thing.__struct_fields__)
        return {key: _named(key, getattr(thing, name)) for name, key in names}
    if isinstance(thing, Mapping):
        return {str(key): _named(str(key), held) for key, held in thing.items()}
    if isinstance(thing, list | tuple):
        return [told(item) for item in thing]
    if isinstance(thing, Enum):
        return thing.value
    if isinstance(thing, float):
        return round(thing, 6)
    # What is left is a text, or has one, as a path does.
    return thing if thing is None or isinstance(thing, int | Decimal) else cleaned(str(thing))


def _named(key: str, held: object) -> object:
    if isinstance(held, int | float) and _MOMENT.fullmatch(key):
        return iso_utc(held)
    return told(held)


def to_json(thing: object, indent: int = 0) -> bytes:
    """The text of a thing, without a line's end; in one line, unless it is to be indented."""
    text = _encode(told(thing))
    return msgspec.json.format(text, indent=indent) if indent else text
