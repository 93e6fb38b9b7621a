"""The options of a run as a person writes them, and the harvest they mean."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypedDict, cast

from harvester.errors import InputError, OptionError, UsageError
from harvester.halt import Look, go_on
from harvester.ledger.fleet import FleetAddress
from harvester.model import Page
from harvester.paths import check_apart, check_output, place_of
from harvester.secret import Secret, revealed
from harvester.settings import (
    FASTEST,
    LEDGER_VARIABLE,
    REGIONS,
    SHORTEST_TIMEOUT,
    Backoff,
    Calling,
    Limits,
    Patience,
    RunSettings,
)
from harvester.source import (
    IdRule,
    NoNoteError,
    check,
    iterable_pages,
    parse_carry,
    read_pages,
    spool,
)
from harvester.tokens import NO_TOKEN, tokens_in, tokens_of_environment, tokens_of_file
from harvester.values import read, read_all

if TYPE_CHECKING:
    from harvester.api.proxy import Proxy
    from harvester.engine.harvest import Harvest
    from harvester.engine.ports import Observer

BASE_URL_VARIABLE = "JUSTONEAPI_BASE_URL"
# What holds a token or a password.
_SECRETS = frozenset({"token", "proxy", "ledger"})

# More names than these are note ids, not files.
_MOST_PATHS = 10_000
Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Options(TypedDict, total=False):
    """What `harvester run` takes, under the same names; all may be left out.

    `rate` is like "5/s", or "auto"; `timeout`, `backoff_base` and `backoff_cap` are seconds, or
    text like "2m"; `max_runtime`, `refresh` and `wait_for_lock` are text like "8h", with a unit;
    `workers` is a number or "auto".
    """

    token: str | Sequence[str] | Secret[str | Sequence[str]] | None
    token_file: str | os.PathLike[str] | None
    base_url: str | None
    region: str | None
    proxy: str | Secret[str] | None
    endpoint: str
    accept_cache: bool
    rate: str
    burst: int
    workers: int | str
    timeout: float | str
    allow_short_timeout: bool
    max_attempts: int
    max_unanswered: int
    backoff_base: float | str
    backoff_cap: float | str
    max_notes: int | None
    max_calls: int | None
    max_charged: int | None
    max_charged_daily: int | None
    max_runtime: str | None
    day_timezone: str
    refresh: str | None
    retry_failed: bool
    simulate: bool
    rebuild: bool
    sync: bool
    strict: bool
    id_pattern: str | None
    id_field: str | None
    wait_for_lock: str
    carry: str | Sequence[str] | None
    ledger: str | Secret[str] | None
    harvest: str | None


def check_keywords(keywords: Iterable[str]) -> None:
    """Raise TypeError, as Python does, for a keyword that is no option: it might be a limit."""
    for name in keywords:
        if name not in Options.__annotations__:
            near = difflib.get_close_matches(name, Options.__annotations__, n=1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"harvest() got an unexpected keyword argument {name!r}{hint}")


def plan(
    inputs: Inputs,
    output: str | os.PathLike[str],
    options: Options,
    observers: tuple[Observer, ...] = (),
    stdin: BinaryIO | None = None,
) -> Harvest:
    """Check everything that can be checked without reading INPUT; raises UsageError."""
    # The engine is loaded for a run alone, not for a look at what options mean.
    from harvester.engine.calling import SIMULATED_TOKEN
    from harvester.engine.harvest import Harvest

    place = place_of(output)
    check_output(place)
    check_apart({}, _files_read(inputs, options), output=place)
    settings = settings_of(options)
    simulated = settings.simulated
    fleet = fleet_of(options)
    has_input = not (isinstance(inputs, Sized) and len(inputs) == 0)
    if not has_input and fleet is None:
        _check_begun(place)
    return Harvest(
        settings,
        place,
        partial(pages_of, inputs, options, stdin),
        base_url="" if simulated else base_url_of(options),
        tokens=(Secret(SIMULATED_TOKEN),) if simulated else tokens_of(options),
        observers=observers,
        has_input=has_input,
        wait_for_lock=read("wait_for_lock", options.get("wait_for_lock", "0s")),
        fleet=fleet,
        proxy=None if simulated else proxy_of(options),
    )


def _files_read(
    inputs: Inputs, options: Options
) -> Iterator[tuple[str, str | os.PathLike[str] | None]]:
    """The files that a run reads, by what they are; of note ids nobody asks whether they are."""
    yield "--token-file", options.get("token_file")
    if isinstance(inputs, str | os.PathLike):
        yield "INPUT", inputs
    elif isinstance(inputs, list | tuple) and len(inputs) <= _MOST_PATHS:
        yield from (("INPUT", path) for path in inputs)


def _check_begun(output: Path) -> None:
    """Refuse to go on with what was never begun; raises UsageError that names what was."""
    from harvester.ledger.reader import ledger_path

    ledger = ledger_path(output.resolve())
    if output.exists() or ledger.exists():
        return
    begun = [path.name.removesuffix(".ledger") for path in ledger.parent.glob("*.ledger")]
    near = difflib.get_close_matches(output.name, begun, n=1)
    hint = f"did you mean {near[0]}? Else name" if near else "name"
    raise UsageError(f"there is no {output} to go on with: {hint} an INPUT to begin with.")


def fleet_of(options: Options) -> FleetAddress | None:
    """The fleet whose ledger is named, if one is; raises UsageError."""
    url = revealed(options.get("ledger")) or os.environ.get(LEDGER_VARIABLE)
    harvest = options.get("harvest")
    if url is None or not url.strip():
        if harvest is not None:
            raise UsageError(
                f"--harvest names one that hosts share: give --ledger, or {LEDGER_VARIABLE}."
            )
        return None
    return FleetAddress(url) if harvest is None else FleetAddress(url, harvest)


def settings_of(options: Options) -> RunSettings:
    """The settings that options mean; raises UsageError."""
    said = read_all(options)
    if said["timeout"] < SHORTEST_TIMEOUT and not said["allow_short_timeout"]:
        raise OptionError(
            "timeout",
            f"is under the {SHORTEST_TIMEOUT:g} seconds the vendor asks for: a call cut short may "
            "be charged all the same. Say --allow-short-timeout to do it.",
            repr(options.get("timeout")),
        )
    limits = ("max_notes", "max_calls", "max_charged", "max_charged_daily", "max_runtime")
    return RunSettings(
        calling=Calling(
            said["rate"] or FASTEST,
            said["burst"],
            said["workers"],
            said["timeout"],
            said["accept_cache"],
            is_rate_found=said["rate"] is None,
        ),
        endpoint=said["endpoint"],
        patience=Patience(said["max_attempts"], said["max_unanswered"]),
        backoff=Backoff(said["backoff_base"], said["backoff_cap"]),
        limits=Limits(*(said[name] for name in limits)),
        day_zone=said["day_timezone"],
        refresh=said["refresh"],
        retry_failed=said["retry_failed"],
        simulated=said["simulate"],
        strict=said["strict"],
        sync=said["sync"],
        rebuild=said["rebuild"],
    )


def base_url_of(options: Options) -> str:
    """Where to call: a base URL, a region's, or the environment's; raises UsageError.

    One that is empty is refused: behind a variable that was not set, the default would be paid for.
    """
    from harvester.api.client import check_base_url

    given, region = options.get("base_url"), read("region", options.get("region"))
    if given is not None and region is not None:
        raise UsageError("--base-url and --region contradict each other: give one of them.")
    if region is not None:
        return REGIONS[region]
    from_environment = os.environ.get(BASE_URL_VARIABLE)
    url = given if given is not None else from_environment
    if url is None:
        return REGIONS["global"]
    name = "" if given is not None else BASE_URL_VARIABLE
    if not url.strip():
        raise OptionError("base_url", "is empty: leave it out, or say where to call.", name=name)
    try:
        return check_base_url(url)
    except ValueError as error:
        # The value itself is not shown: somebody may have put a token in it.
        raise OptionError("base_url", str(error), name=name) from None


def proxy_of(options: Options) -> Proxy | None:
    """The proxy to go through, if one is named; raises UsageError, which shows none of it."""
    from harvester.api.proxy import read_proxy

    given = options.get("proxy")
    try:
        return None if given is None else read_proxy(revealed(given))
    except ValueError as error:
        told = str(error)
    # From here, so that no frame that read it belongs to the error.
    raise OptionError("proxy", told)


def hide(options: Options) -> None:
    """Let no value that is a secret be shown by whoever prints the options, or a frame of ours.

    What stands under a name that is none may be one, too.
    """
    given = cast("dict[str, object]", options)
    for name, value in given.items():
        if value and (name in _SECRETS or name not in Options.__annotations__):
            given[name] = Secret(revealed(value))


def tokens_of(options: Options) -> tuple[Secret[str], ...]:
    """The tokens, one a line, from a file or the environment.

    Raises UsageError that says where to put one.
    """
    try:
        tokens = tuple(map(Secret, _tokens_in(options)))
    except UsageError as error:
        # Without the frames below, which hold what was read, also of what it came from.
        error.__context__ = None
        raise error.with_traceback(None) from None
    if not tokens:
        raise UsageError(NO_TOKEN)
    return tokens


def _tokens_in(options: Options) -> tuple[str, ...]:
    token_file, given = options.get("token_file"), revealed(options.get("token")) or ""
    if token_file is not None:
        return tokens_of_file(token_file)
    lines = [given] if isinstance(given, str) else [*given]
    if not all(isinstance(line, str) for line in lines):
        raise OptionError("token", "is neither a text nor a list of texts.")
    return tokens_in("\n".join(lines)) or tokens_of_environment()


def pages_of(
    inputs: Inputs, options: Options, stdin: BinaryIO | None, look: Look = go_on
) -> Iterator[Page]:
    """The pages of note ids that inputs name; with `strict` all are read and checked here.

    Raises UsageError, InputError, and what `look` raises, also while the pages are read.
    """
    rule = IdRule(options.get("id_pattern"))
    strict, field = options.get("strict", False), options.get("id_field")
    carry = parse_carry(options.get("carry"))
    paths, ids = _told_apart(inputs, rule)
    if ids is not None:
        pages = iterable_pages(ids, rule=rule, look=look)
        return _all_good(pages) if strict else pages
    source = stdin if stdin is not None else _standard_input()

    def read_from(stdin: BinaryIO) -> Iterator[Page]:
        return read_pages(paths, rule=rule, id_field=field, carry=carry, stdin=stdin, look=look)

    if not strict:
        return read_from(source)
    with ExitStack() as undo:
        if "-" in paths:
            source = undo.enter_context(spool(source, look))
        check(paths, rule=rule, id_field=field, carry=carry, stdin=source, look=look)
        pages = read_from(source)
        return _closing(pages, undo.pop_all())


def _closing(pages: Iterator[Page], held: ExitStack) -> Iterator[Page]:
    """The same pages; what they are read from is let go of after the last."""
    with held:
        yield from pages


def _standard_input() -> BinaryIO:
    """Standard input; empty where it was closed, as some schedulers do."""
    return BytesIO() if sys.stdin is None else sys.stdin.buffer


def _told_apart(inputs: Inputs, rule: IdRule) -> tuple[list[str], Iterator[str] | None]:
    """Paths, or ids: one text or path alone is a path; in an iterable, the first item tells."""
    if isinstance(inputs, str | os.PathLike):
        return [os.fspath(inputs)], None
    items = iter(inputs)
    first = next(items, None)
    if first is None:
        return [], None
    if isinstance(first, str) and not _is_path(first) and _is_id(first, rule):
        return [], (os.fspath(item) for item in chain([first], items))
    return [os.fspath(item) for item in chain([first], items)], None


def _is_path(text: str) -> bool:
    try:
        return text == "-" or Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or holding a NUL
        return False


def _is_id(text: str, rule: IdRule) -> bool:
    try:
        rule.find(text)
    except NoNoteError:
        return False
    return True


def _all_good(pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages once all are read and checked; raises InputError that lists bad ones."""
    read = list(pages)
    bad = [line for page in read for line in page.bad]
    if bad:
        listed = "\n".join(map(str, bad[:10]))
        raise InputError(f"some ids name no note, and strict is set:\n{listed}")
    return iter(read)
