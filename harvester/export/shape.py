"""The shape that lines have had so far, so that those which bring nothing new are passed fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from harvester.export.flatten import MOST_DIGITS

# Where notes go on bringing something new, looking costs less than learning.
_MOST_LESSONS = 300
_MOST = 10**MOST_DIGITS - 1
_TYPES: dict[type, Any] = {
    int: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)],
    list: list[Any],
}


class _Member:
    """What a member has been: types, and members of its own."""

    def __init__(self) -> None:
        self.types: set[type] = set()
        self.members: dict[str, _Member] = {}

    def learn(self, value: object) -> bool:
        """Take in one more value; gives whether it was new."""
        is_new = type(value) not in self.types
        self.types.add(type(value))
        for name, member in value.items() if isinstance(value, dict) else ():
            is_new |= self.members.setdefault(name, _Member()).learn(member)
        return is_new

    def as_type(self) -> Any:  # noqa: ANN401 - a type made here
        """The type of all values so far, and of no other."""
        types: list[Any] = [_TYPES.get(kind, kind) for kind in self.types - {dict}]
        if dict in self.types:
            types.append(self._struct())
        return reduce(or_, types)

    def _struct(self) -> type[msgspec.Struct]:
        names = {f"m{number}": name for number, name in enumerate(self.members)}
        return msgspec.defstruct(
            "Members",
            [
                (field, self.members[name].as_type() | UnsetType, UNSET)
                for field, name in names.items()
            ],
            rename=names,
            forbid_unknown_fields=True,
        )


class Shape:
    """What lines were like; asked of each before it is looked at in full."""

    def __init__(self) -> None:
        self._all = _Member()
        self._lessons = 0
        self._decode: Callable[[bytes], object] | None = None

    def knows(self, line: bytes) -> bool:
        """Whether a line is JSON and has no member, and no type of one, that is new."""
        try:
            return self._decode is not None and self._decode(line) is not None
        except (ValueError, RecursionError):
            return False

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take in what a line holds."""
        if self._lessons < _MOST_LESSONS and self._all.learn(record):
            self._lessons += 1
            self._decode = msgspec.json.Decoder(self._all.as_type()).decode
