"""Reads the vendor's envelope from a body, keeping `data` as the bytes that came."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8

import msgspec
from msgspec import Struct

# Line ends between tokens; within strings JSON allows none.
_FOLDED = bytes.maketrans(b"\r\n", b"  ")
# A strict reader refuses half a surrogate pair, which the vendor sends. So it is shown the first
# of these that a body does not hold in place of the escapes that may be one, and nothing is lost.
_SURROGATES = (b"\\ud", b"\\uD")
_STAND_INS = tuple(b"\\u" + bytes([digit]) for digit in b"EeFfBbAaCc123456789")
# What no strict reader takes is read up to here: what is made of it is many times as long.
_MOST_LENIENT = 2 << 20
_BEGINS_SURROGATE = b"\xed"
# JSON handed to a script's function, as some gateways do: `callback({...})`.
_CALL = re.compile(rb"(?:/\*\*/)?\s*[\w.$\[\]]{1,100}\s*\(")
_NOTHING = re.compile(rb"\s*(?:null|\[\s*\]|\{\s*\})\s*")
_BLANKS = re.compile(r"[ \t\r\n]*")
_read_at = json.JSONDecoder(strict=False).raw_decode
# Python reads no integer of more digits than this, and stops at a line that holds one.
_MOST_DIGITS = 4300
_TOO_LONG = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{%d,}(?![0-9.eE])" % (_MOST_DIGITS + 1))
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


class Envelope(Struct, frozen=True):
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
    reason: str = ""


class _Members(msgspec.Struct):
    """The members of use, as they stand in the body."""

    code: int | float | str | bool | None = None
    message: msgspec.Raw = msgspec.Raw(b"null")
    reason: msgspec.Raw = msgspec.Raw(b"null")
    recordTime: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815 - the vendor's name
    requestId: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815
    data: msgspec.Raw = msgspec.Raw(b"null")


_READ_MEMBERS = msgspec.json.Decoder(_Members).decode
_READ_NOTHING = msgspec.json.Decoder(msgspec.Raw).decode
_Refusal = (ValueError, RecursionError)  # msgspec's own is a ValueError


def read_envelope(body: bytes) -> Envelope:
    """Read a body of any kind; never raises."""
    text = body if body.startswith(b"{") else _unwrapped(_as_utf8(body))
    try:
        return _read_strictly(text)
    except _Refusal:
        text = _as_utf8(text)
    try:
        return _read_strictly(text)
    except _Refusal:
        return _read_leniently(body, text)


def is_empty(data: bytes) -> bool:
    """Whether there is nothing in a `data`, as JSON text."""
    return _NOTHING.fullmatch(data) is not None


def is_json(text: bytes) -> bool:
    """Whether a text is JSON to the letter, in UTF-8: NaN, which Python reads, is not.

    An editor may have put a byte order mark before it. Nothing is made of it, as that would be many
    times as long.
    """
    text = text.removeprefix(BOM_UTF8)
    shown = text.replace(b"\\ud", b"\\ue").replace(b"\\uD", b"\\uE")
    try:
        _READ_NOTHING(shown)
        _check_for_python(text)
    except _Refusal:
        return False
    return True


def _read_strictly(body: bytes) -> Envelope:
    replaced: _Replaced = []
    try:
        members = _READ_MEMBERS(body)
    except msgspec.DecodeError:
        shown, replaced = _with_stand_ins(body)
        if not replaced:
            raise
        members = _READ_MEMBERS(shown)
    code = _whole(members.code)
    if code != 0:
        message = _text(_restored(members.message, replaced))
        return Envelope(code, message, reason=_text(_restored(members.reason, replaced)))
    _check_for_python(body)
    return Envelope(
        0,
        record_time=_restored(members.recordTime, replaced),
        request_id=_restored(members.requestId, replaced),
        data=_restored(members.data, replaced),
    )


def _check_for_python(text: bytes) -> None:
    """Raise ValueError for what the strict reader lets pass and Python's does not."""
    text.decode()
    # One digit of every number that is too long stands here, with half of the others on one side.
    half = _MOST_DIGITS // 2
    for at in range(0, len(text), _MOST_DIGITS + 1):
        if text[at : at + half].isdigit() or text[at - half : at].isdigit():
            # It may be none: part of a string or of a fraction.
            if _TOO_LONG.search(_STRING.sub(b"", text)):
                raise ValueError
            return


_Replaced = list[tuple[bytes, bytes]]


def _with_stand_ins(body: bytes) -> tuple[bytes, _Replaced]:
    replaced: _Replaced = []
    for surrogate in _SURROGATES:
        if surrogate in body:
            stand_in = next((one for one in _STAND_INS if one not in body), surrogate)
            body = body.replace(surrogate, stand_in)
            replaced.append((surrogate, stand_in))
    return body, replaced


def _restored(member: msgspec.Raw, replaced: _Replaced) -> bytes:
    """A member as it came, on one line."""
    text = bytes(member)
    for surrogate, stand_in in replaced:
        text = text.replace(stand_in, surrogate)
    return text.translate(_FOLDED) if b"\n" in text or b"\r" in text else text


def _as_utf8(body: bytes) -> bytes:
    """A body in any encoding that JSON readers know, as UTF-8; lone surrogates as escapes."""
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8") and _BEGINS_SURROGATE not in body:
        return body.removeprefix(BOM_UTF8)
    try:
        text = body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return body
    return text.encode("utf-8", "backslashreplace")


def _unwrapped(text: bytes) -> bytes:
    """A text without the call of a script's function around it."""
    text = text.strip()
    call = _CALL.match(text)
    inside = text.rstrip(b"; \r\n\t")
    return inside[call.end() : -1] if call and inside.endswith(b")") else text


def _read_leniently(body: bytes, text: bytes) -> Envelope:
    """Read what no strict reader takes: member by member, as far as it can be read.

    Such an answer may be paid for: where its code can be read, it is kept whole.
    """
    members, is_whole = _members(text[:_MOST_LENIENT].decode("utf-8", "surrogateescape"))
    if "code" not in members or not (is_whole or text.endswith(b"}")):
        return Envelope()
    read = {name: member.encode("utf-8", "surrogateescape") for name, member in members.items()}
    small = {name: member.translate(_FOLDED) for name, member in read.items() if is_json(member)}
    data = small.get("data", b"null" if is_whole and "data" not in members else None)
    return Envelope(
        _whole(_loads(read["code"])),
        _text(read.get("message", b"null")),
        small.get("recordTime", b"null"),
        small.get("requestId", b"null"),
        data,
        json.dumps(body.decode("utf-8", "surrogateescape")).encode() if data is None else None,
        _text(read.get("reason", b"null")),
    )


def _members(text: str) -> tuple[dict[str, str], bool]:
    """A JSON object's members as text, and whether all of it could be read.

    Later members win, as in every common JSON reader. Nothing is gone over twice.
    """
    members: dict[str, str] = {}
    try:
        at = _token(text, 0, "{")
        while True:
            key, at = _read_at(text, _token(text, at, '"') - 1)
            begin = _blanks(text, _token(text, at, ":"))
            _, end = _read_at(text, begin)
            at = _blanks(text, end)
            is_last = text.startswith("}", at)
            at = _token(text, at, "}" if is_last else ",")
            members[key] = text[begin:end]
            if is_last:
                return (members, True) if _blanks(text, at) == len(text) else ({}, False)
    except (ValueError, RecursionError):
        return members, False


def _blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _token(text: str, at: int, token: str) -> int:
    """Where the text goes on behind a token and the blanks before it; raises ValueError."""
    at = _blanks(text, at)
    if not text.startswith(token, at):
        raise ValueError(token)
    return at + 1


def _loads(text: bytes) -> object:
    try:
        loaded: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return loaded


def _whole(code: object) -> int | None:
    """Only a number is a code: not "0", and not false, which Python holds equal to 0."""
    if isinstance(code, bool) or not isinstance(code, int | float):
        return None
    return int(code) if code == code // 1 and abs(code) < 2**31 else None


def _text(member: bytes) -> str:
    message = _loads(member)
    return message if isinstance(message, str) else ""
