"""`harvester run`: fetch every note that INPUT names and OUTPUT does not hold yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from harvester.cli.config_file import KEPT
from harvester.cli.helping import SETTINGS, option, option_group
from harvester.cli.params import OUTPUT, Command, F, with_options
from harvester.cli.telling import Telling, json_option
from harvester.config import ConsoleOptions, RunConfig, files_read
from harvester.errors import UsageError
from harvester.option import read_options, said_of
from harvester.paths import output_of

# Of a command that takes the options of `run` and does not know them.
AS_RUN = {**SETTINGS, "ignore_unknown_options": True}
# What stands for the OUTPUT that such a command may be given otherwise.
_NOT_NAMED = Path("-")


class Inputs(click.Argument):
    """INPUT, which the file may name where the command line does not."""

    def consume_value(
        self,
        ctx: click.Context,
        opts: Mapping[str, Any],
    ) -> tuple[Any, ParameterSource]:
        """Take what was typed, else what the file says; click takes nothing typed for a value."""
        named = (ctx.default_map or {}).get(self.name or "")
        if not opts.get(self.name or "") and named:
            return named, ParameterSource.DEFAULT_MAP
        return super().consume_value(ctx, opts)


@click.command(
    cls=Command,
    examples=(
        "harvester run ids.txt -o notes.jsonl --rate 5/s --max-charged 1000",
        "harvester run ids.csv more.txt.gz -o notes.jsonl --token-file token.txt --max-runtime 8h",
        "harvester run ids.txt -o practice.jsonl --simulate",
        "harvester run -o notes.jsonl",
    ),
)
@click.argument(
    "inputs",
    cls=Inputs,
    metavar="[INPUT]...",
    nargs=-1,
    type=click.Path(allow_dash=True),
    help="Lists that name notes (text, CSV, TSV, JSON, HTML, .xlsx; packed or not), links, ids, or "
    "- for standard input. Without any, go on with what is still queued.",
)
@option_group(
    "Input and output",
    option("-o", "--output", required=True, type=OUTPUT, help="JSONL file to append to."),
)
@with_options
@option_group("What you see", json_option)
def run(inputs: tuple[str, ...], output: Path, **said: Any) -> int:  # noqa: ANN401 - as the configs read them
    """Fetch every note that INPUT names and OUTPUT does not hold yet.

    The token is read from JUSTONEAPI_TOKEN or --token-file. Every option may also be set as an
    environment variable, HARVESTER_RUN_RATE for --rate, or in harvester.toml.
    """
    from harvester.cli.running import estimated, harvested

    given = click.get_current_context()
    console = console_of(given)

    # Before all else: also what cannot begin writes its end into the metrics file.
    read_too = ("--config", given.meta.get(KEPT))
    console.check_apart([*files_read(inputs, said["token_file"]), read_too], output)

    def read() -> RunConfig:
        return RunConfig.read(inputs, output, said_of(RunConfig, said))

    if console.dry_run:
        estimated(read, console)
        return 0
    proxy = read_options(RunConfig, {"proxy": said["proxy"]})["proxy"]
    return harvested(read, output, console, proxy)


def console_of(given: click.Context) -> ConsoleOptions:
    """What is to be seen of a run; raises UsageError where -q and -v are said in the same place."""
    said = given.params
    if said["quiet"] and said["verbose"]:
        sources = {given.get_parameter_source(name) for name in ("quiet", "verbose")}
        if len(sources) == 1:
            raise UsageError("-q and -v contradict each other: leave out one of them.")
    return ConsoleOptions.read(said_of(ConsoleOptions, said))


def words_of_run(metavar: str, what: str) -> Callable[[F], F]:
    """The words that a command hands to `run`, options and all; see `parsed_as_run`."""
    return click.argument("words", metavar=metavar, nargs=-1, type=click.UNPROCESSED, help=what)


def parsed_as_run(words: Sequence[str], ctx: click.Context) -> click.Context:
    """What `run` makes of the words, its variables and the file; complaints are those of `ctx`."""
    try:
        return run.make_context(
            "run",
            [*words],
            # The file may hold what other commands are told; how to tell is the caller's.
            parent=ctx.parent,
            obj=Telling(),
            default_map={"output": str(_NOT_NAMED)},
            auto_envvar_prefix="HARVESTER_RUN",
        )
    except click.UsageError as error:
        error.ctx = ctx
        raise


def places_of(given: click.Context) -> tuple[Path | None, list[str]]:
    """OUTPUT, named first or as `run` takes it, and the inputs; what is not typed is the file's."""
    output, source = given.params["output"], given.get_parameter_source
    words = [] if source("inputs") is ParameterSource.DEFAULT_MAP else [*given.params["inputs"]]
    if source("output") is ParameterSource.DEFAULT_MAP:
        output = output_of(words.pop(0)) if words else output
        output = None if output == _NOT_NAMED else output
    return output, words or [*(given.default_map or {}).get("inputs", ())]
