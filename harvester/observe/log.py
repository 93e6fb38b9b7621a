"""What happens in a run, line by line: to standard error with -v, and to a log file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TextIO

import orjson

from harvester.engine.ports import (
    CallFinished,
    Event,
    LineLeftOut,
    Notice,
    RunBegan,
    RunEnded,
    Stopping,
)
from harvester.errors import LocalIOError
from harvester.formatting import codes, iso_utc
from harvester.model import Summary
from harvester.observe.outlet import Outlet
from harvester.sanitize import sanitize

_LONGEST = 600
_LONGEST_PATH = 4096


class Lines(Protocol):
    """Where lines go: a stream, or a log file."""

    def write(self, text: str, /) -> object:
        """Write a line, its newline included, as a whole."""


def as_text(event: Event) -> str:
    """An event as one line for people."""
    match event:
        case CallFinished():
            code = "-" if event.code is None else event.code
            unanswered = " unanswered" if event.unanswered else ""
            return (
                f"{sanitize(event.note_id)} {event.verdict} code={code} attempt={event.attempt} "
                f"{event.elapsed:.3f} s{unanswered} {sanitize(event.reason, _LONGEST)}"
            )
        case LineLeftOut():
            return f"left out: {sanitize(str(event.bad), _LONGEST)}"
        case Notice():
            return f"{event.kind}: {sanitize(event.text, _LONGEST)}"
        case RunBegan():
            endpoint = sanitize(event.endpoint) + (" simulated" if event.simulated else "")
            return (
                f"begin: {sanitize(event.output, _LONGEST_PATH)} {endpoint} "
                f"done={event.done} queued={event.queued} failed={event.failed}"
            )
        case Stopping():
            detail = f": {sanitize(event.detail, _LONGEST)}" if event.detail else ""
            return f"stopping: {event.reason}{detail} in_flight={event.in_flight}"
        case RunEnded():
            return _end_as_text(event.summary)


def _end_as_text(summary: Summary) -> str:
    detail = f": {sanitize(summary.detail, _LONGEST)}" if summary.detail else ""
    return (
        f"end: {summary.reason}{detail} exit={summary.exit_code} done={summary.done} "
        f"queued={summary.queued} failed={summary.failed} saved={summary.saved} "
        f"charged={summary.charged} unanswered={summary.unanswered} closed={summary.closed} "
        f"calls={summary.calls} {summary.elapsed:.3f} s by code {codes(dict(summary.by_code))}"
    )


def as_json(event: Event, run_id: str = "", at: float | None = None) -> bytes:
    """An event as one JSON object with fixed names; `at` is Unix seconds, now if not given."""
    when = iso_utc(time.time() if at is None else at)
    return orjson.dumps({"at": when, "run": run_id} | _fields(event))


def _fields(event: Event) -> dict[str, object]:
    match event:
        case CallFinished():
            return {
                "event": "call",
                "noteId": sanitize(event.note_id),
                "verdict": event.verdict,
                "code": event.code,
                "reason": sanitize(event.reason, _LONGEST),
                "attempt": event.attempt,
                "elapsed": round(event.elapsed, 6),
                "charged": event.charged,
                "unanswered": event.unanswered,
            }
        case LineLeftOut():
            bad = event.bad
            place = {"file": sanitize(bad.file, _LONGEST_PATH), "line": bad.line}
            told = {"reason": sanitize(bad.reason), "text": sanitize(bad.text, _LONGEST)}
            return {"event": "left out"} | place | told
        case Notice():
            return {"event": "notice", "kind": event.kind, "text": sanitize(event.text, _LONGEST)}
        case RunBegan():
            return {
                "event": "begin",
                "output": sanitize(event.output, _LONGEST_PATH),
                "endpoint": sanitize(event.endpoint),
                "simulated": event.simulated,
                "done": event.done,
                "queued": event.queued,
                "failed": event.failed,
            }
        case Stopping():
            return {
                "event": "stopping",
                "reason": event.reason,
                "detail": sanitize(event.detail, _LONGEST),
                "inFlight": event.in_flight,
            }
        case RunEnded():
            return {"event": "end"} | _end_fields(event.summary)


def _end_fields(summary: Summary) -> dict[str, object]:
    return {
        "reason": summary.reason,
        "detail": sanitize(summary.detail, _LONGEST),
        "exitCode": summary.exit_code,
        "done": summary.done,
        "queued": summary.queued,
        "waiting": summary.waiting,
        "rejected": summary.rejected,
        "exhausted": summary.exhausted,
        "saved": summary.saved,
        "charged": summary.charged,
        "unanswered": summary.unanswered,
        "closed": summary.closed,
        "calls": summary.calls,
        "byCode": dict(summary.by_code),
        "badLines": summary.bad_lines,
        "elapsed": round(summary.elapsed, 6),
    }


class LogFile:
    """A file that takes whole lines only, and never hurts a run.

    Each line is one write to the end of the file, so it is whole though the process be killed, and
    lines of several runs do not mix. A file that was moved away or removed, as logrotate does, is
    opened anew; one that was cut short goes on at its beginning. What cannot be written is left
    out, and `warn` is told the first time.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Raises OSError."""
        self._path = path
        self._warn = warn
        self._has_failed = False
        self._file = _open_end(path)
        self._is_torn = _is_torn(path)
        self._identity = _identity(os.fstat(self._file))

    def write(self, text: str) -> None:
        """Append lines, the newline of the last one included."""
        line = text.encode("utf-8", "backslashreplace")
        try:
            self._follow()
            if self._is_torn:
                line = b"\n" + line
            written = os.write(self._file, line)
        except OSError as error:
            self._fail(error.strerror or "it cannot be written")
            return
        if written < len(line):
            self._is_torn = True
            self._fail("no space is left")
        else:
            self._is_torn = False

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._file)

    def _follow(self) -> None:
        """Open the file anew if another, or none, is in its place."""
        try:
            identity = _identity(self._path.stat())
        except FileNotFoundError:
            identity = None
        if identity == self._identity:
            return
        file = _open_end(self._path)
        os.close(self._file)
        self._file, self._is_torn = file, _is_torn(self._path)
        self._identity = _identity(os.fstat(file))

    def _fail(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            name = sanitize(str(self._path), _LONGEST_PATH)
            self._warn(
                f"--log-file {name} takes no more lines: {reason}. The run goes on; lines are "
                "left out until it takes them again: make room."
            )


def _open_end(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_torn(path: Path) -> bool:
    """Whether a file ends in the middle of a line, as a full disk leaves it."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


class LogLines:
    """Lines on their way to a log file."""

    def __init__(self, outlet: Outlet[str]) -> None:
        self._outlet = outlet

    def write(self, text: str) -> None:
        """Append a line, its newline included, as soon as the disk takes it."""
        self._outlet.put(text)


@contextmanager
def open_log(
    path: Path, warn: Callable[[str], None], line_of: Callable[[Event], str]
) -> Iterator[LogLines]:
    """A log file to append to, a line at a time; raises LocalIOError if that cannot begin.

    `line_of` makes a line that says how many were left out, because the disk took none.
    """
    try:
        log = LogFile(path, warn)
    except OSError as error:
        raise LocalIOError(
            f"--log-file {path} cannot be written: {error.strerror}. Choose another place."
        ) from error

    def left_out(many: int) -> str:
        return line_of(Notice("left out", f"{many} lines, since the disk took none in time"))

    outlet = Outlet[str](lambda lines: log.write("".join(lines)), left_out)
    try:
        yield LogLines(outlet)
    finally:
        if outlet.drain():
            log.close()


def line_in(form: str, run_id: str = "") -> Callable[[Event], str]:
    """What makes a line of an event, newline and all; `run_id` tells the runs in one log apart."""
    mark = f" [{run_id}]" if run_id else ""

    def line_of(event: Event) -> str:
        if form == "json":
            return as_json(event, run_id).decode() + "\n"
        return f"{iso_utc(time.time())}{mark} {as_text(event)}\n"

    return line_of


def writer(
    lines: Lines, line_of: Callable[[Event], str], *, calls: bool
) -> Callable[[Event], None]:
    """An observer that writes events as lines; without `calls`, only what is notable."""

    def write(event: Event) -> None:
        if calls or not isinstance(event, CallFinished):
            # Nobody may be reading any more; the run matters more than its lines.
            with suppress(OSError):
                lines.write(line_of(event))

    return write


def notices_to(stream: TextIO, only: str = "") -> Callable[[Event], None]:
    """An observer that tells people what is notable, or `only` one kind of it."""

    def tell(event: Event) -> None:
        if isinstance(event, Notice) and only in {"", event.kind}:
            with suppress(OSError):
                stream.write(f"harvester: {as_text(event)}\n")
                stream.flush()

    return tell
