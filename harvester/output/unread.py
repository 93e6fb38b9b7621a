"""Answers that arrived, may be paid for, and cannot be read: a line for each, beside OUTPUT."""

from __future__ import annotations

import json
import re
from base64 import b64encode

from harvester.formatting import iso_utc
from harvester.model import Answer, Job, Judgement

# A real answer is about 3 KB; of what is longer, so much is kept.
_MOST_BYTES = 256 << 10
_HEAD = re.compile(rb'\{"noteId": "(?:[^"\\]|\\.)*", "moment": ')


def make_unread(job: Job, answer: Answer, judgement: Judgement, moment: float) -> bytes:
    """A line for an answer that cannot be read; `moment` is Unix seconds.

    Its bytes stand under `text`, or under `base64` where they are no text.
    """
    body = answer.body or b""
    kept = body[:_MOST_BYTES]
    try:
        said = {"text": kept.decode()}
    except UnicodeDecodeError:
        said = {"base64": b64encode(kept).decode()}
    members = {
        "noteId": job.note_id,
        "moment": iso_utc(moment),
        "status": answer.status,
        "why": judgement.reason,
        "bytes": len(body),
        **said,
    }
    return json.dumps(members, ensure_ascii=False).encode() + b"\n"


def is_unread(line: bytes) -> bool:
    """Whether a line is one of these, and none of OUTPUT."""
    return _HEAD.match(line) is not None
