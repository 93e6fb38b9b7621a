"""`harvester doctor`: whether all is in place for a night, a line for each check."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from harvester.cli.config_file import KEPT, key_of
from harvester.cli.helping import columns
from harvester.cli.params import Command, telling_names
from harvester.cli.run import AS_RUN, console_of, parsed_as_run, places_of, words_of_run
from harvester.cli.telling import json_option, masked, say, tell
from harvester.errors import LocalIOError, UsageError

if TYPE_CHECKING:
    from harvester.doctor.check import Check

_WORDS = {True: "good", False: "BAD", None: "?"}
_LONGEST = 600
_UNBROKEN = 10_000


@click.command(
    cls=Command,
    context_settings=AS_RUN,
    examples=("harvester doctor notes.jsonl --token-file token.txt", "harvester doctor --json"),
)
@words_of_run(
    "[OUTPUT] [OPTION OF RUN]...",
    "The file that `run -o` writes, and whatever else `run` is told.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Say whether all is in place for a night, and the way out of what is not.

    It looks at the token, the address, its certificate and clock, the disk, locks, open files, the
    ledger, the configuration and what could start a night. It makes no call that is charged. What
    cannot be told is marked by a ?; the exit code is 0 where nothing is bad, else 1.
    """
    import asyncio

    from harvester.config import RunConfig
    from harvester.doctor.check import bad, good
    from harvester.doctor.examination import examine
    from harvester.option import said_of

    given = parsed_as_run(words, ctx)
    output, inputs = places_of(given)
    config = None
    try:
        with telling_names(given):
            # Whether there is anything to go on with is for the checks of OUTPUT to say.
            place = output or Path("notes.jsonl")
            config = RunConfig.read(inputs or ["-"], place, said_of(RunConfig, given.params))
            read = [*config.files_read(), ("--config", given.meta.get(KEPT))]
            console_of(given).check_apart(read, config.output)
    except (UsageError, LocalIOError) as error:
        text, _, remedy = masked(str(error)).partition("\n")
        configured = bad("configuration", text, " ".join(remedy.split()))
    else:
        configured = good("configuration", ", ".join(_said(given)) or "all as by default")
    checks = [configured, *asyncio.run(examine(config, output, _written(given)))]
    for check in checks:
        for line in _lines(check):
            say(line)
    is_good = all(check.is_good is not False for check in checks)
    tell({"good": is_good, "checks": [_told(check) for check in checks]})
    return 0 if is_good else 1


def _lines(check: Check) -> Iterator[str]:
    """One line, folded beside its word where a terminal is narrower."""
    from harvester.console.layout import folded
    from harvester.sanitize import sanitize

    remedy = f": {check.remedy}" if check.remedy else ""
    text = f"{check.name}: {sanitize(check.text + remedy, _LONGEST)}"
    # Some terminals break a line behind their last column.
    width = columns() - 1 if sys.stdout.isatty() else _UNBROKEN
    word = f"{_WORDS[check.is_good]:4}"
    for line in folded(text, max(1, width - len(word) - 2)):
        yield f"{word}  {line}"
        word = " " * len(word)


def _told(check: Check) -> dict[str, object]:
    remedy = check.remedy or None
    return {"name": check.name, "good": check.is_good, "text": check.text, "remedy": remedy}


def _written(given: click.Context) -> dict[str, Path]:
    """What else a run would write, by its options."""
    named = {name: given.params[name] for name in ("log_file", "metrics_file")}
    return {f"--{name.replace('_', '-')}": path for name, path in named.items() if path}


def _said(given: click.Context) -> Iterator[str]:
    """The options that were said, each with where; a value that may be a secret is not shown."""
    from harvester.config import is_secret

    for param in given.command.params:
        name = param.name or ""
        where = _source(given, name)
        if where is not None and name not in {"inputs", "output", "config"}:
            value = given.params.get(name)
            shown = "" if value is True or is_secret(name) else f"{value} "
            yield f"--{key_of(param)} {shown}({where})"
    if not given.params["simulate"]:
        yield from _of_the_vendors_variables(given)


def _of_the_vendors_variables(given: click.Context) -> Iterator[str]:
    """What no option says, and the variables that the vendor's own programs read."""
    from harvester.config import BASE_URL_VARIABLE
    from harvester.tokens import TOKEN_VARIABLES

    if not (given.params["base_url"] or given.params["region"]):
        yield from (f"the address ({name})" for name in filter(os.environ.get, [BASE_URL_VARIABLE]))
    if not given.params["token_file"]:
        found = [*filter(os.environ.get, TOKEN_VARIABLES)]
        yield from (f"the token ({name})" for name in found[:1])


def _source(given: click.Context, name: str) -> str | None:
    """Where a value was said, None where it is the default."""
    match given.get_parameter_source(name):
        case ParameterSource.COMMANDLINE:
            return "command line"
        case ParameterSource.ENVIRONMENT:
            return "environment"
        case ParameterSource.DEFAULT_MAP if KEPT in given.meta:
            return str(given.meta[KEPT].name)
    return None
