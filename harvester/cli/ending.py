"""How a command ends that could not do its work: in a word, an exit code, and a line for people."""

from __future__ import annotations

import os
import signal
import traceback

import click
from msgspec import Struct

from harvester.cli.signals import Stopped
from harvester.cli.telling import masked
from harvester.errors import HarvesterError, LocalIOError, is_want_of_memory
from harvester.leaving import stopped_line
from harvester.model import StopReason
from harvester.sanitize import sanitize

_LONGEST_LINE = 2000


class Ending(Struct, frozen=True):
    """An end: `reason` is a stop's word, `usage`, `locked` or `internal error`."""

    reason: str
    exit_code: int
    message: str


def ending_of(error: BaseException) -> Ending:
    """Returns the end that an error, or a signal before the first call, makes of a command."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return _stopped(StopReason.SIGINT)
    if isinstance(error, Stopped):
        return _stopped(error.reason)
    if isinstance(error, click.ClickException):
        return Ending("usage", error.exit_code, _line(_typed_wrong(error)))
    if is_want_of_memory(error):
        # Only here: Ctrl-C may have cut its loading short, which cannot be made good.
        from harvester.threads import died

        error = died(error)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error = LocalIOError(f"{error.filename}: {error.strerror}.")
    if isinstance(error, HarvesterError):
        return Ending(error.reason, error.exit_code, _line(str(error)))
    return Ending("internal error", os.EX_SOFTWARE, _internal(error))


def _stopped(reason: StopReason) -> Ending:
    number = signal.SIGINT if reason is StopReason.SIGINT else signal.SIGTERM
    return Ending(reason.value, reason.exit_code, stopped_line(number))


def _typed_wrong(error: click.ClickException) -> str:
    """What is wrong with the words typed, and where the right ones are."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message()} See `{error.ctx.command_path} --help`."
    return error.format_message()


def _line(message: str) -> str:
    """An error without the control characters that a name or a line in it may hold."""
    lines = (sanitize(line, _LONGEST_LINE) for line in masked(message).split("\n"))
    return "harvester: error: " + "\n".join(lines)


def _internal(error: BaseException) -> str:
    """Where an error of ours happened; never its text, which could hold anything."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {last[0].filename.rpartition('harvester/')[2]}:{last[0].lineno}" if last else ""
    return (
        f"harvester: internal error: {type(error).__name__}{place}. Nothing recorded is lost: "
        "run the same command again, and please report this line."
    )
