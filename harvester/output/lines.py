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
from harvester.ledger.protocol import FoundLine
from harvester.model import SIMULATED_PREFIX, Job, Judgement
from harvester.output.ending import LONGEST
from harvester.rules.envelope import is_json
from harvester.sanitize import sanitize

BOM = b"\xef\xbb\xbf"
# The keys of a line stand in this order, so the id can be read without parsing the line. An editor
# may have put a byte order mark before the first one.
_HEAD = re.compile(
    rb'(?:\xef\xbb\xbf)?\{"noteId":("(?:[^"\\]|\\.)*"),'
    rb'"fetchedAt":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)",'
    rb'"attempts":(\d{1,9}),'
    rb'"endpoint":("(?:[^"\\]|\\.)*"),'
)
_START = b'{"noteId":"'
_SHOWN = 60
_BLANK = b" \t\r\n"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
_SIMULATED = re.compile(
    rb'"recordTime":(?:null|"(?:[^"\\]|\\.)*"),"requestId":"' + SIMULATED_PREFIX.encode()
)


def make_line(job: Job, judgement: Judgement, endpoint: str, fetched_at: float) -> bytes:
    """The line of a saved note, newline and all; `fetched_at` is Unix seconds."""
    moment = datetime.fromtimestamp(fetched_at, UTC).isoformat(timespec="milliseconds")
    raw = b"" if judgement.raw is None else b',"raw":' + judgement.raw
    carried = b"" if job.carried is None else b',"input":' + job.carried.encode()
    return b"".join(
        (
            b'{"noteId":',
            orjson.dumps(job.note_id),
            b',"fetchedAt":"',
            moment[:23].encode(),
            b'Z","attempts":',
            str(job.attempts + 1).encode(),
            b',"endpoint":',
            orjson.dumps(endpoint),
            b',"recordTime":',
            judgement.record_time,
            b',"requestId":',
            judgement.request_id,
            b',"data":',
            judgement.data,
            raw,
            carried,
            b"}\n",
        )
    )


def read_head(line: bytes, end: int) -> FoundLine | None:
    """What a line says of itself, or None if it is no line of ours; `end` is where it ends.

    How it is stored is no matter: after CRLF, without its newline, or with the blanks
    between the members and the order of them that some programs write.
    """
    match = _HEAD.match(line)
    if match is None:
        return _read_rewritten(line, end)
    if not line.rstrip(_BLANK).endswith(b"}"):
        return None
    return _found(match[1], match[2].decode(), int(match[3]), end)


def _found(name: bytes, fetched_at: str, attempts: int, end: int) -> FoundLine | None:
    try:
        moment = datetime.fromisoformat(fetched_at)
        return FoundLine(orjson.loads(name), attempts, moment.timestamp(), end)
    except ValueError:
        return None


def _read_rewritten(line: bytes, end: int) -> FoundLine | None:
    members = _members(line)
    match members:
        case {"noteId": str(name), "fetchedAt": str(at), "attempts": int(tries), "endpoint": str()}:
            if tries >= 0 and _MOMENT.fullmatch(at):
                return _found(json.dumps(name).encode(), at, tries, end)
    return None


def _members(line: bytes) -> dict[str, object]:
    """The members of a line that another program wrote again, none if it is no object."""
    if not _OBJECT.match(line):
        return {}
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def head_endpoint(line: bytes) -> tuple[str, bool] | None:
    """The endpoint a line came from, and whether its answer was simulated."""
    match = _HEAD.match(line)
    if match is None:
        members = _members(line)
        endpoint, request = members.get("endpoint"), members.get("requestId")
        if not isinstance(endpoint, str):
            return None
        return endpoint, isinstance(request, str) and request.startswith(SIMULATED_PREFIX)
    simulated = _SIMULATED.match(line, match.end()) is not None
    try:
        return orjson.loads(match[4]), simulated
    except orjson.JSONDecodeError:
        return None


def read_line(line: bytes, end: int = 0) -> FoundLine | None:
    """What a line says of itself, be it without its newline; None if it is no whole line of ours.

    `end` is where it ends in OUTPUT.
    """
    head = read_head(line, end)
    return head if head is not None and is_json(line) else None


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
