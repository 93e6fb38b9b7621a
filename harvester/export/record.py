"""What a line of OUTPUT holds, however it has to be read, and what its values are in a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec
import orjson

from harvester.output.lines import BOM
from harvester.rules.envelope import is_json

# Where the columns of an input are that travel along.
INPUT_KEY = "input"
OWN = ("noteId", "fetchedAt", "attempts", "endpoint", "recordTime", "requestId")
# A spreadsheet rounds whatever is longer.
MOST = 10**15 - 1
# Of surrogates, a pair is a sign; and a backslash may itself be escaped. All begin with one
# byte, so that it is searched in a quarter of the time.
_ESCAPES = re.compile(rb"\\(?:(\\|u[dD][89abAB]..\\u[dD][c-fC-F]..)|u[dD][89a-fA-F]..)")
_REPLACEMENT = rb"\ufffd"
_decode = msgspec.json.Decoder().decode


def read_record(line: bytes) -> dict[str, Any] | None:
    """What a line holds, with half emoji replaced; None if it is no JSON."""
    text = line.removeprefix(BOM)
    try:
        record = _decode(text)
    except (ValueError, RecursionError):
        text = mended(text)
        record = json.loads(text) if is_json(text) else None
    return record if isinstance(record, dict) else None


def mended(line: bytes) -> bytes:
    """A line without half emoji, which no strict reader takes."""
    return _ESCAPES.sub(lambda match: match[0] if match[1] else _REPLACEMENT, line)


def unwrap(record: dict[str, Any]) -> int:
    """Take a `data` that is a list of one as what it holds; gives of how many lists it came."""
    data, lists = record.get("data"), 0
    while isinstance(data, list) and len(data) == 1:
        (data,), lists = data, lists + 1
    record["data"] = None if data in ([], {}) else data
    return lists


def value_at(path: Sequence[str], value: object) -> object:
    """What stands there in a value; None if there is nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def kind_of(value: Any) -> type:  # noqa: ANN401 - whatever JSON there is
    """What a value is in a table: itself, but for numbers that no form has, which are text."""
    kind = type(value)
    if kind is int:
        return int if -MOST <= value <= MOST else str
    # Such as 1e999.
    return str if kind is float and not isfinite(value) else kind


def as_json(value: object) -> str:
    """A value as JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
