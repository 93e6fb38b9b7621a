"""The shape that lines have: learnt from them, and made into a type that they are read as.

To read a line so costs less than to make dictionaries of it, and tells by itself whether there is
anything in it that was not there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Annotated, Any, NamedTuple

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
    value_at,
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
_ONE = msgspec.Meta(min_length=1, max_length=1)
# No value is one.
_NEVER = Annotated[int, msgspec.Meta(gt=0, lt=0)]


class Member:
    """What a member has been: of which kinds, with which members of its own."""

    def __init__(self, place: str, deepest: int, *, is_whole: bool) -> None:
        """`place` is what it is called in the object that a line is read as.

        Where it is not `is_whole`, only the members that are there already are looked at.
        """
        self.place = place
        self.kinds: set[type] = set()
        self.members: dict[str, Member] = {}
        self.is_whole = is_whole
        # Whether it was also a list of what it is.
        self.is_wrapped = False
        self._deepest = deepest

    def add(self, key: str, *, is_whole: bool = True) -> Member:
        """The member of that name, a new one if need be."""
        new = Member(f"m{len(self.members)}", self._deepest - 1, is_whole=is_whole)
        return self.members.setdefault(key, new)

    def want(self, field: str) -> None:
        """Have a member looked at, however the dots in its name divide it."""
        if self.is_whole:
            return
        ends = [at for at, sign in enumerate(field) if sign == "."]
        for end in [len(field), *ends]:
            key, rest = field[:end], field[end + 1 :]
            member = self.add(key, is_whole=False)
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
        self.add(key)
        self.members = {key: self.members[key] for key in keys}

    def as_type(self) -> Any:  # noqa: ANN401 - a type made here
        """The type of all values so far, and of no other."""
        types = [_TYPES.get(kind, kind) for kind in self.kinds - {dict}]
        if dict in self.kinds:
            types.append(self._struct() if self._deepest else dict[str, Any])
        kind: Any = reduce(or_, types or [_NEVER])
        return kind | Annotated[list[kind], _ONE] if self.is_wrapped else kind

    def _struct(self) -> type[Struct]:
        return msgspec.defstruct(
            "Members",
            [(member.place, member.as_type(), None) for member in self.members.values()],
            rename={member.place: key for key, member in self.members.items()},
            forbid_unknown_fields=self.is_whole,
            gc=False,
        )

    def cells(self, path: Path = (), parents: Path = ()) -> Iterator[Cell]:
        """All that is a cell by itself; of what has members, each is one."""
        for number, (key, member) in enumerate(self.members.items()):
            if not member.members or member.kinds - {dict, NOTHING}:
                yield Cell((*path, key), parents, number, member)
            yield from member.cells((*path, key), (*parents, member.place))


class Cell(NamedTuple):
    """A cell of a row: where it is in a line, and in the object that it is read as; what it was.

    Its `number` is the one that it has among the members of the last of its `parents`.
    """

    path: Path
    parents: Path
    number: int
    member: Member

    @property
    def name(self) -> str:
        """What `data` holds goes without it, unless the line has it, too."""
        path = self.path
        is_plain = path[0] == "data" and path[1:] and path[1:] not in {(name,) for name in OWN}
        return ".".join(path[1:] if is_plain else path)


class Seen:
    """What lines that were looked at were like; asked of others before these are looked at."""

    def __init__(self, fields: Sequence[str] = ()) -> None:
        """Of lines with very many members, those that are wanted are looked at."""
        self._all = Member("", _DEEPEST, is_whole=not fields)
        inputs = self._all.add(INPUT_KEY, is_whole=not fields)
        for name in () if fields else OWN:
            self._all.add(name)
        self._data = self._all.add("data", is_whole=not fields)
        for member in self._all.members.values():
            member.kinds = {NOTHING}
        for field in fields:
            for member in (self._all, inputs, self._data):
                member.want(field)
        self._has_other_id = False
        self._many = self._lessons = 0
        self._decode: Callable[[bytes], Any] | None = None

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
        data = getattr(found, self._data.place)
        if isinstance(data, list) and not data[1:]:
            if not self._data.is_wrapped:
                return None
            (data,) = data
            setattr(found, self._data.place, data)
        if self._ids is None or not isinstance(data, Struct):
            return found
        own, other = self._ids
        return found if getattr(data, other) in (None, getattr(found, own)) else None

    def learn(self, record: dict[str, Any]) -> bool:
        """Take in what a line holds, and unwrap it; gives whether there is anything new."""
        known = self._data.is_wrapped, self._has_other_id
        self._data.is_wrapped |= unwrap(record) == 1
        other = value_at(("data", "noteId"), record)
        self._has_other_id |= other not in (None, record.get("noteId"))
        is_new = self._all.learn(record) or known != (self._data.is_wrapped, self._has_other_id)
        if is_new:
            self._make_type()
        return is_new

    def _make_type(self) -> None:
        cells = list(self.cells())
        if len(cells) > _MOST_COLUMNS:
            raise UsageError(
                f"there are more than {_MOST_COLUMNS:,} columns, such as "
                f"{sanitize(cells[-1].name)}: choose some with --fields or --preset."
            )
        self._decode = None
        self._lessons += 1
        if self._lessons > _MOST_LESSONS:
            return
        # Not of a name with a quote, a backslash or a control character in it, nor very deep.
        with suppress(TypeError, ValueError, RecursionError):
            self._decode = msgspec.json.Decoder(self._all.as_type()).decode
        self._ids = None
        if "noteId" in self._data.members and not self._has_other_id:
            self._ids = self._all.add("noteId").place, self._data.add("noteId").place

    def cells(self) -> Iterator[Cell]:
        """All that is a cell by itself, in the order of the columns."""
        for cell in self._all.cells():
            is_object = cell.path in {("data",), (INPUT_KEY,)}
            is_again = cell.path == ("data", "noteId") and not self._has_other_id
            nothing = {dict, NOTHING} if is_object else set()
            if cell.member.kinds - nothing and not is_again:
                yield cell
