"""A line of OUTPUT as one flat row: nested members under dotted names, lists as JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec
import orjson

from harvester.output.lines import BOM
from harvester.rules.envelope import is_json

# What comes of one member: text, a number, true, false or null.
Row = dict[str, Any]

FROM_INPUT = "input."
# Of surrogates, a pair is a sign; and a backslash may itself be escaped.
_ESCAPES = re.compile(rb"(\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u[dD][89a-fA-F]..")
_REPLACEMENT = rb"\ufffd"
OWN = ("noteId", "fetchedAt", "attempts", "endpoint", "recordTime", "requestId")
_OWN_SET = frozenset(OWN)
# A spreadsheet rounds whatever is longer.
MOST_DIGITS = 15
MOST = 10**MOST_DIGITS - 1
# Members below are JSON text: nobody reads a column whose name is longer than a line.
DEEPEST = 8
_decode = msgspec.json.Decoder().decode


def read_record(line: bytes) -> Any | None:  # noqa: ANN401 - whatever JSON there is
    """What a line holds, with half emoji replaced; None if it is no JSON."""
    text = mended(line.removeprefix(BOM))
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        return json.loads(text) if is_json(text) else None


def mended(line: bytes) -> bytes:
    """A line without half emoji, which no strict reader takes."""
    return _ESCAPES.sub(_mended, line) if b"\\ud" in line or b"\\uD" in line else line


def _mended(match: re.Match[bytes]) -> bytes:
    return match[1] or _REPLACEMENT


def flatten(record: Mapping[str, Any]) -> Row:
    """The members of a line: those carried first, then the line's own, then those of `data`.

    Carried ones have `input.` before their names. A `data` that is a list of one is taken as what
    it holds. Integers of more than fifteen digits are text, and
    so is what is too large for a number.
    """
    row: Row = {}
    extra_fields = record.get("input")
    if isinstance(extra_fields, dict):
        _put(row, FROM_INPUT, extra_fields, DEEPEST)
    for name in OWN:
        row[name] = record.get(name)
    data = record.get("data")
    while isinstance(data, list) and len(data) == 1:
        (data,) = data
    if not isinstance(data, dict):
        data = {} if data in (None, []) else {"data": data}
    for name in _OWN_SET & data.keys():
        value = data.pop(name)
        if value != row[name]:
            data[f"data.{name}"] = value
    _put(row, "", data, DEEPEST)
    if "raw" in record:
        row["raw"] = record["raw"]
    return row


def _put(row: Row, prefix: str, members: Mapping[str, Any], deepest: int) -> None:
    for key, value in members.items():
        kind = type(value)
        if kind is not dict and kind is not list:
            row[prefix + key] = cell_of(value)
        elif kind is dict and value and deepest:
            _put(row, f"{prefix}{key}.", value, deepest - 1)
        else:
            row[prefix + key] = as_json(value)


def cell_of(value: object) -> object:
    """A member by itself: itself, but for numbers that no form of a table has, which are text."""
    if type(value) is int:
        return value if -MOST <= value <= MOST else str(value)
    # Such as 1e999.
    return str(value) if type(value) is float and not isfinite(value) else value


def as_json(value: object) -> str:
    """A value as JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
