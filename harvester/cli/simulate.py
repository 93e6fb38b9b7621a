"""`harvester simulate`: a local server that behaves as the API does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

import click

from harvester.cli.choices import SuggestingChoice
from harvester.cli.helping import option, option_group
from harvester.cli.params import Command, Parsed
from harvester.errors import UsageError
from harvester.parsing import read_duration, read_share, whole

if TYPE_CHECKING:
    from harvester.simulator import SimulatorSettings

_NUMBER, _TIME = Parsed(whole(0)), Parsed(read_duration)
_CODE = whole(1)


@click.command(
    cls=Command,
    examples=(
        "harvester simulate --rate-limit 5 --fail 301=0.1 --daily-quota 1000",
        "JUSTONEAPI_TOKEN=any harvester run ids.txt -o x.jsonl --base-url http://127.0.0.1:8080",
    ),
)
@option_group(
    "Where to listen",
    option("--host", metavar="HOST", default="127.0.0.1", help="Address to listen on."),
    option(
        "--port",
        metavar="PORT",
        default=8080,
        type=Parsed(whole(0, 65535)),
        help="Port to listen on; 0 is any that is free.",
    ),
)
@option_group(
    "How it answers",
    option("--latency", metavar="TIME", default="50ms", type=_TIME, help="What an answer takes."),
    option("--jitter", metavar="TIME", default="20ms", type=_TIME, help="Give or take so much."),
    option(
        "--rate-limit", metavar="N", default=0, type=_NUMBER, help="Calls a second; 0: no limit."
    ),
    option(
        "--daily-quota",
        metavar="N",
        default=0,
        type=_NUMBER,
        help="Charged calls a day; 0: no end.",
    ),
    option(
        "--balance", metavar="N", default=0, type=_NUMBER, help="Charged calls in all; 0: no end."
    ),
    option("--fail", multiple=True, metavar="CODE=SHARE", help="Such as 301=0.05; repeatable."),
    option(
        "--missing",
        metavar="SHARE",
        default=0,
        type=Parsed(read_share),
        help="Share of notes that are gone: 0.02.",
    ),
    option(
        "--http-status",
        metavar="FORM",
        default="mapped",
        type=SuggestingChoice(["mapped", "always-200"]),
        help="mapped as newer deployments do, or always-200 as older ones.",
    ),
    option("--seed", metavar="N", default=0, help="The same seed, the same story."),
)
def simulate(
    host: str,
    port: int,
    latency: float,
    jitter: float,
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
    import asyncio

    from harvester.simulator import SimulatorSettings

    settings = SimulatorSettings(
        latency=latency,
        jitter=jitter,
        rate_limit=rate_limit,
        daily_quota=daily_quota,
        balance=balance,
        fail=_shares(fail),
        missing=missing,
        http_status=cast("Literal['mapped', 'always-200']", http_status),
        seed=seed,
    )
    asyncio.run(_serve(settings, host, port))


def _shares(texts: Sequence[str]) -> dict[int, float]:
    """The share of calls that each code fails; raises UsageError where they are more than all."""
    shares: dict[int, float] = {}
    for text in texts:
        code, _, share = text.partition("=")
        try:
            shares[_CODE(code)] = read_share(share)
        except ValueError:
            raise UsageError(f"--fail {text!r} is not like 301=0.05.") from None
    total = math.fsum(shares.values())
    if total > 1:
        raise UsageError(f"the shares of --fail add up to {total:g}, more than 1.")
    return shares


async def _serve(settings: SimulatorSettings, host: str, port: int) -> None:
    import asyncio
    import signal

    from harvester.simulator.server import serving

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with serving(settings, host, port) as server:
        click.echo(f"simulating the API at {server.url} (Ctrl-C ends it)")
        await stopping.wait()
