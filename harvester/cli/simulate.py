"""`harvester simulate`: a local server that behaves as the API does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from harvester.api.endpoints import endpoint_name, endpoint_path
from harvester.cli.choices import SuggestingChoice
from harvester.cli.helping import option, option_group
from harvester.cli.params import Command, F, Parsed
from harvester.errors import UsageError
from harvester.parsing import Reader, read_amount, read_duration, read_share, read_text, whole

if TYPE_CHECKING:
    from harvester.simulator import SimulatorSettings

_CODE = whole(1)


def _option(
    name: str,
    metavar: str,
    default: object,
    reader: Reader,
    help: str,  # noqa: A002 - click's word
) -> Callable[[F], F]:
    """An option with a reader; one without a default may be repeated."""
    many = default is None
    return option(
        name, metavar=metavar, default=default, type=Parsed(reader), help=help, multiple=many
    )


def _read_path(value: object) -> str:
    return endpoint_path(endpoint_name(read_text(value)))


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
    _option("--port", "PORT", 8080, whole(0, 65535), "Port to listen on; 0 is any that is free."),
)
@option_group(
    "How it answers",
    _option("--latency", "TIME", "50ms", read_duration, "What an answer takes."),
    _option("--jitter", "TIME", "20ms", read_duration, "Give or take so much."),
    _option("--rate-limit", "N", 0, whole(0), "Calls a second; 0: no limit."),
    _option("--daily-quota", "N", 0, whole(0), "Successful calls of an endpoint a day; 0: no end."),
    _option("--balance", "CNY", 0, read_amount, "What the account holds; 0: no end."),
    _option("--price", "CNY", 1, read_amount, "Price of a charged call."),
    _option(
        "--account-lag", "TIME", 0, read_duration, "How far the page of the balance is behind."
    ),
    _option("--token-budget", "N", 0, whole(0), "Charged calls of each token; 0: no end."),
    option("--fail", multiple=True, metavar="CODE=SHARE", help="Such as 301=0.05; repeatable."),
    _option("--missing", "SHARE", 0, read_share, "Share of notes that are gone: 0.02."),
    _option("--empty", "SHARE", 0, read_share, "Share of notes with nothing in their data: 0.02."),
    _option("--gone", "NAME", None, _read_path, "An endpoint that is no more; repeatable."),
    _option("--deprecated", "NAME", None, _read_path, "One that only answers 301; repeatable."),
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
        click.echo(
            f"simulating the API at {server.url} (Ctrl-C ends it); in another terminal:\n"
            "  JUSTONEAPI_TOKEN=practice-token harvester run INPUT -o practice.jsonl "
            f"--base-url {server.url}"
        )
        await stopping.wait()
