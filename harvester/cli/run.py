"""`harvester run`: fetch every note that INPUT names and OUTPUT does not hold yet."""

from __future__ import annotations

import asyncio
import gc
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from harvester.api.endpoints import DEFAULT_ENDPOINT
from harvester.cli.options import OUTPUT, price
from harvester.cli.signals import Signals
from harvester.engine.harvest import Harvest, run_harvest
from harvester.engine.ports import Event
from harvester.engine.run import Run
from harvester.model import Summary
from harvester.options import Options, base_url_of, plan
from harvester.settings import DEFAULT_DAY_ZONE, REGIONS
from harvester.views.estimate import estimate_lines
from harvester.views.log import notices_to, open_log, writer
from harvester.views.progress import json_line, plain_line, show_bar, show_lines
from harvester.views.summary import closing_line, summary_lines

_POSITIVE = click.IntRange(min=1)


@dataclass(frozen=True, slots=True)
class Screen:
    """What the person wants to see of a run."""

    output: Path
    price: float | None
    progress: str
    verbose: bool
    quiet: bool
    log_file: Path | None
    log_format: str


@click.command(epilog="Example: harvester run ids.txt -o notes.jsonl --rate 5/s --max-charged 1000")
@click.argument("inputs", metavar="[INPUT]...", nargs=-1, type=click.Path(allow_dash=True))
@click.option("-o", "--output", required=True, type=OUTPUT, help="JSONL file to append to.")
@click.option("--token-file", type=click.Path(), help="File holding the token.")
@click.option("--base-url", help="Where the API is [default: the global region].")
@click.option("--region", type=click.Choice(list(REGIONS)), help="Where the API is, by name.")
@click.option("--endpoint", default=DEFAULT_ENDPOINT, show_default=True, help="Name or path.")
@click.option("--accept-cache", is_flag=True, help="Let the API answer from its cache.")
@click.option(
    "--rate", default="5/s", show_default=True, help="Most calls per s, m, h or d; or auto."
)
@click.option("--burst", default=1, show_default=True, type=_POSITIVE, help="Calls at once.")
@click.option("--workers", default="auto", show_default=True, help="Calls in flight at most.")
@click.option("--timeout", default="90", show_default=True, help="Seconds a call may take.")
@click.option("--allow-short-timeout", is_flag=True, help="Let --timeout be under 60 seconds.")
@click.option("--max-attempts", default=6, show_default=True, type=_POSITIVE, help="Per note.")
@click.option("--max-unanswered", default=2, show_default=True, type=click.IntRange(min=0))
@click.option("--backoff-base", default="1", show_default=True, help="First backoff, seconds.")
@click.option("--backoff-cap", default="120", show_default=True, help="Longest, seconds.")
@click.option("--max-notes", type=_POSITIVE, help="Stop after so many notes saved.")
@click.option("--max-calls", type=_POSITIVE, help="Stop after so many calls.")
@click.option("--max-charged", type=_POSITIVE, help="Stop after so many charged calls.")
@click.option("--max-charged-daily", type=_POSITIVE, help="The same per calendar day, over runs.")
@click.option("--max-runtime", help="Stop after so long: 8h, 90m.")
@click.option("--day-timezone", default=DEFAULT_DAY_ZONE, show_default=True)
@price
@click.option("--refresh", help="Also fetch again what is older: 7d.")
@click.option("--retry-failed", is_flag=True, help="Also try rejected notes again.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and send nothing.")
@click.option("--strict", is_flag=True, help="Refuse input with bad lines, before any call.")
@click.option("--id-pattern", help="Regular expression for ids that are not 24 hex digits.")
@click.option("--id-field", help="Field of CSV or JSONL input that holds the id.")
@click.option("--simulate", is_flag=True, help="Run against an embedded simulator; no token.")
@click.option("--rebuild", is_flag=True, help="Take OUTPUT as the truth; mend the ledger.")
@click.option("--sync", is_flag=True, help="Make every line durable at once; slower.")
@click.option(
    "--progress",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "bar", "plain", "json", "none"]),
)
@click.option("-v", "--verbose", is_flag=True, help="One line a call.")
@click.option("-q", "--quiet", is_flag=True, help="Only the closing line.")
@click.option("--log-file", type=OUTPUT, help="Append what happens, a line a call.")
@click.option("--log-format", default="text", type=click.Choice(["text", "json"]))
def run(
    inputs: tuple[str, ...],
    output: Path,
    price: float | None,
    dry_run: bool,  # noqa: FBT001 - click passes flags
    progress: str,
    verbose: bool,  # noqa: FBT001 - the same
    quiet: bool,  # noqa: FBT001 - the same
    log_file: Path | None,
    log_format: str,
    **options: Any,  # noqa: ANN401 - click's values for the keys of `Options`
) -> int:
    """Fetch every note that INPUT names and OUTPUT does not hold yet.

    INPUT: files (text, .csv, .tsv, .jsonl, gzipped or not), or - for standard input; none goes on
    with what is still queued. The token is read from JUSTONEAPI_TOKEN or --token-file. Every option
    may also be set as an environment variable: HARVESTER_RUN_RATE for --rate.
    """
    chosen = cast("Options", options)
    if dry_run:
        for line in estimate_lines(inputs, output, chosen, price):
            click.echo(line)
        return 0
    screen = Screen(output, price, progress, verbose, quiet, log_file, log_format)
    # A run makes few cycles and many short-lived objects: looking for cycles after every 700 of
    # them costs 7 % of a fast run's CPU time.
    gc.set_threshold(20_000, 20, 50)
    with ExitStack() as stack:
        harvest = plan(inputs, output, chosen, _observers(screen, stack))
        _warn(chosen, harvest)
        summary = asyncio.run(_run(harvest, screen))
    _print_summary(summary, screen, _command_to_go_on(inputs))
    return summary.exit_code


def _command_to_go_on(inputs: tuple[str, ...]) -> str:
    """The command that was typed, less its inputs and what is not to be done twice."""
    once = {*inputs, "--rebuild", "--retry-failed"}
    return shlex.join(["harvester", *(word for word in sys.argv[1:] if word not in once)])


def _observers(screen: Screen, stack: ExitStack) -> tuple[Callable[[Event], None], ...]:
    observers = [] if screen.quiet else [notices_to(sys.stderr)]
    if screen.verbose:
        observers.append(writer(sys.stderr, screen.log_format, calls=True))
    if screen.log_file is not None:
        log = stack.enter_context(open_log(screen.log_file))
        observers.append(writer(log, screen.log_format, calls=True))
    return tuple(observers)


def _warn(options: Options, harvest: Harvest) -> None:
    local = ("http://127.", "http://localhost", "http://[::1]")
    if harvest.settings.simulated or not harvest.base_url.startswith("http://"):
        return
    if not harvest.base_url.startswith(local):
        click.echo(
            f"harvester: warning: {base_url_of(options)} is plain HTTP: "
            "the token travels unencrypted.",
            err=True,
        )


async def _run(harvest: Harvest, screen: Screen) -> Summary:
    with Signals() as signals:
        async with _shown(screen) as show:

            def began(run: Run) -> None:
                signals.attach(run)
                show(run)

            return await run_harvest(harvest, began)


@asynccontextmanager
async def _shown(screen: Screen) -> AsyncIterator[Callable[[Run], None]]:
    """Show progress from the moment a run is known, until the block ends."""
    form = screen.progress
    if form == "auto":
        form = "bar" if sys.stderr.isatty() else "plain"
    views: list[asyncio.Task[None]] = []

    def show(run: Run) -> None:
        if form == "bar":
            views.append(asyncio.create_task(show_bar(run, sys.stderr)))
        else:
            line = json_line if form == "json" else plain_line
            views.append(asyncio.create_task(show_lines(run, sys.stderr, line)))

    def show_nothing(_run: Run) -> None:
        return

    try:
        yield show_nothing if form == "none" or screen.quiet else show
    finally:
        for view in views:
            view.cancel()
        await asyncio.gather(*views, return_exceptions=True)


def _print_summary(summary: Summary, screen: Screen, command: str) -> None:
    if not screen.quiet:
        for line in summary_lines(summary, screen.output, screen.price):
            click.echo(line)
    click.echo(closing_line(summary, screen.output, command))
