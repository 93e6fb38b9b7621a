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


for title, names in {
    "Fetch": ("run", "retry", "forget"),
    "Look": ("status", "report", "failures", "verify", "export", "merge"),
    "Fleet": ("join", "leave"),
    "Prepare": ("schedule", "account", "doctor", "simulate", "completion", "help"),
}.items():
    cli.add_section(title, names)


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
