"""`harvester simulate`: a local server that behaves as the API does."""

from __future__ import annotations

import asyncio
import signal
from typing import Literal, cast

import click

from harvester.errors import UsageError
from harvester.settings import parse_duration
from harvester.simulator import SimulatorSettings, serve_forever

_NUMBER = click.IntRange(min=0)


@click.command(
    epilog="Example: harvester simulate --rate-limit 5 --fail 301=0.1 --daily-quota 1000"
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option("--latency", default="50ms", show_default=True, help="How long an answer takes.")
@click.option("--jitter", default="20ms", show_default=True, help="Give or take.")
@click.option("--rate-limit", default=0, type=_NUMBER, help="Calls a second; 0 is unlimited.")
@click.option("--daily-quota", default=0, type=_NUMBER, help="Charged calls a day.")
@click.option("--balance", default=0, type=_NUMBER, help="Charged calls in all.")
@click.option("--fail", multiple=True, metavar="CODE=SHARE", help="Such as 301=0.05; repeatable.")
@click.option("--missing", default=0.0, type=click.FloatRange(0, 1), help="Share of notes gone.")
@click.option(
    "--http-status",
    default="mapped",
    show_default=True,
    type=click.Choice(["mapped", "always-200"]),
    help="The newer or the older deployments' way.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed, the same story.")
def simulate(
    host: str,
    port: int,
    latency: str,
    jitter: str,
    rate_limit: int,
    daily_quota: int,
    balance: int,
    fail: tuple[str, ...],
    missing: float,
    http_status: str,
    seed: int,
) -> None:
    """Serve the note-detail family locally, for practice and tests.

    What was called and charged is at /_simulator/charges. Ends with Ctrl-C.
    """
    settings = SimulatorSettings(
        latency=parse_duration(latency),
        jitter=parse_duration(jitter),
        rate_limit=rate_limit,
        daily_quota=daily_quota,
        balance=balance,
        fail=dict(_share(text) for text in fail),
        missing=missing,
        http_status=cast("Literal['mapped', 'always-200']", http_status),
        seed=seed,
    )
    asyncio.run(_serve(settings, host, port))


def _share(text: str) -> tuple[int, float]:
    code, _, share = text.partition("=")
    try:
        return int(code), float(share)
    except ValueError:
        raise UsageError(f"--fail {text!r} is not like 301=0.05.") from None


async def _serve(settings: SimulatorSettings, host: str, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)

    def ready(url: str) -> None:
        click.echo(f"simulating the API at {url} (Ctrl-C ends it)")

    await serve_forever(settings, host, port, ready=ready, stopping=stopping)
