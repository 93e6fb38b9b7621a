"""The command line: one file a command; each parses, calls one function, prints."""

from __future__ import annotations

import sys
import traceback

import click
import cloup

from harvester import __version__
from harvester.cli.completion import completion
from harvester.cli.failures import failures
from harvester.cli.merge import merge
from harvester.cli.options import SETTINGS
from harvester.cli.report import report
from harvester.cli.retry import retry
from harvester.cli.run import run
from harvester.cli.schedule import schedule
from harvester.cli.signals import Stopped, leave_on_signals, stopped_line
from harvester.cli.simulate import simulate
from harvester.cli.status import status
from harvester.cli.streams import drain_errors, open_streams
from harvester.cli.verify import verify
from harvester.errors import HarvesterError, NobodyReadsError
from harvester.model import StopReason
from harvester.plain import plain

# As sysexits' EX_SOFTWARE: an error of ours, not of the user.
_INTERNAL = 70
_LONGEST_LINE = 2000


@cloup.group(context_settings=SETTINGS)
@cloup.version_option(__version__, prog_name="harvester", help="Show the version and exit.")
def cli() -> None:
    """Bulk-fetch notes from Just One API overnight: each note once, nothing paid twice."""


cli.section("Fetch", run, retry)
cli.section("Look", status, report, failures, verify, merge)
cli.section("Prepare", schedule, simulate, completion)


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
        click.echo(_internal(error), err=True)
        return _INTERNAL
    return int(code or 0)


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
    lines = (plain(line, _LONGEST_LINE) for line in message.split("\n"))
    click.echo("harvester: error: " + "\n".join(lines), err=True)


def _internal(error: BaseException) -> str:
    """Where an error of ours happened; never its text, which could hold anything."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename.rpartition('harvester/')[2]}:{last.lineno}"
    return (
        f"harvester: internal error: {type(error).__name__} at {place}. Nothing recorded is lost: "
        "run the same command again, and please report this line."
    )
