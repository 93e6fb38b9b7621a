"""`harvester schedule`: print a crontab line and systemd units that run every night."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from msgspec.structs import replace

from harvester.cli.choices import SuggestingChoice
from harvester.cli.config_file import KEPT
from harvester.cli.helping import option
from harvester.cli.ledgers import reading_part
from harvester.cli.params import Command, Parsed, telling_names
from harvester.cli.run import AS_RUN, console_of, parsed_as_run, places_of, words_of_run
from harvester.cli.streams import warn
from harvester.cli.telling import json_option, tell, wants_json
from harvester.config import BASE_URL_VARIABLE, RunConfig
from harvester.console.schedule import Nightly, crontab, service, timer, window
from harvester.errors import HarvesterError, NoHarvestError, UsageError
from harvester.ledger.fleet import FleetAddress, without_password
from harvester.option import said_of
from harvester.sanitize import has_unprintable
from harvester.tokens import TOKEN_VARIABLES

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
# As long as the last night's run may take to drain, or a person's `retry` may hold OUTPUT.
_WAIT_FOR_LOCK = "10m"
# What --on-finish may take, in seconds.
_FINISHING = 60.0
_FORMS = {
    "cron": (crontab,),
    "systemd": (service, timer),
    "service": (service,),
    "timer": (timer,),
    "all": (crontab, service, timer),
}
_LEFT_OUT = (
    "the ledger's password is not printed: put it in ~/.pgpass, or as PGPASSWORD=... above the "
    "crontab line, or in a file of your own that an EnvironmentFile= in the service names."
)
_NOT_PRINTED = (
    "--{} is not printed, since it holds a {}: put HARVESTER_RUN_{}=... above the "
    "crontab line, or in a file of your own that an EnvironmentFile= in the service names."
)
# Where pipes and standard input have names.
_OF_A_PROCESS = ("/dev/fd/", "/dev/std", "/proc/")
# What would be wrong every night, and why.
_NOT_NIGHTLY = {
    "dry_run": "it would fetch nothing",
    "rebuild": "it takes whatever OUTPUT holds as the truth, and may pay again: say it by hand",
}


def _time_of_day(value: object) -> time:
    match = _CLOCK.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("is not a time of day like 01:30 or 22:00.")
    return time(int(match[1]), int(match[2]))


_TIME = Parsed(_time_of_day)


@click.command(
    cls=Command,
    context_settings=AS_RUN,
    examples=(
        "harvester schedule notes.jsonl ids.txt --at 01:30 --until 07:00 --token-file token.txt",
        "harvester schedule notes.jsonl --at 22:00 --format cron --token-file token.txt --rate 5/s",
    ),
)
@words_of_run(
    "OUTPUT [INPUT]... [OPTION OF RUN]...",
    "The JSONL file to append to, and whatever else `run` takes: see `harvester run --help`.",
)
@option("--at", metavar="TIME", type=_TIME, required=True, help="When to begin: 01:30.")
@option("--until", metavar="TIME", type=_TIME, help="When to end at the latest: 07:00.")
@option(
    "--format",
    "form",
    metavar="FORM",
    default="all",
    type=SuggestingChoice(_FORMS),
    help="cron, systemd (service and timer, or one of them by its name) or all.",
)
@json_option
@click.pass_context
def schedule(
    ctx: click.Context, words: tuple[str, ...], at: time, until: time | None, form: str
) -> None:
    """Print a crontab line, and a systemd service with its timer, that run every night.

    Nothing is installed. The options of `run` are checked now, --ledger is connected to once, and
    paths are made absolute. What is not said is chosen for the night: -q, a log beside OUTPUT, and
    waiting ten minutes for another run. An --on-finish command is taken as it is: use absolute
    paths in it.
    """
    with _without(TOKEN_VARIABLES):
        given = parsed_as_run(words, ctx)
    with telling_names(given):
        nightly, fleet = _nightly(given, at, until)
    _check_printable(nightly.command)
    if without_password(given.params["ledger"] or "") != (given.params["ledger"] or ""):
        warn(_LEFT_OUT)
    if fleet is not None:
        _try(fleet)
    texts = {write.__name__: write(nightly) for write in _FORMS[form]}
    if not wants_json():
        # To be copied: no line is broken.
        click.echo("\n".join(texts.values()).rstrip("\n"))
    tell({"unit": nightly.unit, "command": nightly.command, "texts": texts})


def _try(fleet: FleetAddress) -> None:
    """Connect as the printed line will: without the password, and without this environment."""
    bare = replace(fleet, url=without_password(fleet.url))
    with _without([name for name in os.environ if name.startswith("PG")]):
        try:
            with suppress(NoHarvestError), reading_part(bare):
                pass
        except HarvesterError as error:
            warn(f"as things are, the printed line will not work: {error}")


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Leave variables out of this environment meanwhile: the night's does not have them."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _nightly(
    given: click.Context, at: time, until: time | None
) -> tuple[Nightly, FleetAddress | None]:
    output, inputs = _places(given)
    config = _checked(given, output, inputs)
    command = (
        *_executable(sys.argv[0], sys.executable),
        "run",
        *(str(path) for path in inputs),
        "--output",
        str(output),
        *_options(given),
        *_added(given, output, at, until),
    )
    finishing = _FINISHING if given.params.get("on_finish") else 0.0
    return Nightly(command, output, at, until, config.timeout + finishing), config.fleet


def _places(given: click.Context) -> tuple[Path, list[Path]]:
    """OUTPUT and the inputs, all absolute."""
    output, inputs = places_of(given)
    if "-" in inputs:
        raise UsageError("at night there is no standard input: name a file in place of -.")
    if output is None:
        raise UsageError("name the OUTPUT to append to: `harvester schedule OUTPUT --at 01:30`.")
    return output.absolute(), [Path(path).absolute() for path in inputs]


def _checked(given: click.Context, output: Path, inputs: Sequence[Path]) -> RunConfig:
    """The config of the run; warns as it would, and raises for what could only fail at night."""
    params = given.params
    for name, why in _NOT_NIGHTLY.items():
        if params.get(name):
            raise UsageError(f"--{name.replace('_', '-')} is not for every night: {why}.")
    if not params["token_file"] and not params["simulate"]:
        raise UsageError(
            "a scheduled run does not see your environment: put the token in a file that only you "
            "can read, and name it by --token-file."
        )
    for place in filter(None, (output, params["log_file"], params["metrics_file"])):
        if place.is_dir() or not place.absolute().parent.is_dir():
            raise UsageError(f"{place.absolute()} cannot be a file: create its folder first.")
    from harvester.cli.running import unencrypted, warnings_about
    from harvester.source.given import pages_of

    config = RunConfig.read(inputs, output, said_of(RunConfig, params))
    console = console_of(given)
    read = [*config.files_read(), ("--config", given.meta.get(KEPT))]
    console.check_apart(read, config.output)
    for name, path in (*read, ("--notify-file", console.notify_file)):
        if str(path).startswith(_OF_A_PROCESS):
            raise UsageError(f"{name}: {path} is gone at night: name a file in its place.")
    pages_of(config.inputs, config.input_options)
    for warning in (*unencrypted(config), *warnings_about(config, console)):
        warn(warning)
    return config


def _added(given: click.Context, output: Path, at: time, until: time | None) -> Iterator[str]:
    """What a night wants, where nothing else was said; the file here is not the folder's there."""
    if KEPT in given.meta:
        yield from ("--config", str(given.meta[KEPT]))
    base_url = os.environ.get(BASE_URL_VARIABLE)
    if base_url and not any(_is_said(given, name) for name in ("base_url", "region", "simulate")):
        yield from ("--base-url", base_url)
    if until is not None:
        if _is_said(given, "max_runtime"):
            raise UsageError("--until and --max-runtime say the same: give one of them.")
        yield from ("--max-runtime", window(at, until))
    if not _is_said(given, "log_file"):
        yield from ("--log-file", f"{output}.log")
    if not _is_said(given, "wait_for_lock"):
        yield from ("--wait-for-lock", _WAIT_FOR_LOCK)
    if not (given.params["quiet"] or given.params["verbose"]):
        yield "-q"


def _options(given: click.Context) -> Iterator[str]:
    """The options that were said, in the words that `run` takes."""
    for param in given.command.params:
        if (
            isinstance(param, click.Option)
            and param.name not in {"output", "config"}
            and _is_said(given, param.name)
        ):
            yield from _option_words(param, given.params[param.name or ""])


def _option_words(option: click.Option, value: Any) -> Iterator[str]:  # noqa: ANN401 - click's
    name = max(option.opts, key=len)
    if option.is_flag:
        yield from [name] if value else []
        return
    for one in value if option.multiple else [value]:
        is_path = isinstance(option.type, click.Path)
        text = str(Path(one).absolute()) if is_path else str(one)
        is_password = option.name == "proxy" and without_password(text) != text
        if is_password or option.name == "notify":
            what = "password" if is_password else "secret"
            warn(_NOT_PRINTED.format(option.name, what, option.name.upper()))
            return
        # What is printed here is kept in files and mails, and shows in `ps`.
        text = without_password(text) if option.name == "ledger" else text
        yield from [f"{name}={text}"] if option.name == "wait_quota" else (name, text)


def _is_said(given: click.Context, name: str | None) -> bool:
    """Whether an option was given, be it by the environment: at night that is another one."""
    said = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return given.get_parameter_source(name or "") in said


def _executable(called: str, python: str) -> tuple[str, ...]:
    """How to call harvester from anywhere: by the script that was called, or its neighbour."""
    script = Path(called)
    if script.name != "__main__.py" and os.access(script, os.X_OK):
        return (str(script.absolute()),)
    neighbour = Path(python).with_name("harvester")
    if os.access(neighbour, os.X_OK):
        return (str(neighbour),)
    return (python, "-m", "harvester")


def _check_printable(words: Sequence[str]) -> None:
    for word in words:
        if has_unprintable(word):
            raise UsageError(f"{word} holds a sign that a crontab or a unit cannot: rename it.")
