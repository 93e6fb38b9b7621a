"""What all forms of an input share, and the form of lines: plain text, JSON lines, or both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any, cast

import orjson
from msgspec import Struct, field

from harvester.errors import InputError
from harvester.model import BadLine, Page
from harvester.sanitize import sanitize
from harvester.source.extra_fields import ExtraFields
from harvester.source.ids import NO_LINK, NO_NOTE, IdRule, Named, plain
from harvester.source.lines import TOO_LONG, Chunk

# The names that the field of the note id goes by, the first that is there; of the last two the
# vendor's answer about a short link tells the note.
ID_FIELDS = (
    *("noteId", "note_id", "id", "笔记ID", "作品ID", "note_url", "笔记链接", "作品链接"),
    *("link", "url", "笔记URL", "note_link", "链接"),
)
# Whatever it is of, an id goes by this name; a link beside it names a note for sure.
_ANY_ID = "id"
_LINK_FIELDS = ID_FIELDS[5:]
_OF_ANSWER = ("data.noteId", "data.redirect_url")
_NOTHING = (NO_NOTE, NO_LINK)
_SHOWN = 80
_LONG = 200  # nobody writes more around a list
# Parts of a list that name no note, and need none: signs, the beginning of a list in code, and what
# the app writes around a link that is shared.
_SIGNS = re.compile(r"[\W_]*")
_BEGINS = re.compile(r"[^\d]*[:=\[({：]\s*")
_SHARED = re.compile(r"(?=.*(?:复制|copy))(?=.*(?:小红书|rednote|xiaohongshu))[^/]*", re.IGNORECASE)
_TOPIC = re.compile(r"#[^#\s]+\[话题\]#")  # what the app puts before the words of a note
_REMARK = re.compile(r"\s#\s.*")
_NO_NAME = re.compile(r"[\s_\-*\"'“”]|\(.*?\)")


class Remarks(Struct):
    """What reading an input has to tell, until a page takes it along.

    `told` is for information, `warned` for all who ask for warnings alone, too; of `left_out` lines
    no page is made. `lines` were read so far.
    """

    told: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    left_out: list[BadLine] = field(default_factory=list)
    lines: int = 0

    def onto(self, page: Page) -> Page:
        """The page, with all that there was to tell."""
        page.told.extend(self.told)
        page.warned.extend(self.warned)
        page.bad.extend(self.left_out)
        self.told, self.warned, self.left_out = [], [], []
        return page

    def clear(self) -> None:
        """Begin anew."""
        self.onto(Page([]))
        self.lines = 0


class Form(Struct, frozen=True):
    """How to read one input: its name for people, the id rule, the fields that may hold the id.

    `extra` tells what travels along, if anything does; `mask` what is not to be told of a line.
    """

    name: str
    rule: IdRule
    fields: tuple[str, ...] = ID_FIELDS
    extra: ExtraFields | None = None
    mask: Callable[[str], str] = str
    telling: Remarks = field(default_factory=Remarks)

    def bad(self, line: int, reason: str, text: str) -> BadLine:
        """Return the report of a bad line, fit to print."""
        said = (sanitize(self.mask(reason)), sanitize(self.mask(text.strip()), _SHOWN))
        return BadLine(self.name, line, *said)

    def add(self, page: Page, line: int, named: Named, text: str) -> None:
        """Add what a text names to a page."""
        page.ids.extend(named.ids)
        if named.reason:
            page.bad.append(self.bad(line, named.reason, text))

    def text(self, page: Page, number: int, line: str) -> None:
        """Add what a line of text names to a page."""
        bare = _REMARK.sub("", line) if "#" in line else line
        named = self.rule.read(bare)
        if bare != line and not named.ids:
            named = self.rule.read(line)
        if not named.reason:
            page.ids.extend(named.ids)
        elif named.reason not in _NOTHING or not _needs_none(line):
            self.add(page, number, named, line)

    def record(self, page: Page, number: int, value: object) -> None:
        """Add what a JSON value holds to a page: an object's id field, a text, or several."""
        if isinstance(value, dict):
            key, named = self.id_of(value)
            if self.extra is not None and named.ids:
                text, reason = self.extra.of_record(value, key)
                named = Named([], reason) if reason else named
                add_extra_fields(page, named.ids, text)
        elif isinstance(value, list):
            for item in value:
                self.record(page, number, item)
            return
        else:
            named = self.rule.read(_as_text(value) or "")
        self.add(page, number, named, _shown(value) if named.reason else "")

    def id_of(self, record: Mapping[str, Any]) -> tuple[str, Named]:
        """The field of a record that names a note, and what it names."""
        for key in self.fields:
            if key in record:
                value = record[key]
                if type(value) is str and (note_id := self.rule.bare(value)) is not None:
                    links = map(record.__getitem__, self.links_of(key, record))
                    return key, Named([self.linked(links) or note_id], "")
                break
        first: tuple[str, Named] | None = None
        for key, value in self._candidates(record):
            ids, reason = self._read_field(key, value)
            if ids or not reason:
                linked = self.linked(map(record.__getitem__, self.links_of(key, record)))
                return key, Named([linked] if linked else ids, reason)
            first = first or (key, Named([], reason))
        found = ", ".join(list(record)[:20])
        return first or (
            "",
            Named([], f"no field that holds a note id; --id-field names it: {found}"),
        )

    def _read_field(self, key: str, value: object) -> Named:
        """What a field names, and what is wrong with it."""
        texts = [_as_text(each) for each in (value if isinstance(value, list) else [value])]
        named = [self.rule.read(text) for text in texts if text and text.strip()]
        reason = f"{key} is not text" if None in texts else "" if named else f"empty {key}"
        return Named(
            [note_id for each in named for note_id in each.ids],
            next((each.reason for each in named if each.reason), reason),
        )

    def _candidates(self, record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        keys: dict[str, str] = {}
        for wanted in (*self.fields, *(_OF_ANSWER if self.fields is ID_FIELDS else ())):
            if wanted in record:
                yield wanted, record[wanted]
                continue
            keys = keys or {bare_name(key): key for key in reversed([*record])}
            key = keys.get(bare_name(wanted))
            if key is not None:
                yield key, record[key]
            elif "." in wanted and (values := list(_dotted(record, wanted.split(".")))):
                yield wanted, values

    def links_of(self, key: str, names: Iterable[str]) -> Sequence[str]:
        """Those of the names that hold links, where an id by the name `key` may be of anything."""
        if self.fields is not ID_FIELDS or bare_name(key) != _ANY_ID:
            return []
        return _links_among(tuple(names))

    def linked(self, cells: Iterable[object]) -> str | None:
        """The note that the first link to one is of."""
        found = (self.rule.whole(cell) for cell in cells if isinstance(cell, str))
        return next((note for note in found if note and self.rule.bare(note)), None)

    def holds_id(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has a field that may hold the id."""
        return any(map(record.__contains__, self.fields)) or any(self._candidates(record))


def line_pages(chunks: Iterable[Chunk], form: Form, *, is_json: bool) -> Iterator[Page]:
    """Yield a page for each chunk of lines: notes in plain text, or a JSON value a line.

    Raises InputError where columns are to be carried, which plain text has none of.
    """
    if form.extra is not None and not form.extra.is_all and not is_json:
        raise InputError(
            f"{form.name}: plain text has no columns to carry: give a table or JSON, or leave "
            "--carry out"
        )
    for chunk in chunks:
        ids = form.rule.all_bare(chunk.data)
        if ids is not None:
            yield Page(ids)
            continue
        page = Page([])
        if chunk.too_long:
            page.bad.append(form.bad(chunk.first, TOO_LONG, chunk.data))
        else:
            for number, line in enumerate(chunk.data[:-1].split("\n"), chunk.first):
                _add_line(page, number, line, form)
        yield page


@lru_cache(10_000)
def bare_name(name: str) -> str:
    """The name of a column or a field without regard to case, blanks, and what stands around it."""
    return _NO_NAME.sub("", plain(name)).casefold()


def add_extra_fields(page: Page, ids: Iterable[str], text: str) -> None:
    """Have notes carry a text, the last one they come with; others are noted."""
    for note_id in ids:
        if page.extra_fields.setdefault(note_id, text) != text:
            page.differed.append(note_id)
            page.extra_fields[note_id] = text


def nested(value: dict[str, Any], form: Form) -> object:
    """The array that an object holds in place of an id, else the object itself."""
    if form.holds_id(value):
        return value
    lists = [items for items in _lists(value, 4) if any(_is_named(item, form) for item in items)]
    if len(lists) == 1:
        return lists[0]
    if value and all(form.rule.bare(key) for key in value):
        return list(value)
    return value


def _lists(value: dict[str, Any], depth: int) -> Iterator[list[Any]]:
    for item in value.values():
        if isinstance(item, list):
            yield item
        elif isinstance(item, dict) and depth:
            yield from _lists(item, depth - 1)


def _is_named(item: object, form: Form) -> bool:
    if isinstance(item, dict):
        return form.holds_id(item)
    return isinstance(item, str) and form.rule.whole(item) is not None


def _needs_none(line: str) -> bool:
    """Tell whether a line that names no note is a part of a list that needs none."""
    if len(line) > _LONG:
        return False
    line = plain(line).strip()
    is_header = any(bare_name(cell) in _names(ID_FIELDS) for cell in line.split("|"))
    return is_header or any(part.fullmatch(line) for part in (_SIGNS, _BEGINS, _SHARED))


@lru_cache(100)
def _links_among(names: tuple[str, ...]) -> Sequence[str]:
    return [name for name in names if bare_name(name) in _names(_LINK_FIELDS)]


@cache
def _names(fields: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(bare_name, fields))


def _add_line(page: Page, number: int, line: str, form: Form) -> None:
    line = line.strip()
    begin = line[:2]
    if not begin or (begin[0] == "#" and not _TOPIC.match(line)):
        return
    if begin[0] in '{["':
        value = parsed(line.rstrip(",;"), exact=form.extra is not None)
        if value is not None:
            value = nested(value, form) if isinstance(value, dict) else value
            form.record(page, number, value)
            return
        if begin == '{"':
            page.bad.append(form.bad(number, "not a JSON object", line))
            return
    form.text(page, number, line)


def parsed(line: str, *, exact: bool) -> object:
    """Return the JSON value that `line` is, or None; numbers of any length only where `exact`."""
    if not exact:
        try:
            return cast("object", orjson.loads(line))
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            pass  # our own OUTPUT may hold lone surrogates, in titles cut by the vendor
    try:
        return cast("object", json.loads(line, parse_constant=nothing))
    except RecursionError:
        return None
    except ValueError:
        pass
    try:
        # Integers as floats: thousands of digits are no reason to refuse a line.
        return cast("object", json.loads(line, parse_int=float, parse_constant=nothing))
    except (ValueError, RecursionError):
        return None


def nothing(_: str) -> None:
    """What NaN and Infinity are in JSON, which has no words for them: an empty cell."""


def _shown(value: object) -> str:
    with suppress(ValueError, RecursionError):
        return json.dumps(value, ensure_ascii=False)
    return type(value).__name__


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else None


def _dotted(value: object, path: list[str]) -> Iterator[object]:
    if not path:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _dotted(item, path)
    elif isinstance(value, dict) and path[0] in value:
        yield from _dotted(value[path[0]], path[1:])
