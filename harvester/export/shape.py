"""The shape that lines have: learnt from them, so that those which bring nothing new are read fast.

A line is then read as an object with a place for each of its members, which costs a third of what
a dictionary of dictionaries does, and tells by itself whether there is anything new in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import attrgetter, or_
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from harvester.export.flatten import DEEPEST, FROM_INPUT, MOST, OWN, as_json, cell_of, mended

# Where notes go on bringing something new, looking costs less than learning.
_MOST_LESSONS = 300
_INT = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]
_TYPES: dict[type, Any] = {int: _INT, float: _INT | float, list: list[Any]}
_Path = tuple[str, ...]
# What no note holds.
_NOWHERE = ("", "")


class _Member:
    """What a member has been: types, members of its own, and whether it was left out."""

    def __init__(self, *, is_optional: bool = False) -> None:
        self.types: set[type] = set()
        self.members: dict[str, _Member] = {}
        self.is_optional = is_optional
        self.was_empty = False

    def learn(self, value: object) -> bool:
        """Take in one more value; gives whether it was new."""
        is_first = dict not in self.types
        kind = type(cell_of(value))
        is_new = kind not in self.types
        self.types.add(kind)
        if not isinstance(value, dict):
            return is_new
        self.was_empty |= not value
        for name, member in value.items():
            if name not in self.members:
                self.members[name] = _Member(is_optional=not is_first)
            is_new |= self.members[name].learn(member)
        for name in self.members.keys() - value.keys():
            is_new |= not self.members[name].is_optional
            self.members[name].is_optional = True
        return is_new

    def as_type(self) -> Any:  # noqa: ANN401 - a type made here
        """The type of all values so far, and of no other."""
        types: list[Any] = [_TYPES.get(kind, kind) for kind in self.types - {dict}]
        if dict in self.types:
            types.append(self._struct())
        return reduce(or_, types)

    def _struct(self) -> type[Struct]:
        fields = [
            (place, member.as_type(), *([None] if member.is_optional else []))
            for place, member in zip(self.places(), self.members.values(), strict=True)
        ]
        return msgspec.defstruct(
            "Members",
            fields,
            rename=dict(zip(self.places(), self.members, strict=True)),
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )

    def places(self) -> Iterator[str]:
        """What the members are called in the object that a line is read as."""
        return (f"m{number}" for number in range(len(self.members)))

    def walk(self, prefix: str, deepest: int, path: _Path) -> Iterator[tuple[str, _Path, _Member]]:
        """The columns of all members, as `flatten` names them, with where they are.

        Raises ValueError for those that it takes otherwise than by their places.
        """
        for place, (name, member) in zip(self.places(), self.members.items(), strict=True):
            if "." in name or member.was_empty or (dict in member.types and not deepest):
                raise ValueError(name)
            yield prefix + name, (*path, place), member
            yield from member.walk(f"{prefix}{name}.", deepest - 1, (*path, place))


class Shape:
    """What lines were like; asked of each before it is looked at in full."""

    def __init__(self) -> None:
        self._all = _Member()
        self._lessons = 0
        self._decode: Callable[[bytes], object] | None = None
        self._ids: Callable[[object], tuple[object, object]] | None = None

    def read(self, line: bytes) -> object | None:
        """A line as an object; None if there is a member, or a type of one, that is new.

        Or if the vendor's note id is not the line's.
        """
        if self._decode is None:
            return None
        try:
            found = self._decode(line)
        except (ValueError, RecursionError):
            text = mended(line)
            return self.read(text) if text != line else None
        if self._ids is None:
            return found
        try:
            one, other = self._ids(found)
        except AttributeError:
            # There may be no data.
            return None
        return found if one == other else None

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take in what a line holds, unless that is to be unwrapped first."""
        if not isinstance(record.get("data"), dict | None):
            return
        if self._lessons < _MOST_LESSONS and self._all.learn(record):
            self._lessons += 1
            try:
                self._decode = msgspec.json.Decoder(self._all.as_type()).decode
            except (ValueError, RecursionError):
                # A name with a quote, a backslash or a control character in it, or very deep.
                self._lessons, self._decode = _MOST_LESSONS, None
                return
            places = dict(zip(self._all.members, self._all.places(), strict=True))
            data = self._all.members.get("data", _Member())
            inner = dict(zip(data.members, data.places(), strict=True)).get("noteId")
            own = places.get("noteId")
            self._ids = attrgetter(own, f"{places['data']}.{inner}") if own and inner else None

    def cells(self, names: Sequence[str]) -> Callable[[object], list[Any]] | None:
        """What makes a row of an object; None where `flatten` has to."""
        try:
            places = {name: (path, member) for name, path, member in self._columns()}
        except ValueError:
            return None
        return None if self._lessons == _MOST_LESSONS else _row_of(places, names)

    def _columns(self) -> Iterator[tuple[str, _Path, _Member]]:
        if self._all.types != {dict}:
            raise ValueError
        for place, (name, member) in zip(
            self._all.places(), self._all.members.items(), strict=True
        ):
            if name in {"data", "input"}:
                own = set(OWN) - {"noteId"} if name == "data" else set()
                if not member.types <= {dict, type(None)} or own & member.members.keys():
                    raise ValueError(name)
                prefix = FROM_INPUT if name == "input" else ""
                for column, path, inner in member.walk(prefix, DEEPEST, (place,)):
                    if column != "noteId":
                        yield column, path, inner
            else:
                yield name, (place,), member


def _row_of(
    places: Mapping[str, tuple[_Path, _Member]], names: Sequence[str]
) -> Callable[[object], list[Any]]:
    paths = [places[name][0] if name in places else _NOWHERE for name in names]
    runs = []
    for parents, group in groupby(paths, lambda path: path[:-1]):
        fields = [path[-1] for path in group]
        runs.append((parents, _all_of(fields), (None,) * len(fields)))
    odd = [
        place
        for place, name in enumerate(names)
        if name in places and places[name][1].types & {list, dict}
    ]

    def row_of(found: object) -> list[Any]:
        cells: list[Any] = []
        for parents, get, nothing in runs:
            parent = found
            for step in parents:
                parent = getattr(parent, step, None)
            cells += get(parent) if isinstance(parent, Struct) else nothing
        for place in odd:
            if isinstance(cells[place], list):
                cells[place] = as_json(cells[place])
            elif isinstance(cells[place], Struct):
                cells[place] = None
        return cells

    return row_of


def _all_of(fields: list[str]) -> Callable[[object], tuple[Any, ...]]:
    """What gives these attributes of an object."""
    if len(fields) == 1:
        (only,) = fields
        return lambda found: (getattr(found, only),)
    return attrgetter(*fields)
