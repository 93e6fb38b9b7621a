"""What happens in a run, line by line: on standard error, and in a log file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import cast

from msgspec.structs import asdict

from harvester.engine.ports import (
    CallFinished,
    Event,
    LineLeftOut,
    Notice,
    RunBegan,
    RunEnded,
    Stopping,
)
from harvester.formatting import codes, iso_utc
from harvester.json_text import camel, to_json
from harvester.model import Summary
from harvester.sanitize import LONGEST_PATH, sanitize
from harvester.status.runs import summary_fields

_LONGEST = 600


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
                f"begin: {sanitize(event.output, LONGEST_PATH)} {endpoint} "
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
        f"calls={summary.calls} bad_lines={summary.bad_lines} {summary.elapsed:.3f} s "
        f"by code {codes(dict(summary.by_code))}"
    )


def as_json(event: Event, run_id: str, at: float) -> bytes:
    """An event as one JSON object with fixed names; `at` is Unix seconds."""
    match event:
        case RunEnded():
            fields = summary_fields(event.summary)
        case LineLeftOut():
            fields = asdict(event.bad)
        case _:
            fields = asdict(event)
    told = {camel(name): _fit(name, value) for name, value in fields.items()}
    begin = {"at": at, "run": run_id, "event": event.__struct_config__.tag}
    return to_json({key: value for key, value in begin.items() if value != ""} | told)


def _fit(name: str, value: object) -> object:
    """A text no longer than is fit to be kept."""
    if isinstance(value, str):
        return sanitize(value, LONGEST_PATH if name in {"output", "file"} else _LONGEST)
    return value


class EventFormatter(logging.Formatter):
    """An event as a line: `form` is text or json, each with its time, or notice without.

    `run_id` tells the runs in one log apart.
    """

    def __init__(self, form: str, run_id: str = "") -> None:
        super().__init__()
        self._form = form
        self._run_id = run_id
        self._mark = f" [{run_id}]" if run_id else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        event = event_of(record)
        if self._form == "json":
            return as_json(event, self._run_id, record.created).decode()
        if self._form == "notice":
            return f"harvester: {as_text(event)}"
        return f"{iso_utc(record.created)}{self._mark} {as_text(event)}"


class StderrHandler(logging.Handler):
    """Writes to standard error as it is at each event: a bar there takes lines in above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        # Nobody may be reading any more; the run matters more than its lines.
        with suppress(OSError):
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()


def record_of(event: Event) -> logging.LogRecord:
    """Returns the record of an event that happens now: calls are details, notices are notable."""
    return logging.LogRecord("harvester", _level(event), "", 0, event, None, None)


def event_of(record: logging.LogRecord) -> Event:
    """Returns the event that a record was made of."""
    return cast("Event", record.msg)


def _level(event: Event) -> int:
    if isinstance(event, CallFinished):
        return logging.DEBUG
    return logging.WARNING if isinstance(event, Notice) else logging.INFO


def log_to(handlers: Iterable[logging.Handler]) -> Callable[[Event], None]:
    """Returns an observer that hands each event to those who take its level."""
    logger = logging.Logger("harvester")  # noqa: LOG001 - of one run, and known to no other
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(min(handler.level for handler in logger.handlers) or logging.DEBUG)

    def tell(event: Event) -> None:
        if logger.isEnabledFor(_level(event)):
            logger.handle(record_of(event))

    return tell
