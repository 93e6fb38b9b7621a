"""What a list is, told by how it begins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import StringIO

from msgspec import Struct

from harvester.errors import InputError
from harvester.sanitize import sanitize
from harvester.source.forms import Form, parsed
from harvester.source.ids import is_of_another
from harvester.source.tables import (
    DELIMITERS,
    DRAWN,
    MOST,
    Row,
    holds_something,
    is_table,
    layout_of,
    parsed_csv,
)

ENOUGH = 64 * 1024  # characters
_SAMPLED_ROWS = 200
_SEPARATOR = re.compile(r"\s*\"?sep=(.)\"?\s*\n", re.IGNORECASE)
_MARKUP = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    r"<(?:!doctype\s+(?:html|netscape)|(?:html|head|meta|body|table|tr|ul|ol|li|div|p|a|dl|workbook|\?mso)\b)",
    re.IGNORECASE | re.DOTALL,
)
_TABLE_MARKUP = re.compile(r"<(?:tr|row)\b", re.IGNORECASE)
_DOCUMENT = re.compile(r"\s*(?:\[\s*[\[{\"\]]|\{\s*[\"}]|[\[{]\s*\Z)")


class Kind(Struct, frozen=True):
    """A form: text, csv, jsonl, json or markup; how a table is delimited, below `skipped` lines."""

    form: str
    delimiter: str = ""
    skipped: int = 0
    is_table: bool = False


def kind_of(head: str, form: Form, named: str | None, suffix: str) -> Kind:
    """Tell what begins so; `named` is what was said of it, `suffix` what its name ends with.

    Raises InputError for a list of what is no note.
    """
    if named is None and _MARKUP.match(head):
        return Kind("markup", is_table=_TABLE_MARKUP.search(head) is not None)
    if named in {None, "json", "jsonl"} and (named or _DOCUMENT.match(head)):
        return _json(head)
    if named == "text":
        return Kind("text")
    if (separator := _SEPARATOR.match(head)) is not None:
        return Kind("csv", separator[1], skipped=1)
    kind = _table(head, form, named, suffix)
    if kind is None:
        _check_label(head, form)
    return kind or Kind("text")


def _json(head: str) -> Kind:
    """A value a line where one of the first lines is an object, else a document."""
    lines = head.lstrip().split("\n")
    is_one = not any(map(str.strip, lines[1:])) or head.lstrip().startswith("[")
    objects = (isinstance(parsed(line, exact=False), dict) for line in lines[:3])
    return Kind("jsonl" if not is_one and any(objects) else "json")


def _table(head: str, form: Form, named: str | None, suffix: str) -> Kind | None:
    """The delimiter under which it is a table, with a header that is known, or notes below it."""
    sample = head if len(head) < ENOUGH else head.rpartition("\n")[0]
    given = {"tsv": DELIMITERS[2:]}.get(named or "", DELIMITERS)
    tables = {delimiter: list(_sampled(sample, delimiter)) for delimiter in given}
    is_named = named in {"csv", "tsv"}
    # How wide each is, by its delimiter.
    known: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for delimiter, rows in tables.items():
        layout = layout_of(rows, form, fewest=2)
        if layout is not None:
            known[delimiter] = len(layout.header or rows[0][1])
        elif is_table(rows, form):
            unknown[delimiter] = len(rows[0][1])
    if named is None:
        known |= _drawn(sample, form)
    if known:
        return _widest(known) if is_named or max(known.values()) > 1 else None
    if unknown:
        # Of some that are as wide, the last sign is the likelier one.
        return _widest(dict(sorted(unknown.items(), reverse=True)))
    if not is_named and suffix not in {".csv", ".tsv"}:
        return None
    first = {delimiter: len(rows[0][1]) for delimiter, rows in tables.items() if rows}
    is_wide = is_named or max(first.values(), default=0) > 1
    return _widest(first) if is_wide and not _holds_note(tables, form) else None


def _drawn(sample: str, form: Form) -> dict[str, int]:
    """The same of a table that is drawn, below a header that is known, with little else around."""
    found = {}
    for delimiter in DRAWN:
        rows = list(_sampled(sample, delimiter)) if delimiter in sample else []
        layout = layout_of(rows, form)
        wide = sum(len(row) > 1 for _, row in rows)
        if layout is not None and layout.header is not None and wide >= MOST * len(rows):
            found[delimiter] = len(layout.header)
    return found


def _widest(widths: dict[str, int]) -> Kind:
    """The table under the first of the delimiters that cut most."""
    return Kind("csv", max(widths, key=lambda delimiter: widths[delimiter], default=","))


def _holds_note(tables: dict[str, list[Row]], form: Form) -> bool:
    """Whether the first row of a table names a note."""
    rows = next(iter(tables.values()))
    return bool(rows) and any(map(form.rule.mentioned, rows[0][1]))


def _sampled(sample: str, delimiter: str) -> Iterator[Row]:
    """The first rows of a table that are not blank."""
    rows = parsed_csv(StringIO(sample, newline="\n"), delimiter)
    for number, row in enumerate(rows[:_SAMPLED_ROWS], 1):
        if holds_something(row):
            yield number, row


def _check_label(head: str, form: Form) -> None:
    """Refuse a column of ids under a name that says whose they are."""
    label, _, _ = head.lstrip().partition("\n")
    if is_of_another(label):
        raise InputError(
            f"{form.name}:1: these are ids of {sanitize(label.strip())}, not of notes: give a list "
            "of notes, or take that line out"
        )


def begun(blocks: Iterable[str], *, may_wait: bool) -> str:
    """Take enough of an input to tell what it is; of one that may wait, whole lines that came."""
    head = ""
    for block in blocks:
        head += block
        if len(head) >= ENOUGH or (may_wait and "\n" in head):
            break
    return head
