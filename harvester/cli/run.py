"""`harvester run`: fetch every note that INPUT names and OUTPUT does not hold yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from harvester.api.endpoints import DEFAULT_ENDPOINT
from harvester.cli.completion import Named, endpoint_items
from harvester.cli.helping import option, option_group
from harvester.cli.ledgers import fleet_options
from harvester.cli.options import OUTPUT, Command, Number, day_timezone, price
from harvester.paths import check_apart, check_output
from harvester.settings import REGIONS

if TYPE_CHECKING:
    from harvester.options import Options

_POSITIVE = Number(1)


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
    metavar="[INPUT]...",
    nargs=-1,
    type=click.Path(allow_dash=True),
    help="Files with note ids or links (text, .csv, .tsv, .jsonl, gzipped or not), or - for "
    "standard input. Without any, go on with what is still queued.",
)
@option_group(
    "Input and output",
    option("-o", "--output", required=True, type=OUTPUT, help="JSONL file to append to."),
    option("--id-field", metavar="NAME", help="Field of CSV or JSONL that holds the id."),
    option(
        "--carry",
        metavar="NAMES",
        help="Columns of CSV or JSONL that travel along into the line: campaign,owner; or all.",
    ),
    option("--id-pattern", metavar="REGEX", help="For ids that are not 24 hex digits."),
    option("--strict", is_flag=True, help="Refuse input with bad lines, before any call."),
    option("--rebuild", is_flag=True, help="Take OUTPUT as the truth; mend the ledger."),
    option("--sync", is_flag=True, help="Make every line durable at once; slower."),
)
@option_group(
    "Token and endpoint",
    option("--token-file", type=click.Path(), help="File that holds the token."),
    option(
        "--endpoint",
        metavar="NAME",
        default=DEFAULT_ENDPOINT,
        shell_complete=endpoint_items,
        help="Which API to call, by name or path.",
    ),
    option("--region", type=Named(REGIONS), help="Where the API is, by name."),
    option(
        "--base-url",
        metavar="URL",
        help="Where the API is.  [default: the global region]",
    ),
    option(
        "--proxy",
        metavar="URL",
        help="HTTP proxy to go through: http://NAME:PASSWORD@HOST:PORT. With a password, set it as "
        "HARVESTER_RUN_PROXY. Proxies in the environment are not used.",
    ),
    option("--accept-cache", is_flag=True, help="Let the API answer from its cache."),
    option("--simulate", is_flag=True, help="Call a simulator inside; no token, no costs."),
)
@option_group(
    "Pace",
    option(
        "--rate",
        metavar="RATE",
        default="5/s",
        help="Most calls in a second, minute, hour or day: 5/s, 300/m, 1000/h, 20000/d; or auto, "
        "to find what the server bears.",
    ),
    option(
        "--burst", metavar="N", default=1, type=_POSITIVE, help="Most calls at the same moment."
    ),
    option(
        "--workers",
        metavar="N",
        default="auto",
        help="Most calls in flight; auto follows rate and latency.",
    ),
    option(
        "--timeout",
        metavar="TIME",
        default="120s",
        help="Longest that a call may take.",
    ),
    option("--allow-short-timeout", is_flag=True, help="Let --timeout be under 60 seconds."),
)
@option_group(
    "Patience",
    option(
        "--max-attempts", metavar="N", default=6, type=_POSITIVE, help="Most calls for one note."
    ),
    option(
        "--max-unanswered",
        metavar="N",
        default=2,
        type=Number(0),
        help="Most calls for one note that end without an answer: each may be charged.",
    ),
    option(
        "--backoff-base",
        metavar="TIME",
        default="1s",
        help="Longest wait before the second call for a note; doubles each time.",
    ),
    option("--backoff-cap", metavar="TIME", default="120s", help="Longest wait between two calls."),
)
@option_group(
    "Limits and money",
    option("--max-notes", metavar="N", type=_POSITIVE, help="Stop after N notes saved."),
    option("--max-calls", metavar="N", type=_POSITIVE, help="Stop after N calls."),
    option("--max-charged", metavar="N", type=_POSITIVE, help="Stop after N charged calls."),
    option(
        "--max-charged-daily",
        metavar="N",
        type=_POSITIVE,
        help="Stop after N charged calls in a calendar day, over all runs.",
    ),
    option("--max-runtime", metavar="TIME", help="Stop after so long: 8h, 90m."),
    day_timezone,
    price,
)
@option_group(
    "What to fetch",
    option("--refresh", metavar="AGE", help="Also fetch again what is older: 7d, 12h."),
    option("--retry-failed", is_flag=True, help="Also try rejected notes again."),
    option("--dry-run", is_flag=True, help="Say what would be done, and send nothing."),
)
@option_group(
    "What you see",
    option(
        "--progress",
        metavar="FORM",
        default="auto",
        type=Named(["auto", "bar", "plain", "json", "none"]),
        help="bar, plain, json or none; auto is a bar on a terminal, else plain.",
    ),
    option("-v", "--verbose", is_flag=True, help="One line a call."),
    option("-q", "--quiet", is_flag=True, help="Nothing on success, else one line."),
    option("--log-file", type=OUTPUT, help="Append what happens, a line a call."),
    option(
        "--log-format",
        metavar="FORM",
        default="text",
        type=Named(["text", "json"]),
        help="Form of -v and --log-file: text or json.",
    ),
)
@fleet_options
@option_group(
    "Unattended",
    option(
        "--metrics-file",
        type=OUTPUT,
        help="Keep the run's numbers there for Prometheus (node_exporter's textfile collector).",
    ),
    option(
        "--wait-for-lock",
        metavar="TIME",
        default="0s",
        help="Longest wait for another run that holds OUTPUT: 10m.",
    ),
    option(
        "--on-finish",
        metavar="COMMAND",
        help="Shell command to run at the end, however it comes: it finds HARVESTER_REASON, "
        "HARVESTER_EXIT_CODE, HARVESTER_SUMMARY and the counts in its environment.",
    ),
)
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
    metrics_file: Path | None,
    on_finish: str | None,
    **options: Any,  # noqa: ANN401 - click's values for the keys of `Options`
) -> int:
    """Fetch every note that INPUT names and OUTPUT does not hold yet.

    The token is read from JUSTONEAPI_TOKEN or --token-file. Every option may also be set as an
    environment variable: HARVESTER_RUN_RATE for --rate.
    """
    from harvester.cli.running import estimated, harvested
    from harvester.cli.screen import Screen

    chosen = cast("Options", options)
    check_output(output)
    check_apart(
        {"--log-file": log_file, "--metrics-file": metrics_file},
        [("--token-file", chosen.get("token_file")), *(("INPUT", path) for path in inputs)],
        output=output,
    )
    if dry_run:
        estimated(inputs, output, chosen, price, is_quiet=quiet)
        return 0
    screen = Screen(output, price, progress, verbose, quiet, log_file, log_format, metrics_file)
    return harvested(inputs, screen, chosen, on_finish)
