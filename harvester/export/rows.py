"""From lines to the cells of a table's rows, in the order of its columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import astuple

from harvester.export.columns import CellKind, Column
from harvester.export.fields import CHANGES
from harvester.export.record import as_json, kind_of, read_record, value_at
from harvester.export.shape import Member, Seen

_FIRST, _LAST, _DIFFERENCE = CHANGES
# Where nothing is: the object's names, the number of the member.
_NOWHERE = ("",), 0


class UnseenError(Exception):
    """A line that brings what those that were looked at did not, or that is no JSON."""


class RowLayout:
    """Makes rows of lines that are like those that were seen; moments are in a time zone."""

    def __init__(self, columns: Sequence[Column], zone: ZoneInfo, seen: Seen) -> None:
        self._seen = seen
        self._zone = zone
        self._which = [column.which for column in columns]
        self._moments = [
            place for place, column in enumerate(columns) if column.kind is CellKind.MOMENT
        ]
        self._cells = [column.cell for column in columns]
        self._odd = [
            (place, cell.member)
            for place, cell in enumerate(self._cells)
            if cell and cell.member.kinds & {list, dict}
        ]
        # Those beside each other in a note are taken at once.
        places = [(cell.parents, cell.number) if cell else _NOWHERE for cell in self._cells]
        runs = [(parents, list(run)) for parents, run in groupby(places, itemgetter(0))]
        self._runs = [
            (parents, _all_of([number for _, number in run]), (None,) * len(run))
            for parents, run in runs
        ]

    def cells(self, line: bytes) -> list[Any]:
        """The cells of a line; raises UnseenError."""
        found = self._seen.read(line)
        cells: list[Any] = self._read_as_record(line) if found is None else []
        if found is not None:
            for parents, get, nothing in self._runs:
                parent = found
                for step in parents:
                    parent = getattr(parent, step, None)
                cells += get(astuple(parent)) if isinstance(parent, Struct) else nothing
            for place, member in self._odd:
                cells[place] = _as_cell(cells[place], member)
        for place in self._moments:
            cells[place] = self._moment(cells[place])
        return cells

    def _read_as_record(self, line: bytes) -> list[Any]:
        record = read_record(line)
        if record is None or self._seen.learn(record):
            raise UnseenError
        return [cell and _as_cell(value_at(cell.path, record), cell.member) for cell in self._cells]

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


def _as_cell(value: object, member: Member) -> object:
    """A value by itself; of an object that has members, each of them is one."""
    if isinstance(value, list):
        return as_json(value)
    if isinstance(value, (dict, Struct)):
        return None if member.members else as_json(value if isinstance(value, dict) else {})
    return value if kind_of(value) is type(value) else str(value)


def _all_of(numbers: Sequence[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What gives these members of those there are, at once where one follows another."""
    begin, end = numbers[0], numbers[0] + len(numbers)
    is_slice = list(numbers) == list(range(begin, end))
    return itemgetter(slice(begin, end)) if is_slice else itemgetter(*numbers)


_CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "": lambda _old, new: new,
    _FIRST: lambda old, _new: old,
    _LAST: lambda _old, new: new,
    _DIFFERENCE: lambda old, new: None if None in (old, new) else new - old,
}
