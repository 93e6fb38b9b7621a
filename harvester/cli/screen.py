"""What a person sees of a run: its observers, its bar or lines, its metrics, its summary."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.cli.ending import ending_of
from harvester.cli.signals import Stopped
from harvester.cli.streams import OUTPUT, Clean, complain, fit, is_behind, print_in_time, warn
from harvester.cli.telling import as_json, wants_json
from harvester.config import ConsoleOptions
from harvester.console.progress import json_line, plain_line, show_lines
from harvester.engine.ports import INPUT, Event
from harvester.engine.run import Run
from harvester.errors import LocalIOError, OutputLockedError
from harvester.formatting import count
from harvester.model import Summary
from harvester.observe.log import EventFormatter, StderrHandler, event_of, log_to
from harvester.sanitize import sanitize

_LONGEST_LINE = 600

if TYPE_CHECKING:
    from harvester.observe.metrics import MetricsFile


class _Fitting(EventFormatter):
    """Breaks lines at words, where standard error is a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines."""
        return fit(super().format(record))


def observers_of(
    console: ConsoleOptions, stack: ExitStack, metrics: MetricsFile | None
) -> tuple[Callable[[Event], None], ...]:
    """Who is told what happens: standard error, the log file, the metrics file."""
    shown: logging.Handler = StderrHandler()
    handlers = [shown]
    is_json = console.progress == "json" and not console.quiet
    if console.verbose or is_json:
        shown.setFormatter(EventFormatter("json" if is_json else console.log_format))
        shown.setLevel(logging.DEBUG if console.verbose else logging.INFO)
    else:
        shown.setLevel(logging.WARNING)
        shown.setFormatter(_Fitting("notice"))
        if console.quiet:
            shown.addFilter(lambda record: getattr(event_of(record), "kind", "") == INPUT)
    if console.log_file is not None:
        from harvester.observe.log_file import open_log

        formatter = EventFormatter(console.log_format, secrets.token_hex(4))
        handlers.append(stack.enter_context(open_log(console.log_file, warn, formatter)))
    return (log_to(handlers), *(() if metrics is None else (metrics,)))


@contextmanager
def measured(console: ConsoleOptions, output: Path) -> Iterator[MetricsFile | None]:
    """The metrics file, if one is wanted; it is told of a run that raises, unless another has it.

    A signal before the run began says nothing: another run may be on, and writing the file.
    """
    if console.metrics_file is None:
        yield None
        return
    # Its library takes a tenth of a second to import, which no other run need wait for.
    from harvester.observe.metrics import MetricsFile

    metrics = MetricsFile(console.metrics_file, output, time.time, warn)
    try:
        yield metrics
    except (OutputLockedError, Stopped):
        raise
    except Exception as error:
        end = ending_of(error)
        metrics.fail(end.reason, end.exit_code)
        raise
    finally:
        metrics.close()


def _bar(run: Run) -> Coroutine[Any, Any, None]:
    from harvester.console.bar import show_bar

    stream = sys.stderr
    bare = stream.bare if isinstance(stream, Clean) else stream
    return show_bar(run, bare, lambda: is_behind(stream))


def _tell_failed(view: asyncio.Task[None]) -> None:
    if not view.cancelled() and (error := view.exception()) is not None:
        warn(f"the progress of the run is shown no more: {type(error).__name__}")


@asynccontextmanager
async def shown(
    console: ConsoleOptions, metrics: MetricsFile | None
) -> AsyncIterator[Callable[[Run], None]]:
    """Show progress, and keep the metrics, from when a run is known until the block ends."""
    form = console.progress
    if form == "auto":
        form = "bar" if sys.stderr.isatty() else "plain"
    views: list[asyncio.Task[None]] = []

    def add(view: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(view)
        task.add_done_callback(_tell_failed)
        views.append(task)

    def show(run: Run) -> None:
        if metrics is not None:
            add(metrics.follow(run))
        if form == "none" or console.quiet:
            return
        if form == "bar":
            add(_bar(run))
        else:
            add(show_lines(run, sys.stderr, json_line if form == "json" else plain_line))

    try:
        yield show
    finally:
        for view in views:
            view.cancel()
        await asyncio.gather(*views, return_exceptions=True)


def print_summary(
    summary: Summary, console: ConsoleOptions, told: Mapping[str, Any], lines: Sequence[str]
) -> None:
    """Print the summary's lines and the closing line; with -q the line alone, and only of trouble.

    As JSON what is `told` is printed in any case, and the line on standard error.
    """
    if console.quiet and summary.bad_lines:
        first = sanitize(str(summary.bad_examples[0]), _LONGEST_LINE)
        warn(f"{count(summary.bad_lines, 'line')} of input left out; the first: {first}")
    # Cron mails whatever is printed: with -q that is trouble.
    closing = told["message"]
    last = [closing] if not console.quiet or summary.exit_code else []
    try:
        if wants_json():
            for line in last:
                complain(line)
            print_in_time(as_json(told) + b"\n")
        else:
            shown_lines = [] if console.quiet else lines
            print_in_time("".join(f"{fit(line, OUTPUT)}\n" for line in (*shown_lines, *last)))
    except LocalIOError as error:
        # What became of the notes matters more than where it is told.
        warn(f"{error} {closing}")
