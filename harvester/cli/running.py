"""What `harvester run` does: plan, show, harvest, and say how it ended."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from harvester.api.proxy import Proxy
from harvester.cli.ledgers import known_to_all
from harvester.cli.on_finish import OnFinish
from harvester.cli.screen import measured, observers_of, print_summary, shown
from harvester.cli.signals import Signals
from harvester.cli.stopping import stopped_by
from harvester.cli.streams import complain, warn
from harvester.cli.telling import say, tell
from harvester.config import LEDGER_VARIABLE, ConsoleOptions, RunConfig
from harvester.console.summary import Ran, closing_line, summary_lines, summary_told
from harvester.engine.clients import practised
from harvester.engine.links import in_turn
from harvester.engine.open_run import open_run
from harvester.engine.ports import Observer
from harvester.errors import HarvesterError
from harvester.halt import Halt
from harvester.ledger.fleet import without_password
from harvester.model import Summary
from harvester.observe.webhooks import Webhooks
from harvester.sanitize import sanitize
from harvester.threads import done_in_time
from harvester.tokens import doubt_about

if TYPE_CHECKING:
    from harvester.console.dry_run import Estimate
    from harvester.observe.metrics import MetricsFile

# How many lines of the summary are told to webhooks: calls and answers, notes and charges.
_TOLD = 2
# Names of what a spreadsheet or a database opens, which JSON lines are not.
_OF_TABLES = frozenset({".csv", ".tsv", ".xls", ".xlsx", ".parquet", ".sqlite"})


def estimated(read: Callable[[], RunConfig], console: ConsoleOptions) -> None:
    """Say what a run would do, and send nothing."""
    from harvester.console.dry_run import estimate_lines

    with Signals() as signals:
        config, found = asyncio.run(_estimated(read, console, signals))
    for line in estimate_lines(config, found):
        say(line)
    tell(found)


async def _estimated(
    read: Callable[[], RunConfig], console: ConsoleOptions, signals: Signals
) -> tuple[RunConfig, Estimate]:
    from harvester.console.dry_run import estimate

    halt = Halt()
    with stopped_by(signals):
        config = await done_in_time(read, halt, None)
        _warn(config, console)

        def estimated() -> Estimate:
            with known_to_all(config.fleet) as reader:
                return estimate(config, reader, halt.look)

        return config, await done_in_time(estimated, halt, config.max_runtime)


def harvested(
    read: Callable[[], RunConfig], output: Path, console: ConsoleOptions, proxy: Proxy | None
) -> int:
    """Run a harvest, and show what the console is to show; gives the exit code.

    Webhooks are told through `proxy`, also of a config that cannot be read.
    """
    webhooks = Webhooks(console.notify, proxy, complain)
    with (
        Signals() as signals,
        OnFinish(console.on_finish, webhooks, output, complain, signals) as finish,
    ):
        with ExitStack() as stack:
            metrics = stack.enter_context(measured(console, output))
            observers: tuple[Observer, ...] = (*observers_of(console, stack, metrics), finish)
            ran = asyncio.run(_run(read, console, observers, metrics, signals))
        config, summary = ran[-1]
        closing = closing_line(summary, output, _command_to_go_on(config))
        lines = [
            *summary_lines(summary, config.output, config.price),
            *_with_runs_before(config, summary),
        ]
        told = summary_told(ran, closing)
        finish.ended(told, islice(lines, _TOLD))
        print_summary(summary, console, told, lines)
    return summary.exit_code


def _with_runs_before(config: RunConfig, summary: Summary) -> Iterator[str]:
    """What all runs cost by the vendor's word, where this one asked; the ledger has it."""
    if summary.spending is None:
        return
    from harvester.ledger.sqlite.reading import ledger_path, reading
    from harvester.status.runs import spent_in_all

    with suppress(HarvesterError), reading(ledger_path(config.output.resolve())) as reader:
        told = spent_in_all(reader, config.price)
        if told is not None:
            yield f"with the runs before, {told}"


def _command_to_go_on(config: RunConfig) -> str:
    """The command that was typed, fit to be shown, less its inputs and what is not done twice."""
    inputs = config.inputs if isinstance(config.inputs, tuple) else ()
    # The notes behind links are known once all of those are resolved, and not before.
    inputs = () if config.resolve_links else inputs
    once = {*inputs, "--rebuild", "--retry-failed"}
    words = ["harvester", *(word for word in _without_hooks(sys.argv[1:]) if word not in once)]
    return shlex.join(without_password(word) for word in words)


def _without_hooks(words: Sequence[str]) -> Iterator[str]:
    """A command without whom it tells of its end: cron mails what is shown, and they hold keys."""
    hooks, rest = ("--on-finish", "--notify"), iter(words)
    for word in rest:
        if word in hooks:
            next(rest, None)
        elif word.partition("=")[0] not in hooks:
            yield word


def _warn(config: RunConfig, console: ConsoleOptions) -> None:
    warnings = [] if console.quiet else warnings_about(config, console)
    for warning in (*unencrypted(config), *warnings):
        warn(warning)


def unencrypted(config: RunConfig) -> Iterator[str]:
    """What is said of a token that travels in the open, however quiet a run is to be."""
    if config.base_url.startswith("http://") and not config.is_local:
        yield f"{config.base_url} is plain HTTP: the token travels unencrypted."


def warnings_about(config: RunConfig, console: ConsoleOptions) -> Iterator[str]:
    """What endangers a secret; the embedded simulator takes any token."""
    if any(url.reveal() in word for url in console.notify for word in sys.argv):
        yield (
            "a URL of --notify in the command shows in the list of processes, and whoever knows it "
            "can use it: put it in HARVESTER_RUN_NOTIFY, or in a file for --notify-file."
        )
    if any(without_password(word) != word for word in _without_hooks(sys.argv[1:])):
        yield (
            "a password in the command shows in the list of processes: put the address of --ledger "
            "in HARVESTER_LEDGER, or its password in PGPASSWORD or ~/.pgpass; the URL of --proxy "
            "in HARVESTER_RUN_PROXY."
        )
    if config.output.suffix.lower() in _OF_TABLES:
        yield (
            f"{sanitize(config.output.name)} holds JSON lines, whatever its name says: `harvester "
            "export` makes tables of an OUTPUT."
        )
    if os.environ.get(LEDGER_VARIABLE) and config.fleet is None:
        yield f"{LEDGER_VARIABLE} is for parts of a fleet: the ledger is the one beside OUTPUT."
    secrets = {"the URLs": console.notify_file}
    if not config.simulate:
        doubts = (doubt_about(token.reveal()) for token in config.tokens)
        yield from dict.fromkeys(filter(None, doubts))
        secrets["the token"] = config.token_file
    for what, file in secrets.items():
        if file is not None and _is_open_to_others(file):
            name = sanitize(shlex.quote(os.fspath(file)))
            yield f"others can read {what} in {name}: keep it to yourself with `chmod 600 {name}`."


def _is_open_to_others(path: Path) -> bool:
    """Whether a file's mode lets anybody but its owner at it; of pipes it says nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


async def _run(
    read: Callable[[], RunConfig],
    console: ConsoleOptions,
    observers: tuple[Observer, ...],
    metrics: MetricsFile | None,
    signals: Signals,
) -> list[Ran]:
    with stopped_by(signals) as stopping:
        # What holds the token may be a pipe that nobody writes to.
        config = await done_in_time(read, Halt(), None)
        _warn(config, console)

        ran: list[Ran] = []

        async def go(config: RunConfig, stdin: BinaryIO | None) -> Summary:
            for done, summary in ran if not console.quiet else ():
                for line in summary_lines(summary, done.output, done.price):
                    say(line)
            async with shown(console, metrics) as show, open_run(config, observers, stdin) as run:
                stopping.attach(run, config.timeout)
                show(run)
                ran.append((config, await run.run()))
            return ran[-1][1]

        async with practised(config) as practice:
            summary = await in_turn(practice, go)
        # Of links it says so.
        return [*ran[:-1], (ran[-1][0], summary)]
