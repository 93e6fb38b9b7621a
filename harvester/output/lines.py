"""One line of OUTPUT: written from a judgement, and its head read back without parsing it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import orjson

from harvester.ledger.protocol import FoundLine
from harvester.model import Job, Judgement

# The keys of a line stand in this order, so the id can be read without parsing the line.
_HEAD = re.compile(
    rb'\{"noteId":("(?:[^"\\]|\\.)*"),'
    rb'"fetchedAt":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)",'
    rb'"attempts":(\d{1,9}),'
    rb'"endpoint":("(?:[^"\\]|\\.)*"),'
)
_START = b'{"noteId":"'
# The embedded simulator's answers carry request ids that begin so, to be told from real ones.
SIMULATED_PREFIX = "simulated-"
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
    """What a line says of itself, or None if it is no line of ours; `end` is where it ends."""
    match = _HEAD.match(line)
    if match is None or not line.endswith(b"}\n"):
        return None
    try:
        fetched = datetime.fromisoformat(match[2].decode())
        return FoundLine(orjson.loads(match[1]), int(match[3]), fetched.timestamp(), end)
    except ValueError:
        return None


def head_endpoint(line: bytes) -> tuple[str, bool] | None:
    """The endpoint a line came from, and whether it came from the embedded simulator."""
    match = _HEAD.match(line)
    if match is None:
        return None
    simulated = _SIMULATED.match(line, match.end()) is not None
    try:
        return orjson.loads(match[4]), simulated
    except orjson.JSONDecodeError:
        return None


def is_json(line: bytes) -> bool:
    """Whether a line can be read as JSON, also where orjson is too strict."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            return False
    return True


def may_be_torn(piece: bytes) -> bool:
    """Whether a piece without its newline can be the beginning of one of our lines."""
    return piece.startswith(_START) or _START.startswith(piece)
