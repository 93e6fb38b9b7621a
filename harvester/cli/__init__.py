"""The command line: one file a command; each parses, calls one function, prints."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from harvester import __version__
from harvester.cli.group import LazyGroup
from harvester.cli.helping import SETTINGS
from harvester.cli.streams import complain, drain_errors, open_streams
from harvester.cli.telling import Telling, tell_failure
from harvester.errors import NobodyReadsError, is_want_of_memory

_ERROR = 2


@click.group(cls=LazyGroup, context_settings=SETTINGS)
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
        ("forget", "Erase notes from OUTPUT and its ledger, and never fetch them again."),
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
        ("export", "Write a table of the notes: for a spreadsheet, a database or a program."),
        ("merge", "Merge parts into one file: the newest line of each note, unchanged."),
    ),
)
cli.describe(
    "Fleet",
    (
        (
            "join",
            "Bring an OUTPUT and its ledger into a harvest that hosts share, as a part of it.",
        ),
        ("leave", "Make one OUTPUT with a ledger of its own of a harvest that hosts shared."),
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
        ("doctor", "Say whether all is in place for a night, and the way out of what is not."),
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
    code = _guarded()
    drain_errors()
    sys.exit(code)


def _guarded() -> int:
    telling = Telling()
    try:
        code = cli.main(
            standalone_mode=False,
            auto_envvar_prefix="HARVESTER",
            prog_name="harvester",
            obj=telling,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except NobodyReadsError as error:
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - no traceback reaches a user
        return _failed(error, telling)
    return int(code or 0)


def _failed(error: BaseException, telling: Telling) -> int:
    """Say what came in the way, in words and where it is asked for as JSON; gives the exit code."""
    from harvester.cli.ending import ending_of

    end = ending_of(error)
    if is_want_of_memory(error):
        # Standard error is a thread of ours, which may want memory, too.
        with suppress(OSError):
            os.write(_ERROR, f"{end.message}\n".encode())
    else:
        complain(end.message)
        tell_failure(telling, end)
    return end.exit_code
