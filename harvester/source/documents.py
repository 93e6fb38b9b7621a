"""JSON that goes over lines: an array, or an object that holds one, read element by element."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from harvester.errors import InputError
from harvester.model import Page
from harvester.source.forms import Form, nested, nothing
from harvester.source.lines import LONGEST_LINE
from harvester.source.tables import layout_of, table_pages

_PAGE = 500
_SPACE = " \t\r\n\ufeff"
_decoder = json.JSONDecoder(parse_constant=nothing)
# Thousands of digits are no reason to refuse a list.
_lenient = json.JSONDecoder(parse_int=float, parse_constant=nothing)


def document_pages(blocks: Iterator[str], form: Form) -> Iterator[Page]:
    """Yield pages of the values in a document, as they come in.

    Raises InputError where it is no JSON, naming the line.
    """
    page = Page([])
    document = _Document(blocks, form.name)
    values = document.values()
    begin = [*islice(values, 1)]
    values = chain(begin, values)
    if begin and _is_header(begin[0][1], form):
        yield from table_pages(([(line, _cells(row))] for line, row, _ in values), form)
        return
    for many, (line, value, is_top) in enumerate(values, 1):
        held = nested(value, form) if is_top and isinstance(value, dict) else value
        form.record(page, line, held)
        if many % _PAGE == 0 or document.is_waiting:
            yield page
            page = Page([])
    yield page


class _Document:
    """Takes values out of text that comes in blocks; no value is longer than a line may be."""

    def __init__(self, blocks: Iterator[str], name: str) -> None:
        self._blocks = blocks
        self._name = name
        self._text = ""
        self._at = 0
        self._line = 1

    @property
    def is_waiting(self) -> bool:
        """Whether all that has come in is read."""
        return self._at >= len(self._text)

    def values(self) -> Iterator[tuple[int, Any, bool]]:
        """Each value with its line, and whether it stands alone rather than in an array."""
        while sign := self._peek():
            if sign == "[":
                self._at += 1
                yield from self._array()
            elif sign in ",;":
                self._at += 1
            elif sign == "{" and not self._fits():
                self._at += 1
                yield from self._object()
            else:
                yield self._line, self._value(), True

    def _array(self) -> Iterator[tuple[int, Any, bool]]:
        while (sign := self._peek()) != "]":
            if sign == ",":
                self._at += 1
            else:
                yield self._line, self._value(), False
        self._at += 1

    def _object(self) -> Iterator[tuple[int, Any, bool]]:
        """The elements of all arrays in an object that is too long to be one note's."""
        while (sign := self._peek()) != "}":
            if sign in ",:":
                self._at += 1
                continue
            if sign == "[":
                self._at += 1
                # Of what else it holds, only this may be notes.
                yield from (found for found in self._array() if isinstance(found[1], dict | str))
            elif sign == "{":
                self._at += 1
                yield from self._object()
            else:
                self._value()
        self._at += 1

    def _peek(self) -> str:
        """The next sign that is no space; "" at the end."""
        while True:
            begin = self._at
            rest = self._text[begin : begin + 1]
            while rest and rest in _SPACE:
                self._line += rest == "\n"
                begin += 1
                rest = self._text[begin : begin + 1]
            self._at = begin
            if rest or not self._more():
                return rest

    def _more(self) -> bool:
        block = next(self._blocks, "")
        self._text, self._at = self._text[self._at :] + block, 0
        return bool(block)

    def _fits(self) -> bool:
        """Whether the value that begins here is no longer than a line may be."""
        while True:
            try:
                _, end = _lenient.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                end = len(self._text)
            if end < len(self._text):
                return True
            if len(self._text) - self._at > LONGEST_LINE:
                return False
            if not self._more():
                return True

    def _value(self) -> Any:  # noqa: ANN401 - whatever JSON may hold
        """Take the value that begins here."""
        if not self._peek():
            raise self._broken("it ends early")
        while True:
            try:
                value, end = self._decoded()
            except json.JSONDecodeError as error:
                told = error.msg
            except RecursionError:
                told = "it is nested too deep"
            else:
                # A number may go on in the next block.
                if end < len(self._text) or not self._more():
                    self._line += self._text.count("\n", self._at, end)
                    self._at = end
                    return value
                continue
            if len(self._text) - self._at > LONGEST_LINE:
                told = "a value is longer than a line may be, or not JSON"
            elif self._more():
                continue
            raise self._broken(told)

    def _decoded(self) -> tuple[Any, int]:
        try:
            return _decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError:
            return _lenient.raw_decode(self._text, self._at)

    def _broken(self, told: str) -> InputError:
        return InputError(f"{self._name}: line {self._line}: this is not JSON from here on: {told}")


def _is_header(value: object, form: Form) -> bool:
    """Tell whether an array begins with a row of names, as a table has one."""
    layout = layout_of([(1, _cells(value))], form) if isinstance(value, list) else None
    return layout is not None and layout.header is not None


def _cells(row: object) -> list[str]:
    """The cells of a row that is an array."""
    cells = row if isinstance(row, list) else [row]
    return [
        "" if cell is None else cell if isinstance(cell, str) else json.dumps(cell)
        for cell in cells
    ]
