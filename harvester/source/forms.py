"""The ways an input may be written, plain text and JSON lines, and the pages they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import orjson
from msgspec import Struct

from harvester.errors import InputError
from harvester.model import BadLine, Page
from harvester.sanitize import sanitize
from harvester.source.carry import Carry
from harvester.source.ids import IdRule, NoNoteError
from harvester.source.lines import TOO_LONG, Chunk

_SHOWN = 80
_IDLE = (b"", b"#")


class Form(Struct, frozen=True):
    """How to read one input: its name for people, the id rule, the fields that may hold the id.

    `carry` tells what travels along, if anything does.
    """

    name: str
    rule: IdRule
    fields: tuple[str, ...]
    carry: Carry | None = None

    def bad(self, line: int, reason: str, text: str | bytes) -> BadLine:
        """Return the report of a bad line, fit to print."""
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        return BadLine(self.name, line, sanitize(reason), sanitize(text.strip(), _SHOWN))

    def page(self, chunk: Chunk, find: Finder) -> Page:
        """Return what `find` makes of each line: it adds to the page, or raises NoNoteError."""
        if chunk.too_long:
            return Page([], [self.bad(chunk.first, TOO_LONG, chunk.data)])
        page = Page([])
        for number, line in enumerate(chunk.data.split(b"\n"), chunk.first):
            try:
                find(line, self, page)
            except NoNoteError as error:
                page.bad.append(self.bad(number, str(error), line))
        return page


def text_pages(chunks: Iterable[Chunk], form: Form) -> Iterator[Page]:
    """Yield a page for each chunk of plain text, one note a line.

    Raises InputError where columns are to be carried, which it has none of.
    """
    if form.carry is not None and not form.carry.is_all:
        raise InputError(
            f"{form.name}: plain text has no columns to carry: give a .csv, .tsv or .jsonl file, "
            "or leave --carry out"
        )
    for chunk in chunks:
        ids = form.rule.all_bare(chunk.data)
        yield form.page(chunk, _text_id) if ids is None else Page(ids)


def mixed_pages(chunks: Iterable[Chunk], form: Form) -> Iterator[Page]:
    """Yield a page for each chunk of plain text in which lines may also be JSON objects."""
    for chunk in chunks:
        ids = form.rule.all_bare(chunk.data)
        yield form.page(chunk, _mixed_id) if ids is None else Page(ids)


def json_pages(chunks: Iterable[Chunk], form: Form) -> Iterator[Page]:
    """Yield a page for each chunk of JSON lines: an object a line, the id in one of its fields."""
    for chunk in chunks:
        yield form.page(chunk, _json_id)


def found_in(value: str, field: str, rule: IdRule) -> str:
    """Return the note id that the `value` of `field` is or names; raises NoNoteError."""
    note_id = rule.bare(value)
    if note_id is not None:
        return note_id
    if not value.strip():
        raise NoNoteError(f"empty {field}")
    return rule.find(value)


def _text_id(line: bytes, form: Form, page: Page) -> None:
    if not _is_idle(line):
        page.ids.append(form.rule.find(line.decode(errors="replace")))


def _mixed_id(line: bytes, form: Form, page: Page) -> None:
    record = _parsed(line)
    if isinstance(record, dict):
        _add(record, line, form, page)
    else:
        _text_id(line, form, page)


def _json_id(line: bytes, form: Form, page: Page) -> None:
    if _is_idle(line):
        return
    record = _parsed(line)
    if not isinstance(record, dict):
        raise NoNoteError("not a JSON object")
    _add(record, line, form, page)


def _add(record: dict[str, object], line: bytes, form: Form, page: Page) -> None:
    """Add the note id that a JSON object holds, and what it carries."""
    field = _field_in(record, form)
    note_id = _id_of(record[field], field, form)
    if form.carry is not None:
        page.extra_fields[note_id] = form.carry.of_record(line, field)
    page.ids.append(note_id)


def _is_idle(line: bytes) -> bool:
    """Tell whether a line is blank or a comment."""
    return line.lstrip()[:1] in _IDLE


def _parsed(line: bytes) -> object:
    """Return the JSON object that `line` is, or something else where it is none."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass  # our own OUTPUT may hold lone surrogates, in titles cut by the vendor
    try:
        # Integers as floats: thousands of digits are no reason to refuse a line.
        return cast("object", json.loads(line.decode(errors="replace"), parse_int=float))
    except (ValueError, RecursionError):
        return None


def _field_in(record: dict[str, object], form: Form) -> str:
    for field in form.fields:
        if field in record:
            return field
    raise NoNoteError(f"no field {' or '.join(form.fields)}")


def _id_of(value: object, field: str, form: Form) -> str:
    if not isinstance(value, str):
        raise NoNoteError(f"{field} is not text")
    return found_in(value, field, form.rule)


Finder = Callable[[bytes, Form, Page], None]
