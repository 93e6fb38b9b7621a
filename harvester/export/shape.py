"""The shape that lines have: learnt from them, and made into a type that they are read as.

To read a line so costs less than to make dictionaries of it, and tells by itself whether there is
anything in it that was not there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from harvester.errors import UsageError
from harvester.export.record import (
    INPUT_KEY,
    MOST,
    OWN,
    kind_of,
    mended,
    read_record,
    unwrap,
)
from harvester.sanitize import sanitize

Path = tuple[str, ...]
NOTHING = type(None)
# As many as SQLite takes in a table, and more than anybody reads.
_MOST_COLUMNS = 2000
# Where notes go on bringing something new, looking costs less than learning.
_MOST_LESSONS = 300
# Members below are JSON text: nobody reads a column whose name is longer than a line.
_DEEPEST = 10
# What a few notes in a million have is seen nearly for sure, at a tenth of the time.
_ALL_OF_FIRST, _EVERY = 1000, 16
_INT = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]
_TYPES: dict[type, Any] = {int: _INT, float: _INT | float, list: list[Any]}
# No value is one.
_NEVER = Annotated[int, msgspec.Meta(gt=0, lt=0)]
# Where nothing is.
_NOWHERE = ("", "")


class Member:
    """What a member has been: of which kinds, with which members of its own."""

    def __init__(self, deepest: int, *, is_whole: bool = True) -> None:
        """Where it is not `is_whole`, only the members that are there already are looked at."""
        self.kinds: set[type] = set()
        self.members: dict[str, Member] = {}
        self.is_whole = is_whole
        # Whether it was also a list of what it is.
        self.is_wrapped = False
        self._deepest = deepest

    def want(self, field: str) -> None:
        """Have a member looked at, however the dots in its name divide it."""
        if self.is_whole:
            return
        ends = [at for at, sign in enumerate(field) if sign == "."]
        for end in [len(field), *ends]:
            key, rest = field[:end], field[end + 1 :]
            member = self.members.setdefault(key, Member(self._deepest - 1, is_whole=False))
            if rest:
                member.want(rest)
            else:
                member.is_whole = True

    def learn(self, value: object) -> bool:
        """Take in one more value; gives whether it was new."""
        kind = kind_of(value)
        # A whole number is one of any.
        is_new = kind not in self.kinds and not (kind is int and float in self.kinds)
        self.kinds.add(kind)
        if not isinstance(value, dict) or not self._deepest:
            return is_new
        before = None
        for key, inner in value.items():
            if key not in self.members:
                if not self.is_whole:
                    continue
                self._insert(key, before)
            before = key
            is_new |= self.members[key].learn(inner)
        return is_new

    def _insert(self, key: str, before: str | None) -> None:
        """A new member stands beside what it stands beside in the note."""
        keys = list(self.members)
        keys.insert(0 if before is None else keys.index(before) + 1, key)
        self.members[key] = Member(self._deepest - 1)
        self.members = {key: self.members[key] for key in keys}

    def as_type(self) -> Any:  # noqa: ANN401 - a type made here
        """The type of all values so far, and of no other."""
        types = [_TYPES.get(kind, kind) for kind in self.kinds - {dict}]
        if dict in self.kinds:
            types.append(self._struct() if self._deepest else dict[str, Any])
        kind: Any = reduce(or_, types or [_NEVER])
        if not self.is_wrapped:
            return kind
        return kind | Annotated[list[kind], msgspec.Meta(min_length=1, max_length=1)]

    def _struct(self) -> type[Struct]:
        places = self.places()
        fields = [(places[key], member.as_type(), None) for key, member in self.members.items()]
        return msgspec.defstruct(
            "Members",
            fields,
            rename={place: key for key, place in places.items()},
            forbid_unknown_fields=self.is_whole,
            gc=False,
        )

    def places(self) -> dict[str, str]:
        """What the members are called in the object that a line is read as."""
        return {key: f"m{number}" for number, key in enumerate(self.members)}

    def cells(self) -> Iterator[tuple[Path, Member]]:
        """All that is a cell by itself, with where it is."""
        for key, member in self.members.items():
            # Of what has members, each is one.
            if not member.members or member.kinds - {dict, NOTHING}:
                yield (key,), member
            for path, inner in member.cells():
                yield (key, *path), inner


class Seen:
    """What lines that were looked at were like; asked of others before these are looked at."""

    def __init__(self, fields: Sequence[str] = ()) -> None:
        """Of lines with very many members, those that are wanted are looked at."""
        self._all = Member(_DEEPEST, is_whole=not fields)
        self._data = Member(_DEEPEST - 1, is_whole=not fields)
        inputs = Member(_DEEPEST - 1, is_whole=not fields)
        own = {} if fields else {name: Member(_DEEPEST - 1) for name in OWN}
        for member in (inputs, self._data, *own.values()):
            member.kinds = {NOTHING}
        self._all.members = {INPUT_KEY: inputs, **own, "data": self._data}
        for field in fields:
            for member in (self._all, inputs, self._data):
                member.want(field)
        # Of the line's own members, those that `data` has again and otherwise.
        self._differing: set[str] = set()
        self._many = self._lessons = 0
        self._decode: Callable[[bytes], Any] | None = None
        self._place_of_data = ""
        self._same: list[tuple[str, str]] = []

    @property
    def is_empty(self) -> bool:
        """Whether no line was looked at."""
        return not self._all.kinds

    def look_at(self, line: bytes) -> bool:
        """See what a line holds; gives whether it is JSON. Raises UsageError for too many."""
        if self.read(line) is None:
            record = read_record(line)
            if record is None:
                return False
            self.learn(record)
        return True

    def look_now_and_then(self, line: bytes) -> bool:
        """Look at some lines; see `look_at`. All are read once more, and what is new is told."""
        self._many += 1
        return (self._many > _ALL_OF_FIRST and self._many % _EVERY != 0) or self.look_at(line)

    def read(self, line: bytes) -> Any | None:  # noqa: ANN401 - of a type made here
        """A line as an object; None where it has to be read as a record."""
        if self._decode is None:
            return None
        try:
            found = self._decode(line)
        except (ValueError, RecursionError):
            text = mended(line)
            return self.read(text) if text != line else None
        data = getattr(found, self._place_of_data)
        if isinstance(data, list) and not data[1:]:
            if not self._data.is_wrapped:
                return None
            (data,) = data
            setattr(found, self._place_of_data, data)
        for own, again in self._same if isinstance(data, Struct) else ():
            if getattr(data, again) not in (None, getattr(found, own)):
                return None
        return found

    def learn(self, record: dict[str, Any]) -> bool:
        """Take in what a line holds, and unwrap it; gives whether there is anything new."""
        lists = unwrap(record)
        is_new = self._all.learn(record) or (lists == 1 and not self._data.is_wrapped)
        self._data.is_wrapped |= lists == 1
        data = record["data"] if isinstance(record["data"], dict) else {}
        for name in self._repeated() - self._differing:
            if data.get(name) not in (None, record.get(name)):
                self._differing.add(name)
                is_new = True
        if is_new:
            self._check_many()
            self._make_type()
        return is_new

    def _repeated(self) -> set[str]:
        return self._data.members.keys() & OWN

    def _check_many(self) -> None:
        cells = list(self.cells())
        if len(cells) > _MOST_COLUMNS:
            raise UsageError(
                f"there are more than {_MOST_COLUMNS:,} columns, such as "
                f"{sanitize(name_of(cells[-1][0]))}: choose some with --fields or --preset."
            )

    def _make_type(self) -> None:
        self._lessons += 1
        self._decode = None
        if self._lessons > _MOST_LESSONS:
            return
        # Not of a name with a quote, a backslash or a control character in it, nor very deep.
        with suppress(TypeError, ValueError, RecursionError):
            self._decode = msgspec.json.Decoder(self._all.as_type()).decode
        places, inner = self._all.places(), self._data.places()
        self._place_of_data = places["data"]
        self._same = [
            (places[name], inner[name])
            for name in self._repeated() - self._differing
            if name in places
        ]

    def cells(self) -> Iterator[tuple[Path, Member]]:
        """All that is a cell by itself, with where it is."""
        hidden: set[Path] = {("data", name) for name in set(OWN) - self._differing}
        hidden |= {
            (name,)
            for name in ("data", INPUT_KEY)
            if not self._all.members[name].kinds - {dict, NOTHING}
        }
        for path, member in self._all.cells():
            if path not in hidden and member.kinds:
                yield path, member

    def place_of(self, path: Path) -> Path:
        """Where a cell is in the object that a line is read as."""
        place, member = [], self._all
        for key in path:
            place.append(member.places()[key])
            member = member.members[key]
        return tuple(place) or _NOWHERE


def name_of(path: Path) -> str:
    """The name of a cell: what `data` holds goes without it, unless the line has it, too."""
    is_plain = path[0] == "data" and path[1:] and path[1:] not in {(name,) for name in OWN}
    return ".".join(path[1:] if is_plain else path)
