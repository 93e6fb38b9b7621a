"""`harvester simulate`: a local server that behaves as the API does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from harvester.api.endpoints import endpoint_name, endpoint_path
from harvester.cli.choices import SuggestingChoice
from harvester.cli.helping import option, option_group
from harvester.cli.params import Command, Parsed
from harvester.errors import UsageError
from harvester.parsing import read_amount, read_duration, read_share, read_text, whole

if TYPE_CHECKING:
    from harvester.simulator import SimulatorSettings

_NUMBER, _TIME = Parsed(whole(0)), Parsed(read_duration)
_AMOUNT, _SHARE = Parsed(read_amount), Parsed(read_share)
_ENDPOINT = Parsed(lambda value: endpoint_path(endpoint_name(read_text(value))))
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
        help="Successful calls of an endpoint a day; 0: no end.",
    ),
    option(
        "--balance",
        metavar="CNY",
        default=0,
        type=_AMOUNT,
        help="What the account holds; 0: no end.",
    ),
    option("--price", metavar="CNY", default=1, type=_AMOUNT, help="Price of a charged call."),
    option(
        "--account-lag",
        metavar="TIME",
        default=0,
        type=_TIME,
        help="How far the page of the balance is behind.",
    ),
    option(
        "--token-budget",
        metavar="N",
        default=0,
        type=_NUMBER,
        help="Charged calls of each token; 0: no end.",
    ),
    option("--fail", multiple=True, metavar="CODE=SHARE", help="Such as 301=0.05; repeatable."),
    option(
        "--missing",
        metavar="SHARE",
        default=0,
        type=_SHARE,
        help="Share of notes that are gone: 0.02.",
    ),
    option(
        "--empty",
        metavar="SHARE",
        default=0,
        type=_SHARE,
        help="Share of notes with nothing in their data: 0.02.",
    ),
    option(
        "--gone",
        metavar="NAME",
        multiple=True,
        type=_ENDPOINT,
        help="An endpoint that is no more; repeatable.",
    ),
    option(
        "--deprecated",
        metavar="NAME",
        multiple=True,
        type=_ENDPOINT,
        help="An endpoint that only answers 301; repeatable.",
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
    fail: tuple[str, ...],
    **settings: Any,  # noqa: ANN401 - each is a setting's name and value
) -> None:
    """Serve the note-detail family and its account, for practice and tests.

    What was called and charged is at /_simulator/charges. Ends with Ctrl-C.
    """
    import asyncio

    from harvester.simulator import SimulatorSettings

    asyncio.run(_serve(SimulatorSettings(fail=_shares(fail), **settings), host, port))


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
