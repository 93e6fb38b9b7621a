"""The columns of a table: which there are, what they hold, which are wanted, their headings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from harvester.errors import UsageError
from harvester.export.fields import CHANGES, FETCHED_AT, FIELDS, PRESETS, Field
from harvester.export.record import INPUT_KEY
from harvester.export.shape import NOTHING, Cell, Seen
from harvester.formatting import hint
from harvester.sanitize import sanitize

_FROM_INPUT = f"{INPUT_KEY}."
_FIRST, _LAST, _ = CHANGES


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
    cell: Cell | None = None

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


class NoFieldError(UsageError):
    """A field that none of the lines that were looked at holds (exit 2)."""


def columns_of(seen: Seen, choice: Choice) -> list[Column]:
    """The columns that are wanted of what was seen; raises NoFieldError."""
    columns = [Column(c.name, "", _kind(c.name, c.member.kinds), cell=c) for c in seen.cells()]
    if choice.fields:
        columns = list(dict.fromkeys(_chosen(choice.fields, columns)))
    if choice.with_changes:
        columns = [part for column in columns for part in _over_time(column)]
    return _headed(columns, choice.headings)


def _chosen(fields: Sequence[str], columns: Sequence[Column]) -> Iterator[Column]:
    is_preset = fields in PRESETS.values()
    for field in fields:
        found = [column for column in columns if _is_of(column.name, field)]
        # Before the first note, or of another endpoint.
        if not found and not is_preset and field not in FIELDS:
            near = hint(field, [*(c.name for c in columns), *FIELDS], ": did you mean {}?") or "."
            raise NoFieldError(f"--fields: no note holds {sanitize(field)}{sanitize(near)}")
        if not found and field in FIELDS and not (is_preset and columns):
            yield Column(field, "", _kind(field, set()))
        yield from found


def _kind(name: str, kinds: set[type]) -> CellKind:
    kinds = kinds - {NOTHING}
    if name == FETCHED_AT or (name in FIELDS and FIELDS[name].is_moment and kinds <= {int}):
        return CellKind.MOMENT
    match sorted({"str" if kind in {list, dict} else kind.__name__ for kind in kinds}):
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
    return f"{name}.".startswith((f"{field}.", f"{_FROM_INPUT}{field}."))


def _over_time(column: Column) -> Iterator[Column]:
    """The columns of a member: of a number over time three, of others one."""
    is_number = column.kind in {CellKind.INTEGER, CellKind.NUMBER} and column.name != "attempts"
    if is_number or column.name == FETCHED_AT:
        for which in CHANGES if is_number else (_FIRST, _LAST):
            yield replace(column, which=which)
    else:
        yield column


def _headed(columns: Sequence[Column], language: str) -> list[Column]:
    """The same with a heading for each; those alike are headed by their whole names."""
    headings = [_heading(column, language) for column in columns]
    many = Counter(headings)
    whole = [
        heading if many[heading] == 1 else f"{column.name}.{column.which}".rstrip(".")
        for column, heading in zip(columns, headings, strict=True)
    ]
    return [
        replace(column, heading=heading)
        for column, heading in zip(columns, numbered(whole), strict=True)
    ]


def numbered(names: Iterable[str], key: Callable[[str], str] = str) -> list[str]:
    """Names that are no two alike by `key`: a second one has a number."""
    used: set[str] = set()
    told = []
    for name in names:
        other, number = name, 2
        while key(other) in used:
            other, number = f"{name}_{number}", number + 1
        used.add(key(other))
        told.append(other)
    return told


def _heading(column: Column, language: str) -> str:
    bare = column.name.removeprefix(_FROM_INPUT)
    which = CHANGES.get(column.which)
    if language == "raw":
        return f"{bare}.{column.which}" if which else bare
    field = FIELDS.get(column.name, Field(bare, bare))
    in_words = field.zh if language == "zh" else field.en
    if which is None:
        return in_words
    return f"{in_words}({which.zh})" if language == "zh" else f"{in_words} ({which.en})"
