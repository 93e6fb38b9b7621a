"""OUTPUT's companion for answers that arrived, may be paid for, and cannot be read."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from harvester.errors import LocalIOError
from harvester.model import Answer, Job, Judgement

# A real answer is about 3 KB; of what is longer, so much is kept.
_MOST_BYTES = 256 << 10


def unread_path(output: Path) -> Path:
    """Where the answers stand that could not be read."""
    return output.with_name(output.name + ".unread.jsonl")


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
        "moment": datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")[:23] + "Z",
        "status": answer.status,
        "why": judgement.reason,
        "bytes": len(body),
        **said,
    }
    return json.dumps(members, ensure_ascii=False).encode() + b"\n"


def keep_unread(output: Path, lines: Sequence[bytes]) -> None:
    """Append lines for their owner alone, through no link; raises LocalIOError."""
    path = unread_path(output)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
        with os.fdopen(fd, "ab") as file:
            file.write(b"".join(lines))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise LocalIOError(f"cannot write {path}: {reason}.") from error
