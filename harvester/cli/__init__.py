"""The command line: one file a command; each parses, calls one function, prints."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from harvester import __version__
from harvester.cli.group import LaterGroup
from harvester.cli.helping import SETTINGS
from harvester.cli.signals import Stopped, leave_on_signals, stopped_line
from harvester.cli.streams import drain_errors, open_streams
from harvester.errors import HarvesterError, LocalIOError, NobodyReadsError
from harvester.model import StopReason
from harvester.sanitize import sanitize

# As sysexits' EX_SOFTWARE: an error of ours, not of the user.
_INTERNAL = 70
_LONGEST_LINE = 2000
_ERROR = 2


@click.group(cls=LaterGroup, context_settings=SETTINGS)
@click.version_option(
    __version__, "-V", "--version", prog_name="harvester", help="Show the version and exit."
)
def cli() -> None:
    """Bulk-fetch notes from Just One API overnight: each note once, nothing paid twice."""


# With the first lines of their help, which a test holds against the commands.
cli.describe(
    "Fetch",
    (
        ("run", "Fetch every note that INPUT names and OUTPUT does not hold yet."),
        ("retry", "Put failed notes back in the queue: all of them, or by code or id."),
    ),
)
cli.describe(
    "Look",
    (
        (
            "status",
            "Say what is done, waiting and failed, the runs so far, and when the rest is done.",
        ),
        ("report", "Write one page of charts and numbers that opens in any browser, offline."),
        ("failures", "List the notes that failed: id, code, reason, attempts."),
        ("verify", "Check that every done note is on exactly one good line, and every line known."),
        ("merge", "Merge parts into one file: the newest line of each note, unchanged."),
    ),
)
cli.describe(
    "Prepare",
    (
        (
            "schedule",
            "Print a crontab line, and a systemd service with its timer, that run every night.",
        ),
        (
            "account",
            "Say what the vendor says: the balance, today's calls, and whether the token is good.",
        ),
        (
            "simulate",
            "Serve the note-detail family and its account, for practice and tests.",
        ),
        (
            "completion",
            "Print the script that makes a shell complete harvester's commands and options.",
        ),
        ("help", "Show a page of the manual, or a command's help; alone, list commands and pages."),
    ),
)


def main() -> None:
    """Run the command line; every error ends in one plain line and an exit code."""
    open_streams()
    leave_on_signals()
    code = _guarded()
    drain_errors()
    sys.exit(code)


def _guarded() -> int:
    try:
        code = cli.main(
            standalone_mode=False, auto_envvar_prefix="HARVESTER", prog_name="harvester"
        )
    except click.ClickException as error:
        _refuse(error)
        return error.exit_code
    except HarvesterError as error:
        if not isinstance(error, NobodyReadsError):
            _say(str(error))
        return error.exit_code
    except Stopped as stopped:
        click.echo(stopped_line(stopped.reason), err=True)
        return stopped.reason.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(stopped_line(StopReason.SIGINT), err=True)
        return StopReason.SIGINT.exit_code
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        return _fail(error)
    return int(code or 0)


def _fail(error: Exception) -> int:
    """Say what nobody foresaw; that memory was refused is no error of ours."""
    from harvester.threads import died, is_want_of_memory

    if not is_want_of_memory(error):
        click.echo(_internal(error), err=True)
        return _INTERNAL
    # Standard error is a thread of ours, which may want memory, too.
    with suppress(OSError):
        os.write(_ERROR, f"harvester: error: {died(error)}\n".encode())
    return LocalIOError.exit_code


def _refuse(error: click.ClickException) -> None:
    """Say what is wrong with the words typed, and where the right ones are; alone, the help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError) and error.ctx is not None:
        _say(f"{error.format_message()} See `{error.ctx.command_path} --help`.")
    else:
        _say(error.format_message())


def _say(message: str) -> None:
    """Print an error without the control characters that a name or a line in it may hold."""
    lines = (sanitize(line, _LONGEST_LINE) for line in message.split("\n"))
    click.echo("harvester: error: " + "\n".join(lines), err=True)


def _internal(error: BaseException) -> str:
    """Where an error of ours happened; never its text, which could hold anything."""
    import traceback

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename.rpartition('harvester/')[2]}:{last.lineno}"
    return (
        f"harvester: internal error: {type(error).__name__} at {place}. Nothing recorded is lost: "
        "run the same command again, and please report this line."
    )
