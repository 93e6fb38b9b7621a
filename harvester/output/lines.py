"""One line of OUTPUT: written from a judgement, and its head read back without parsing it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import orjson

from harvester.disk import reason_of
from harvester.errors import LocalIOError
from harvester.ledger.protocol import FoundLine, Identity
from harvester.model import SIMULATED_PREFIX, Job, Judgement
from harvester.output.ending import LONGEST
from harvester.rules.envelope import is_json
from harvester.sanitize import sanitize

BOM = b"\xef\xbb\xbf"
# The keys of a line stand in this order, so the id can be read without parsing the line. An editor
# may have put a byte order mark before the first one.
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_HEAD = re.compile(
    rb'(?:\xef\xbb\xbf)?\{"noteId":(' + _TEXT + rb"),"
    rb'"fetchedAt":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)",'
    rb'"attempts":(\d{1,9}),'
    rb'"endpoint":(' + _TEXT + rb"),"
)
_START = b'{"noteId":"'
_LINE = (
    b'{"noteId":%b,"fetchedAt":"%bZ","attempts":%d,"endpoint":%b,"recordTime":%b,"requestId":%b,'
    b'"data":%b%b%b}\n'
)
_NULS = re.compile(rb"\0+")
# Holes are as long as pages of a file; text of two bytes a sign has a NUL in every other sign.
_LEAST_BETWEEN = 1024
_SHOWN = 60
_BLANK = b" \t\r\n"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
_TIME = rb'"recordTime":(?:null|' + _TEXT + rb"),"
_SIMULATED = re.compile(_TIME + rb'"requestId":"' + SIMULATED_PREFIX.encode())
_EMPTY = re.compile(
    _TIME + rb'"requestId":(?:null|' + _TEXT + rb'),"data":(?:null|\[\s*\]|\{\s*\})(?:\}|,"input")'
)


def make_line(job: Job, judgement: Judgement, endpoint: str, fetched_at: float) -> bytes:
    """The line of a saved note, newline and all; `fetched_at` is Unix seconds."""
    moment = datetime.fromtimestamp(fetched_at, UTC).isoformat(timespec="milliseconds")
    raw = b"" if judgement.raw is None else b',"raw":' + judgement.raw
    extra = b"" if job.extra_fields is None else b',"input":' + job.extra_fields.encode()
    return _LINE % (
        orjson.dumps(job.note_id),
        moment[:23].encode(),
        job.attempts + 1,
        orjson.dumps(endpoint),
        judgement.record_time,
        judgement.request_id,
        judgement.data,
        raw,
        extra,
    )


class Head(FoundLine, frozen=True, kw_only=True):
    """What a line says of itself: also what it is `of`."""

    of: Identity


def read_head(line: bytes, end: int = 0) -> Head | None:
    """What a line says of itself, or None if it is no line of ours; `end` is where it ends.

    How it is stored is no matter: after CRLF, without its newline, or with the blanks
    between the members and the order of them that some programs write.
    """
    match = _HEAD.match(line)
    if match is None:
        return _read_rewritten(line, end)
    if not (line.endswith(b"}\n") or line.rstrip(_BLANK).endswith(b"}")):
        return None
    try:
        return Head(
            orjson.loads(match[1]),
            int(match[3]),
            datetime.fromisoformat(match[2].decode()).timestamp(),
            end,
            _EMPTY.match(line, match.end()) is not None,
            of=Identity(orjson.loads(match[4]), _SIMULATED.match(line, match.end()) is not None),
        )
    except ValueError:
        return None


def _read_rewritten(line: bytes, end: int) -> Head | None:
    """The same of a line that another program wrote again."""
    try:
        members = json.loads(line) if _OBJECT.match(line) else {}
        match members:
            case {
                "noteId": str(name),
                "fetchedAt": str(at),
                "attempts": int(attempts),
                "endpoint": str(endpoint),
            } if attempts >= 0 and _MOMENT.fullmatch(at):
                name.encode()
                moment = datetime.fromisoformat(at).timestamp()
                simulated = str(members.get("requestId")).startswith(SIMULATED_PREFIX)
                is_empty = "raw" not in members and members.get("data", 0) in (None, [], {})
                return Head(name, attempts, moment, end, is_empty, of=Identity(endpoint, simulated))
    except (ValueError, RecursionError):
        pass
    return None


def read_line(line: bytes, end: int = 0) -> Head | None:
    """What a line says of itself, be it without its newline; None if it is no whole line of ours.

    `end` is where it ends in OUTPUT.
    """
    head = read_head(line, end)
    return head if head is not None and is_json(line) else None


def has_holes(piece: bytes) -> bool:
    """Whether a power cut left NUL bytes in a piece, where pages of it were never written."""
    many = sum(1 for _ in _NULS.finditer(piece)) if b"\0" in piece else 0
    return 0 < many <= 2 + len(piece) // _LEAST_BETWEEN


def between_holes(piece: bytes) -> tuple[list[bytes], list[bytes]]:
    """The whole lines of a piece with holes, each with its newline, and what is torn of others."""
    whole, torn = [], []
    for part in filter(bytes.strip, _NULS.split(piece)):
        if read_line(part) is None:
            torn.append(part)
        else:
            whole.append(part.removesuffix(b"\n") + b"\n")
    return whole, torn


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The lines from where a file stands on, newline and all, each with where it ends.

    Of one that is longer than any of ours, only the beginning is given.
    """
    end = file.tell()
    while text := file.readline(LONGEST):
        more = text
        end += len(more)
        while len(more) == LONGEST and not more.endswith(b"\n"):
            more = file.readline(LONGEST)
            end += len(more)
        yield text, end


def shown(line: bytes) -> str:
    """The beginning of a line, fit to print."""
    return sanitize(line[:_SHOWN].decode("utf-8", "replace").rstrip("\r\n"))


def may_be_torn(piece: bytes) -> bool:
    """Whether a piece without its newline can be the beginning of one of our lines."""
    bare = piece.removeprefix(BOM)
    return len(piece) < LONGEST and (bare.startswith(_START) or _START.startswith(bare))


def unreadable(path: Path, error: OSError) -> LocalIOError:
    """What is said of a file of lines that cannot be read."""
    return LocalIOError(
        f"cannot read {path}: {reason_of(error)}: check the file and its permissions, then try "
        "again."
    )
