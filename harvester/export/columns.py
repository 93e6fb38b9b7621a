"""The columns of a table: which there are, what they hold, which are wanted, their headings."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from zoneinfo import ZoneInfo

from msgspec import Struct

from harvester.errors import UsageError
from harvester.export.fields import CHANGES, FETCHED_AT, FIELDS, PRESETS, Field
from harvester.export.flatten import FROM_INPUT, OWN, Row, flatten, read_record
from harvester.export.shape import Shape
from harvester.sanitize import sanitize

# As many as SQLite takes in a table, and more than anybody reads.
_MOST_COLUMNS = 2000
_NOTHING = type(None)
# What a few notes in a million have is seen nearly for sure, at a tenth of the time.
_ALL_OF_FIRST, _EVERY = 1000, 16
_FIRST, _LAST, _DIFFERENCE = CHANGES


class CellKind(Enum):
    """What the cells of a column are, but for those that are empty."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "truth"
    MOMENT = "moment"
    MIXED = "mixed"


class Column(Struct, frozen=True):
    """A column: the member it shows, and of which line where a note has two."""

    name: str
    heading: str
    kind: CellKind
    which: str = ""

    @property
    def is_link(self) -> bool:
        """Whether an address in it is one to go to."""
        field = FIELDS.get(self.name)
        return self.kind is CellKind.TEXT and not (field and field.is_picture)


class Choice(Struct, frozen=True):
    """What is wanted of all there is: members by name, or a set of them; all if neither is said.

    Of a note's lines it is the newest, all with their history, the first and the newest with
    their changes.
    """

    fields: tuple[str, ...] = ()
    headings: str = "raw"
    with_history: bool = False
    with_changes: bool = False

    @classmethod
    def read(
        cls,
        fields: str | None,
        preset: str | None,
        headings: str,
        *,
        with_history: bool,
        with_changes: bool,
    ) -> Choice:
        """The choice that options make; raises UsageError."""
        if fields is not None and preset is not None:
            raise UsageError("--fields and --preset contradict each other: give one of them.")
        names = () if fields is None else tuple(name.strip() for name in fields.split(","))
        if not all(names) or (fields is not None and not names):
            raise UsageError("--fields wants names, such as title,likeNum,userInfo.nickName.")
        wanted = PRESETS[preset] if preset else tuple(dict.fromkeys(names))
        return cls(wanted, headings, with_history, with_changes)


class UnseenError(Exception):
    """A line that brings what those that were looked at did not, or that is no JSON."""


class NoFieldError(UsageError):
    """A field that none of the lines that were looked at holds (exit 2)."""


class Seen:
    """The columns of rows that were looked at, in their order, and the types of their cells."""

    def __init__(self, fields: Iterable[str] = ()) -> None:
        """Of rows with very many columns, those that are wanted are looked at."""
        self._wanted = tuple(fields)
        self.types: dict[str, set[type]] = {name: set() for name in OWN if self._wants(name)}
        self.shape = Shape()
        self._many = 0

    def look_at(self, line: bytes) -> bool:
        """See what a line holds; gives whether it is JSON. Raises UsageError for too many."""
        if self.shape.read(line) is not None:
            return True
        record = read_record(line)
        if record is None:
            return False
        self.shape.learn(record)
        self._add(flatten(record))
        return True

    def look_now_and_then(self, line: bytes) -> bool:
        """Look at some lines; see `look_at`. All are read once more, and what is new is told."""
        self._many += 1
        return (self._many > _ALL_OF_FIRST and self._many % _EVERY != 0) or self.look_at(line)

    def foresaw(self, row: Row) -> bool:
        """Whether a row has no column, and no type of a cell, that is new."""
        return all(
            type(value) in self.types[name] if name in self.types else not self._wants(name)
            for name, value in row.items()
        )

    def _wants(self, name: str) -> bool:
        return not self._wanted or any(_is_of(name, field) for field in self._wanted)

    def _add(self, row: Row) -> None:
        names = list(self.types)
        place = 0
        for name, value in row.items():
            if name in self.types:
                place = names.index(name) + 1
            elif self._wants(name):
                # Beside what it stands beside in the row.
                names.insert(place, name)
                place += 1
            else:
                continue
            self.types.setdefault(name, set()).add(type(value))
        if len(names) > _MOST_COLUMNS:
            raise UsageError(
                f"there are more than {_MOST_COLUMNS:,} columns, such as {sanitize(names[-1])}: "
                "choose some with --fields or --preset."
            )
        self.types = {name: self.types[name] for name in names}

    def columns(self, choice: Choice) -> list[Column]:
        """The columns that are wanted; raises NoFieldError."""
        # A member that is nothing or has members: of those, each is a column.
        parents = {name.rpartition(".")[0] for name in self.types}
        names = [n for n in self.types if n not in parents or self.types[n] != {_NOTHING}]
        if choice.fields:
            names = list(dict.fromkeys(self._chosen(choice.fields, names)))
        columns = [
            column
            for name in names
            for column in _over_time(name, self._kind(name), with_changes=choice.with_changes)
        ]
        return _headed(columns, choice.headings)

    def _chosen(self, fields: Sequence[str], names: Sequence[str]) -> Iterator[str]:
        is_preset = fields in PRESETS.values()
        for field in fields:
            found = [name for name in names if _is_of(name, field)]
            # Before the first note, or of another endpoint.
            if not found and not is_preset and field not in FIELDS:
                near = difflib.get_close_matches(field, [*names, *FIELDS], n=1)
                hint = f": did you mean {sanitize(near[0])}?" if near else "."
                raise NoFieldError(f"--fields: no note holds {sanitize(field)}{hint}")
            if not found and field in FIELDS and not (is_preset and any(self.types.values())):
                found = [field]
            yield from found

    def _kind(self, name: str) -> CellKind:
        types = self.types.get(name, set()) - {_NOTHING}
        if name == FETCHED_AT or (name in FIELDS and FIELDS[name].is_moment and types <= {int}):
            return CellKind.MOMENT
        match sorted(kind.__name__ for kind in types):
            case [] | ["str"]:
                return CellKind.TEXT
            case ["int"]:
                return CellKind.INTEGER
            case ["float"] | ["float", "int"]:
                return CellKind.NUMBER
            case ["bool"]:
                return CellKind.TRUTH
        return CellKind.MIXED


def _is_of(name: str, field: str) -> bool:
    """Whether a column is the member that was named, or a part of it."""
    return name in {field, FROM_INPUT + field} or name.startswith(
        (f"{field}.", f"{FROM_INPUT}{field}.")
    )


def _over_time(name: str, kind: CellKind, *, with_changes: bool) -> Iterator[Column]:
    """The columns of a member: of a number over time three, of others one."""
    is_number = kind in {CellKind.INTEGER, CellKind.NUMBER} and name != "attempts"
    if with_changes and (is_number or name == FETCHED_AT):
        yield Column(name, "", kind, _FIRST)
        yield Column(name, "", kind, _LAST)
        if is_number:
            yield Column(name, "", kind, _DIFFERENCE)
    else:
        yield Column(name, "", kind)


def _headed(columns: Sequence[Column], language: str) -> list[Column]:
    """The same with a heading for each; those alike are headed by their whole names."""
    headings = [_heading(column, language) for column in columns]
    many = Counter(headings)
    return [
        Column(
            column.name,
            heading if many[heading] == 1 else column.name + f".{column.which}".rstrip("."),
            column.kind,
            column.which,
        )
        for column, heading in zip(columns, headings, strict=True)
    ]


def _heading(column: Column, language: str) -> str:
    bare = column.name.removeprefix(FROM_INPUT)
    which = CHANGES.get(column.which)
    if language == "raw":
        return f"{bare}.{column.which}" if which else bare
    field = FIELDS.get(column.name, Field(bare, bare))
    in_words = field.zh if language == "zh" else field.en
    if which is None:
        return in_words
    return f"{in_words}({which.zh})" if language == "zh" else f"{in_words} ({which.en})"


class RowLayout:
    """Makes a row's cells, in the order of the columns; moments are in a time zone."""

    def __init__(self, columns: Sequence[Column], zone: ZoneInfo, seen: Seen) -> None:
        self._seen = seen
        self._names = [column.name for column in columns]
        self._which = [column.which for column in columns]
        self._moments = [
            place for place, column in enumerate(columns) if column.kind is CellKind.MOMENT
        ]
        self._zone = zone
        self._row_of = seen.shape.cells(self._names)

    def cells(self, line: bytes) -> list[object]:
        """The cells of a line; raises UnforeseenError."""
        found = None if self._row_of is None else self._seen.shape.read(line)
        if self._row_of is not None and found is not None:
            cells = self._row_of(found)
        else:
            record = read_record(line)
            row = {} if record is None else flatten(record)
            if not row or not self._seen.foresaw(row):
                raise UnseenError
            cells = list(map(row.get, self._names))
        for place in self._moments:
            cells[place] = self._moment(cells[place])
        return cells

    def changes(self, first: bytes, last: bytes) -> list[object]:
        """The cells of a note's first line and its newest."""
        return [
            _CHANGES[which](old, new)
            for which, old, new in zip(
                self._which, self.cells(first), self.cells(last), strict=True
            )
        ]

    def _moment(self, value: object) -> datetime | None:
        try:
            if isinstance(value, int):
                return datetime.fromtimestamp(value / 1000, self._zone)
            return datetime.fromisoformat(str(value)).astimezone(self._zone)
        except (OverflowError, ValueError, OSError):
            return None


def _difference(old: object, new: object) -> object:
    if isinstance(old, int | float) and isinstance(new, int | float):
        return new - old
    return None


_CHANGES: dict[str, Callable[[object, object], object]] = {
    "": lambda _old, new: new,
    _FIRST: lambda old, _new: old,
    _LAST: lambda _old, new: new,
    _DIFFERENCE: _difference,
}
