"""Every option of a run once: its default, what reads it, its help; each way in is made from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from decimal import Decimal
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Struct, structs

from harvester.api.endpoints import DEFAULT_ENDPOINT, RESOLVER, endpoint_name
from harvester.api.proxy import Proxy, read_proxy
from harvester.errors import OptionError, UsageError
from harvester.formatting import hint
from harvester.ledger.fleet import FleetAddress
from harvester.option import file_option, flag_option, option, options_in, read_options, token_place
from harvester.parsing import (
    ALWAYS,
    Rate,
    long_duration,
    one_of,
    or_always,
    or_auto,
    read_amount,
    read_base_url,
    read_duration,
    read_encoding,
    read_names,
    read_positive_duration,
    read_rate,
    read_said,
    read_text,
    read_timezone,
    read_webhooks,
    whole,
)
from harvester.paths import check_apart, check_output, is_same, output_of
from harvester.results import check_earlier
from harvester.rules.backoff import RetryLimits
from harvester.rules.budget import Limits
from harvester.secret import Secret, revealed
from harvester.sides import Side
from harvester.source.options import FORMS, InputOptions, Inputs
from harvester.tokens import chosen_tokens, secret_text

if TYPE_CHECKING:
    from harvester.api.redaction import Redaction

# How a file of metrics begins.
_OF_METRICS = b"# HELP harvester_"
# The vendor's page: "Set request timeout to at least 60 seconds."
SHORTEST_TIMEOUT = 60.0
REGIONS = {
    "global": "https://api.justoneapi.com",
    "cn": "http://47.117.133.51:30015",
}
BASE_URL_VARIABLE = "JUSTONEAPI_BASE_URL"
# Where the address of the ledger that hosts share may stand.
LEDGER_VARIABLE = "HARVESTER_LEDGER"
# What `--rate auto` never goes beyond: the fastest pace that was measured to be held.
FASTEST = Rate(1000, 1.0)
SIMULATED_TOKEN = "simulated"  # noqa: S105 - any word will do there

# Where no number is named, workers are as many as rate and latency want, up to these.
_MOST_WORKERS = 1024
# More names than these are note ids, not files.
_MOST_PATHS = 10_000
# What a file that is read is, as a person knows it, and its path.
FileRead = tuple[str, str | os.PathLike[str] | None]


_INPUT, _API, _PACE = "Input and output", "Token and endpoint", "Pace"
_RETRIES, _LIMITS, _FETCH = "Retries", "Limits and money", "What to fetch"
_FLEET, _NIGHT, _SEEN = "More than one machine", "Unattended", "What you see"
_limit = partial(option, None, whole(1), _LIMITS, metavar="N")
_name = partial(option, None, read_said)


class RunConfig(Struct, frozen=True, kw_only=True):
    """All that a run is told; durations are seconds.

    `tokens` may be one or more; `resolve` tells the note that a short link leads to, and is None
    where that is not to be known. `base_url` is where to call, `rate` None is to be found,
    `workers` None follows rate and latency. Nothing is opened by it but a token's file.
    """

    output: Path
    inputs: Inputs = ()
    tokens: tuple[Secret[str], ...] = ()
    resolve: Callable[[str], str | None] | None = None

    id_field: Sequence[str] = option(
        (),
        read_names,
        _INPUT,
        "Column or JSON field that holds the id, the first that is there; repeatable, and may be "
        "dotted: data.noteId.",
        "NAME",
        is_many=True,
    )
    carry: str | Sequence[str] | None = option(
        None,
        lambda names: names,
        _INPUT,
        "Columns of a list that travel along into the line: campaign,owner; or all.",
        "NAMES",
    )
    input_format: str | None = option(
        None, one_of(FORMS), _INPUT, "What INPUT is, where its content does not tell.", names=FORMS
    )
    encoding: str | None = option(
        None, read_encoding, _INPUT, "Encoding of INPUT, where its content does not tell.", "NAME"
    )
    id_pattern: str | None = _name(_INPUT, "For ids that are not 24 hex digits.", "REGEX")
    resolve_links: bool = flag_option(
        _INPUT, "First have the vendor resolve short links, by a paid call each."
    )
    strict: bool = flag_option(_INPUT, "Refuse input with bad lines, before any call.")
    rebuild: bool = flag_option(
        _INPUT, "Take OUTPUT as the truth and mend the ledger: what it lacks is paid for again."
    )
    sync: bool = flag_option(_INPUT, "Make every line durable at once; slower.")

    token_file: Path | None = option(
        None, token_place, _API, "File that holds the token.", is_file=True, is_secret=True
    )
    endpoint: str = option(
        DEFAULT_ENDPOINT,
        lambda value: endpoint_name(read_text(value)),
        _API,
        "Which API to call, by name or path.",
        "NAME",
    )
    region: str | None = option(
        None, one_of(REGIONS), _API, "Where the API is, by name.", names=tuple(REGIONS)
    )
    base_url: str = option(
        "",
        read_text,
        _API,
        "Where the API is.  [default: the global region]",
        "URL",
        is_secret=True,
    )
    proxy: Proxy | None = option(
        None,
        lambda value: read_proxy(read_text(value)),
        _API,
        "HTTP proxy to go through: http://NAME:PASSWORD@HOST:PORT. With a password, set it as "
        "HARVESTER_RUN_PROXY. Proxies in the environment are not used.",
        "URL",
        is_secret=True,
    )
    accept_cache: bool = flag_option(_API, "Let the API answer from its cache.")
    simulate: bool = flag_option(_API, "Call a simulator inside; no token, no costs.")

    max_notes: int | None = _limit("Stop after N notes saved.")
    max_calls: int | None = _limit("Stop after N calls.")
    max_charged: int | None = _limit("Stop after N charged calls.")
    max_charged_daily: int | None = _limit(
        "Stop after N charged calls in a calendar day, over all runs."
    )
    max_runtime: float | None = option(
        None, long_duration("h"), _LIMITS, "Stop after so long: 8h, 90m.", "TIME"
    )
    wait_quota: float | None = option(
        None,
        or_always(long_duration("h")),
        _LIMITS,
        "Where the daily quota or --max-charged-daily is used up, wait for the next day and go on; "
        "in all at most MAX: 12h.",
        "[=MAX]",
        bare=ALWAYS,
    )
    # The vendor's calendar day is taken to be China's.
    day_timezone: ZoneInfo = option(
        "Asia/Shanghai", read_timezone, _LIMITS, "Time zone in which a day begins.", "ZONE"
    )
    price: Decimal | None = option(
        None,
        read_amount,
        _LIMITS,
        "Price of one charged call, to tell costs; else what the balance showed.",
        "PRICE",
    )
    no_account: bool = flag_option(_LIMITS, "Do not ask the vendor for the balance.")

    refresh: float | None = option(
        None, long_duration("d"), _FETCH, "Also fetch again what is older: 7d, 12h.", "AGE"
    )
    retry_failed: bool = flag_option(
        _FETCH, "Also try rejected notes again; those with 201 are paid for again."
    )

    rate: Rate | None = option(
        "5/s",
        or_auto(read_rate),
        _PACE,
        "Most calls in a second, minute, hour or day: 5/s, 300/m, 1000/h, 20000/d; or auto, "
        "to find what the server bears.",
        "RATE",
    )
    burst: int = option(1, whole(1), _PACE, "Most calls at the same moment.", "N")
    workers: int | None = option(
        "auto",
        or_auto(whole(1)),
        _PACE,
        "Most calls in flight; auto follows rate and latency.",
        "N",
    )
    timeout: float = option(
        "120s", read_positive_duration, _PACE, "Longest that a call may take.", "TIME"
    )
    allow_short_timeout: bool = flag_option(_PACE, "Let --timeout be under 60 seconds.")

    max_attempts: int = option(6, whole(1), _RETRIES, "Most calls for one note.", "N")
    max_unanswered: int = option(
        2,
        whole(0),
        _RETRIES,
        "Most calls for one note that end without an answer: each may be charged.",
        "N",
    )
    backoff_base: float = option(
        "1s",
        read_duration,
        _RETRIES,
        "Longest wait before the second call for a note; doubles each time.",
        "TIME",
    )
    backoff_cap: float = option(
        "120s", read_duration, _RETRIES, "Longest wait between two calls.", "TIME"
    )

    wait_for_lock: float = option(
        "0s",
        long_duration("m"),
        _NIGHT,
        "Longest wait for another run that holds OUTPUT: 10m.",
        "TIME",
    )

    ledger: Secret[str] | None = option(
        None,
        lambda value: Secret(read_said(value)),
        _FLEET,
        "PostgreSQL that holds the ledger of all hosts: postgresql://USER@HOST/DATABASE.",
        "URL",
        is_secret=True,
        variable=LEDGER_VARIABLE,
    )
    harvest: str | None = _name(
        _FLEET, "Which harvest of that database.  [default: default]", "NAME"
    )

    @classmethod
    def read(
        cls,
        inputs: Inputs,
        output: str | os.PathLike[str],
        said: Mapping[str, object],
        token: Secret[str | Sequence[str]] | None = None,
    ) -> Self:
        """The config of options by name, as a person or a program says them; all may be left out.

        Checks all that can be checked before OUTPUT is touched. Raises UsageError; TypeError for a
        name that is no option.
        """
        values = read_options(cls, said)
        config = cls(output=output_of(output), inputs=inputs, **values)
        check_output(config.output)
        if _is_another_ledger(config):
            config = structs.replace(config, ledger=None)
        check_apart({}, config.files_read(), output=config.output)
        _check_list(config)
        _check_timeout(config, said)
        _check_fleet(config)
        if not config.has_input and config.fleet is None:
            _check_begun(config.output)
        if config.simulate:
            practice = (Secret(SIMULATED_TOKEN),)
            return structs.replace(config, tokens=practice, base_url="", proxy=None)
        tokens = chosen_tokens(token, config.token_file)
        base_url = _base_url(revealed(said.get("base_url")), config.region)
        return structs.replace(config, tokens=tokens, base_url=base_url)

    @property
    def has_input(self) -> bool:
        """Whether anything is named, rather than gone on with."""
        return not (isinstance(self.inputs, Sized) and len(self.inputs) == 0)

    @property
    def top_rate(self) -> Rate:
        """The rate that is never exceeded."""
        return self.rate or FASTEST

    @property
    def redaction(self) -> Redaction:
        """What masks every token of the run, and what a proxy is told, in what others say."""
        from harvester.api.redaction import Redaction  # noqa: PLC0415 - not for commands that only read options

        return Redaction((*self.tokens, *(self.proxy.secrets if self.proxy is not None else ())))

    @property
    def most_workers(self) -> int:
        """Calls in flight with each token, at most."""
        return self.workers or _MOST_WORKERS

    @property
    def is_local(self) -> bool:
        """Whether the API is on this machine, where a simulator may answer."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    @property
    def limits(self) -> Limits:
        """The run's own limits."""
        return Limits(self.max_notes, self.max_calls, self.max_charged, self.max_charged_daily)

    @property
    def retry_limits(self) -> RetryLimits:
        """How often, and after how long, a note is called for again."""
        return RetryLimits(
            self.max_attempts, self.max_unanswered, self.backoff_base, self.backoff_cap
        )

    @property
    def input_options(self) -> InputOptions:
        """How INPUT is to be read, and what of it nobody is to be told."""
        return InputOptions(
            self.id_pattern,
            self.id_field,
            self.carry,
            self.strict,
            self.input_format,
            self.encoding,
            self.resolve,
            self._links_wanted,
            self.redaction.text,
        )

    @property
    def _links_wanted(self) -> Literal["all", "some"] | None:
        """Whether the ids are links, of which the lists hold some, or nothing else."""
        if self.endpoint != RESOLVER:
            return None
        return "some" if self.resolve_links else "all"

    @property
    def fleet(self) -> FleetAddress | None:
        """The harvest that hosts share, if this is one."""
        url = None if self.ledger is None else self.ledger.reveal()
        return FleetAddress.named(url, self.harvest)

    def files_read(self) -> Iterator[FileRead]:
        """The files that a run reads, by what they are."""
        return files_read(self.inputs, self.token_file)


def files_read(inputs: Inputs, token_file: Path | None) -> Iterator[FileRead]:
    """The files that are read, by what they are; of note ids nobody asks if they are."""
    yield "--token-file", token_file
    if isinstance(inputs, str | os.PathLike):
        yield "INPUT", inputs
    elif isinstance(inputs, list | tuple) and len(inputs) <= _MOST_PATHS:
        yield from (("INPUT", path) for path in inputs)


def _check_list(config: RunConfig) -> None:
    """Raise UsageError where the file that holds the token is given for a list."""
    lists = (path for name, path in config.files_read() if name == "INPUT" and path is not None)
    file = config.token_file
    if file is not None and any(is_same(path, file) for path in lists):
        raise UsageError("INPUT is what --token-file names: give the list of notes in its place.")


class ConsoleOptions(Struct, frozen=True, kw_only=True):
    """What the person at the terminal wants of a run, beside the run itself."""

    dry_run: bool = flag_option(_FETCH, "Say what would be done, and send nothing.")
    progress: str = option(
        "auto",
        read_text,
        _SEEN,
        "bar, plain, json or none; auto is a bar on a terminal, else plain.",
        "FORM",
        names=("auto", "bar", "plain", "json", "none"),
    )
    verbose: bool = flag_option(_SEEN, "One line a call.", "-v")
    quiet: bool = flag_option(_SEEN, "Nothing on success, else one line.", "-q")
    log_file: Path | None = file_option(_SEEN, "Append what happens, a line a call.")
    log_format: str = option(
        "text",
        read_text,
        _SEEN,
        "Form of -v and --log-file: text or json.",
        "FORM",
        names=("text", "json"),
    )
    metrics_file: Path | None = file_option(
        _NIGHT,
        "Keep the run's numbers there for Prometheus (node_exporter's textfile collector).",
    )
    on_finish: str | None = _name(
        _NIGHT,
        "Shell command to run at the end, however it comes: it finds HARVESTER_REASON, "
        "HARVESTER_EXIT_CODE, HARVESTER_SUMMARY and the counts in its environment.",
        "COMMAND",
    )
    notify: tuple[Secret[str], ...] = option(
        (),
        read_webhooks,
        _NIGHT,
        "Webhook to tell how the run ended, or that it waits for quota: Feishu, DingTalk, WeCom, "
        "Slack, or any that takes JSON. May be repeated. Its URL is a secret: set it as "
        "HARVESTER_RUN_NOTIFY, or keep it in --notify-file.",
        "URL",
        is_many=True,
        is_secret=True,
    )
    notify_file: Path | None = option(
        None,
        token_place,
        _NIGHT,
        "File that holds URLs for --notify, one a line.",
        is_file=True,
        is_secret=True,
    )

    @classmethod
    def read(cls, said: Mapping[str, object]) -> Self:
        """The options as they were said; raises UsageError, TypeError."""
        console = cls(**read_options(cls, said))
        if console.notify_file is None:
            return console
        text = secret_text(console.notify_file, "notify_file", "URL")
        urls = [line for line in map(str.strip, text.split("\n")) if line and line[0] != "#"]
        try:
            kept = read_options(cls, {"notify": urls})["notify"]
        except OptionError as error:
            raise error.by("--notify-file") from None
        return structs.replace(console, notify=(*console.notify, *kept))

    def check_apart(self, read: Iterable[FileRead], output: Path) -> None:
        """Raise UsageError where a file that is written is also meant by another name.

        So it is where another file would be replaced; LocalIOError where it cannot be read.
        """
        written = {"--log-file": self.log_file, "--metrics-file": self.metrics_file}
        check_apart(written, [*read, ("--notify-file", self.notify_file)], output=output)
        if self.metrics_file is not None:
            check_earlier(self.metrics_file, "metrics file of this command's", _holds_metrics)
        # A shell may have them lead anywhere.
        streams = {"standard output": "/dev/stdout", "standard error": "/dev/stderr"}
        check_apart({}, streams.items(), output=output)


def _holds_metrics(path: Path) -> bool:
    """Tell metrics, or what a power cut left of some, from what somebody else may need."""
    with path.open("rb") as file:
        return file.read(len(_OF_METRICS)) in {_OF_METRICS, bytes(len(_OF_METRICS))}


def is_secret(name: str) -> bool:
    """Whether what is given under a name is not to be shown: a name that is none may be one."""
    option = options_in(RunConfig).get(name)
    return option is None or option.is_secret


def _check_timeout(config: RunConfig, said: Mapping[str, object]) -> None:
    if config.timeout < SHORTEST_TIMEOUT and not config.allow_short_timeout:
        raise OptionError(
            "timeout",
            f"is under the {SHORTEST_TIMEOUT:g} seconds the vendor asks for: a call cut short may "
            "be charged all the same. Say --allow-short-timeout to do it.",
            repr(said.get("timeout")),
        )


def _is_another_ledger(config: RunConfig) -> bool:
    """Whether a ledger that is exported is for other runs: practice and OUTPUT's own stay apart."""
    url = None if config.ledger is None else config.ledger.reveal()
    output = config.output.resolve()
    is_exported = url is not None and url == os.environ.get(LEDGER_VARIABLE)
    is_named = config.harvest is not None or Side.PART_MARKER.of(output).exists()
    is_apart = config.simulate or Side.LEDGER.of(output).exists()
    return is_exported and is_apart and not is_named


def _check_fleet(config: RunConfig) -> None:
    if config.resolve_links and (config.fleet is not None or config.endpoint == RESOLVER):
        raise UsageError(
            "--resolve-links is for notes, and for one machine: harvest the links by themselves, "
            f"with --endpoint {RESOLVER}, and give their OUTPUT as INPUT."
        )
    if config.harvest is not None and config.fleet is None:
        raise UsageError(
            f"--harvest names one that hosts share: give --ledger, or {LEDGER_VARIABLE}."
        )


def _check_begun(output: Path) -> None:
    """Refuse to go on with what was never begun; raises UsageError that names what was."""
    ledger = Side.LEDGER.of(output.resolve())
    if output.exists() or ledger.exists():
        return
    others = ledger.parent.glob(f"*{Side.LEDGER}")
    begun = [path.name.removesuffix(Side.LEDGER) for path in others]
    near = hint(output.name, begun, "did you mean {}? Else ")
    raise UsageError(f"there is no {output} to go on with: {near}name an INPUT to begin with.")


def _base_url(given: object, region: str | None) -> str:
    """Where to call: a base URL, a region's, or the environment's; raises UsageError.

    One that is empty is refused: behind a variable that was not set, the default would be paid for.
    """
    if given is not None and region is not None:
        raise UsageError("--base-url and --region contradict each other: give one of them.")
    if region is not None:
        return REGIONS[region]
    name = "" if given is not None else BASE_URL_VARIABLE
    url = os.environ.get(BASE_URL_VARIABLE, REGIONS["global"]) if given is None else given
    try:
        return read_base_url(url)
    except ValueError as error:
        # The value itself is not shown: somebody may have put a token in it.
        raise OptionError("base_url", str(error), name=name) from None
