"""Reads the vendor's envelope from a body, keeping `data` value for value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import orjson

# orjson turns integers beyond 64 bits into floats; 19 digits are the first that may be beyond.
# Folding all digits into one and looking for a run is 20 times faster than a regex.
_FOLD_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
# One JSON token: a string, a bracket, a comma, a colon, or a run of anything else.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")
_BLANKS = bytes.maketrans(b"\r\n\t", b"   ")


@dataclass(frozen=True, slots=True)
class Envelope:
    """An answer's readable parts, as JSON text.

    `code` is None where the body holds no readable code. `data` is None where it cannot be written
    as JSON text; the body then stands in `raw`, as a JSON string.
    """

    code: int | None = None
    message: str = ""
    record_time: bytes = b"null"
    request_id: bytes = b"null"
    data: bytes | None = b"null"
    raw: bytes | None = None


def read_envelope(body: bytes) -> Envelope:
    """Read a body of any kind; never raises."""
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_odd(body)
    if not isinstance(members, dict):
        return Envelope()
    code = _whole(members.get("code"))
    if code == 0 and _LONG_NUMBER in body.translate(_FOLD_DIGITS):
        return _read_odd(body)
    try:
        return Envelope(
            code,
            _text(members.get("message")),
            orjson.dumps(members.get("recordTime")),
            orjson.dumps(members.get("requestId")),
            orjson.dumps(members.get("data")) if code == 0 else b"null",
        )
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        return _read_odd(body)


def _read_odd(body: bytes) -> Envelope:
    """Read a body that orjson refuses or would change: by the places of its members."""
    text = _as_utf8(body)
    members = _members(text)
    if "code" not in members:
        return Envelope()
    # Without a member `data`, Python's reader tells whether it is missing or lost in rubble.
    is_kept = _is_json(members["data"]) if "data" in members else _loads(text) is not None
    return Envelope(
        _whole(_loads(members["code"])),
        _text(_loads(members.get("message", b"null"))),
        _small(members.get("recordTime", b"null")),
        _small(members.get("requestId", b"null")),
        members.get("data", b"null").translate(_BLANKS) if is_kept else None,
        None if is_kept else json.dumps(body.decode("utf-8", "surrogateescape")).encode(),
    )


def _as_utf8(body: bytes) -> bytes:
    """A body in any encoding that JSON readers know, as UTF-8; lone surrogates as escapes."""
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError:
        return body
    return text.encode("utf-8", "backslashreplace")


def _members(body: bytes) -> dict[str, bytes]:
    """Cut a JSON object's own members out as text, without reading what is nested in them.

    No recursion, so depth is no danger. Later members win, as in every common JSON reader.
    """
    members: dict[str, bytes] = {}
    key: bytes | None = None
    begin = depth = 0
    for match in _TOKEN.finditer(body):
        token = match[0][0]
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
        if (depth == 1 and token == ord(",")) or (depth == 0 and token == ord("}")):
            if key is not None:
                members[_text(_loads(key))] = body[begin : match.start()].strip()
            key = None
        elif depth == 1 and key is None and token == ord('"'):
            key = match[0]
        elif depth == 1 and token == ord(":"):
            begin = match.end()
        if depth == 0:
            complete = match[0] == b"}" and not body[match.end() :].strip()
            return members if complete and body.lstrip()[:1] == b"{" else {}
    return {}


def _loads(text: bytes) -> object:
    try:
        loaded: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return loaded


def _is_json(text: bytes) -> bool:
    """Whether text is JSON to the letter: NaN and Infinity, which Python reads, are not."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _small(text: bytes) -> bytes:
    """A member to carry along as it is, if it is JSON at all."""
    return text.translate(_BLANKS) if _is_json(text) else b"null"


def _whole(code: object) -> int | None:
    """Only a number is a code: not "0", and not false, which Python holds equal to 0."""
    if isinstance(code, bool) or not isinstance(code, int | float):
        return None
    return int(code) if code == code // 1 and abs(code) < 2**31 else None


def _text(message: object) -> str:
    return message if isinstance(message, str) else ""
