"""What `harvester run` does: plan, show, harvest, and say how it ended."""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.ledgers import known_to_all
from harvester.cli.on_finish import OnFinish
from harvester.cli.screen import Screen, measured, observers_of, print_summary, shown
from harvester.cli.signals import Signals
from harvester.cli.stopping import stopped_by
from harvester.engine.harvest import Harvest, is_local, run_harvest
from harvester.engine.run import Run
from harvester.engine.waiting import done_in_time
from harvester.halt import Halt
from harvester.ledger.fleet import without_password
from harvester.model import Summary
from harvester.options import Options, plan
from harvester.plain import plain
from harvester.secret import revealed
from harvester.tokens import doubt_about
from harvester.views.summary import closing_line

if TYPE_CHECKING:
    from harvester.views.metrics import MetricsFile


def estimated(
    inputs: tuple[str, ...],
    output: Path,
    options: Options,
    price: float | None,
    *,
    is_quiet: bool,
) -> None:
    """Say what a run would do, and send nothing."""
    with Signals() as signals:
        lines = asyncio.run(
            _estimated(partial(plan, inputs, output, options), options, price, signals, is_quiet)
        )
    for line in lines:
        click.echo(line)


async def _estimated(
    planned: Callable[[], Harvest],
    options: Options,
    price: float | None,
    signals: Signals,
    is_quiet: bool,  # noqa: FBT001 - the caller's
) -> list[str]:
    from harvester.views.estimate import estimate_lines

    halt = Halt()
    with stopped_by(signals):
        harvest = await done_in_time(planned, halt, None)
        _warn(options, harvest, is_quiet=is_quiet)

        def estimate() -> list[str]:
            with known_to_all(harvest.fleet) as reader:
                return list(estimate_lines(harvest, reader, price, halt.look))

        return await done_in_time(estimate, halt, harvest.settings.limits.max_runtime)


def harvested(
    inputs: tuple[str, ...], screen: Screen, options: Options, on_finish: str | None
) -> int:
    """Run a harvest, and show what the screen is to show; gives the exit code."""
    # A run makes few cycles and many short-lived objects: looking for cycles after every 700 of
    # them costs 7 % of a fast run's CPU time.
    gc.set_threshold(20_000, 20, 50)
    say = partial(click.echo, err=True)
    with Signals() as signals, OnFinish(on_finish, screen.output, say, signals) as finish:
        with ExitStack() as stack:
            metrics = stack.enter_context(measured(screen))
            observers = observers_of(screen, stack, metrics)
            planned = partial(plan, inputs, screen.output, options, observers)
            summary = asyncio.run(_run(planned, options, screen, metrics, signals))
        closing = closing_line(summary, screen.output, _command_to_go_on(inputs, options))
        finish.ended(summary, closing)
        print_summary(summary, screen, closing)
    return summary.exit_code


def _command_to_go_on(inputs: tuple[str, ...], options: Options) -> str:
    """The command that was typed, fit to be shown, less its inputs and what is not done twice."""
    once = {*inputs, "--rebuild", "--retry-failed"}
    words = ["harvester", *(word for word in _without_hook(sys.argv[1:]) if word not in once)]
    for url in filter(None, (revealed(options.get("ledger")), revealed(options.get("proxy")))):
        words = [word.replace(url, without_password(url)) for word in words]
    return shlex.join(words)


def _without_hook(words: Sequence[str]) -> Iterator[str]:
    """A command without --on-finish: what that runs may hold keys, and cron mails what is shown."""
    rest = iter(words)
    for word in rest:
        if word == "--on-finish":
            next(rest, None)
        elif not word.startswith("--on-finish="):
            yield word


def _warn(options: Options, harvest: Harvest, *, is_quiet: bool) -> None:
    warnings = [] if is_quiet else warnings_about(options, harvest)
    for warning in (*unencrypted(harvest), *warnings):
        click.echo(f"harvester: warning: {warning}", err=True)


def unencrypted(harvest: Harvest) -> Iterator[str]:
    """What is said of a token that travels in the open, however quiet a run is to be."""
    if harvest.base_url.startswith("http://") and not is_local(harvest.base_url):
        yield f"{harvest.base_url} is plain HTTP: the token travels unencrypted."


def warnings_about(options: Options, harvest: Harvest) -> Iterator[str]:
    """What endangers a password or the token; the embedded simulator takes any."""
    ledger = revealed(options.get("ledger")) or ""
    if without_password(ledger) != ledger and any(ledger in word for word in sys.argv):
        yield (
            "the password in --ledger shows in the list of processes: put the address in "
            "HARVESTER_LEDGER, or the password in PGPASSWORD or ~/.pgpass."
        )
    if harvest.settings.simulated:
        return
    proxy = revealed(options.get("proxy")) or ""
    if without_password(proxy) != proxy and any(proxy in word for word in sys.argv):
        yield (
            "the password in --proxy shows in the list of processes: put the URL in "
            "HARVESTER_RUN_PROXY."
        )
    yield from dict.fromkeys(
        filter(None, (doubt_about(token.reveal()) for token in harvest.tokens))
    )
    token_file = options.get("token_file")
    if token_file is not None and _is_open_to_others(Path(token_file)):
        name = plain(shlex.quote(os.fspath(token_file)))
        yield f"others can read the token in {name}: keep it to yourself with `chmod 600 {name}`."


def _is_open_to_others(path: Path) -> bool:
    """Whether a file's mode lets anybody but its owner at it; of pipes it says nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


async def _run(
    planned: Callable[[], Harvest],
    options: Options,
    screen: Screen,
    metrics: MetricsFile | None,
    signals: Signals,
) -> Summary:
    with stopped_by(signals) as stopping:
        # What is named may be a pipe that nobody writes to.
        harvest = await done_in_time(planned, Halt(), None)
        _warn(options, harvest, is_quiet=screen.quiet)
        async with shown(screen, metrics) as show:

            def began(run: Run) -> None:
                stopping.attach(run, harvest.settings.calling.timeout)
                show(run)

            return await run_harvest(harvest, began)
