"""What happens in a run, line by line: to standard error with -v, and to a log file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import orjson

from harvester.engine.ports import CallFinished, Event
from harvester.errors import LocalIOError
from harvester.plain import plain
from harvester.views.words import moment


def as_text(event: Event) -> str:
    """An event as one line for people."""
    if isinstance(event, CallFinished):
        code = "-" if event.code is None else event.code
        return (
            f"{plain(event.note_id)} {event.verdict} code={code} attempt={event.attempt} "
            f"{event.elapsed:.3f} s {plain(event.reason)}"
        )
    return f"{event.kind}: {plain(event.text, 600)}"


def as_json(event: Event) -> bytes:
    """An event as one JSON object with fixed names."""
    if isinstance(event, CallFinished):
        fields: dict[str, object] = {
            "event": "call",
            "noteId": event.note_id,
            "verdict": event.verdict,
            "code": event.code,
            "reason": plain(event.reason),
            "attempt": event.attempt,
            "elapsed": round(event.elapsed, 6),
        }
    else:
        fields = {"event": event.kind, "text": plain(event.text, 600)}
    return orjson.dumps({"at": moment(time.time())} | fields)


def open_log(path: Path) -> TextIO:
    """Open a log file to append to, a line at a time; raises LocalIOError."""
    try:
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise LocalIOError(
            f"--log-file {path} cannot be written: {error.strerror}. Choose another place."
        ) from error


def writer(stream: TextIO, form: str, *, calls: bool) -> Callable[[Event], None]:
    """An observer that writes events to a stream; without `calls`, only what is notable."""

    def write(event: Event) -> None:
        if isinstance(event, CallFinished) and not calls:
            return
        if form == "json":
            stream.write(as_json(event).decode() + "\n")
        else:
            stream.write(f"{moment(time.time())} {as_text(event)}\n")

    return write


def notices_to(stream: TextIO) -> Callable[[Event], None]:
    """An observer that tells people what is notable."""

    def tell(event: Event) -> None:
        if not isinstance(event, CallFinished):
            stream.write(f"harvester: {as_text(event)}\n")
            stream.flush()

    return tell
