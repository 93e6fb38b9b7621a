"""The options of a run as a person writes them, and the harvest they mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypedDict

from harvester.api.client import check_base_url
from harvester.api.endpoints import DEFAULT_ENDPOINT, endpoint_name
from harvester.engine.calling import SIMULATED_TOKEN
from harvester.engine.harvest import Harvest
from harvester.engine.ports import Observer
from harvester.errors import InputError, UsageError
from harvester.ledger.fleet import FleetAddress
from harvester.model import Page
from harvester.settings import (
    DEFAULT_DAY_ZONE,
    FASTEST,
    REGIONS,
    SHORTEST_TIMEOUT,
    Backoff,
    Calling,
    Limits,
    Patience,
    RunSettings,
    parse_duration,
    parse_rate,
    parse_timezone,
)
from harvester.source import (
    Carry,
    IdRule,
    NoNoteError,
    check,
    iterable_pages,
    parse_carry,
    read_pages,
    spool,
)

TOKEN_VARIABLE = "JUSTONEAPI_TOKEN"  # noqa: S105 - a variable's name
_FIND_RATE = "auto"
BASE_URL_VARIABLE = "JUSTONEAPI_BASE_URL"
LEDGER_VARIABLE = "HARVESTER_LEDGER"
NO_TOKEN = (
    "no token. Sign up at justoneapi.com and copy the token from your account, then\n"
    f"  give it: `export {TOKEN_VARIABLE}=...`, or `--token-file FILE` that only you can read;\n"
    "  or practise without one: `--simulate`."
)

Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Options(TypedDict, total=False):
    """What `harvester run` takes, under the same names; all may be left out.

    `rate` is like "5/s", or "auto"; `timeout`, `backoff_base`, `backoff_cap`, `max_runtime`,
    `refresh` and `wait_for_lock` are seconds, or text like "8h"; `workers` is a number or "auto".
    """

    token: str | Sequence[str] | None
    token_file: str | os.PathLike[str] | None
    base_url: str | None
    region: str | None
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
    max_runtime: float | str | None
    day_timezone: str
    refresh: float | str | None
    retry_failed: bool
    simulate: bool
    rebuild: bool
    sync: bool
    strict: bool
    id_pattern: str | None
    id_field: str | None
    wait_for_lock: float | str
    carry: str | Sequence[str] | None
    ledger: str | None
    harvest: str | None


def plan(
    inputs: Inputs,
    output: str | os.PathLike[str],
    options: Options,
    observers: tuple[Observer, ...] = (),
    stdin: BinaryIO | None = None,
) -> Harvest:
    """Check everything that can be checked before OUTPUT is touched; raises UsageError, InputError.

    With `strict`, the whole input is read and checked here.
    """
    settings = settings_of(options)
    simulated = settings.simulated
    return Harvest(
        settings,
        Path(output),
        pages_of(inputs, options, stdin),
        base_url="" if simulated else base_url_of(options),
        tokens=(SIMULATED_TOKEN,) if simulated else tokens_of(options),
        observers=observers,
        has_input=not (isinstance(inputs, Sized) and len(inputs) == 0),
        wait_for_lock=_seconds(options.get("wait_for_lock", 0)),
        fleet=fleet_of(options),
    )


def fleet_of(options: Options) -> FleetAddress | None:
    """The fleet whose ledger is named, if one is; raises UsageError."""
    url = options.get("ledger") or os.environ.get(LEDGER_VARIABLE)
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
    max_runtime, refresh = options.get("max_runtime"), options.get("refresh")
    return RunSettings(
        calling=_calling(options),
        endpoint=endpoint_name(options.get("endpoint", DEFAULT_ENDPOINT)),
        patience=Patience(options.get("max_attempts", 6), options.get("max_unanswered", 2)),
        backoff=Backoff(
            _seconds(options.get("backoff_base", 1)), _seconds(options.get("backoff_cap", 120))
        ),
        limits=Limits(
            options.get("max_notes"),
            options.get("max_calls"),
            options.get("max_charged"),
            options.get("max_charged_daily"),
            None if max_runtime is None else _seconds(max_runtime),
        ),
        day_zone=parse_timezone(options.get("day_timezone", DEFAULT_DAY_ZONE)),
        refresh=None if refresh is None else _seconds(refresh),
        retry_failed=options.get("retry_failed", False),
        simulated=options.get("simulate", False),
        strict=options.get("strict", False),
        sync=options.get("sync", False),
        rebuild=options.get("rebuild", False),
    )


def _calling(options: Options) -> Calling:
    timeout = _seconds(options.get("timeout", 90))
    if timeout < SHORTEST_TIMEOUT and not options.get("allow_short_timeout", False):
        raise UsageError(
            f"--timeout {timeout:g} is under the {SHORTEST_TIMEOUT:g} seconds the vendor asks for: "
            "a call cut short may be charged all the same. Say --allow-short-timeout to do it."
        )
    rate = options.get("rate", "5/s")
    is_rate_found = rate.strip() == _FIND_RATE
    return Calling(
        FASTEST if is_rate_found else parse_rate(rate),
        options.get("burst", 1),
        _workers(options.get("workers", "auto")),
        timeout,
        options.get("accept_cache", False),
        is_rate_found,
    )


def _workers(value: int | str) -> int | None:
    if value == "auto":
        return None
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"--workers {value!r} is neither a number nor auto.") from None


def _seconds(value: float | str) -> float:
    return parse_duration(str(value))


def base_url_of(options: Options) -> str:
    """Where to call: a base URL, a region's, or the environment's; raises UsageError."""
    given, region = options.get("base_url"), options.get("region")
    if given is not None and region is not None:
        raise UsageError("--base-url and --region contradict each other: give one of them.")
    if region is not None:
        if region not in REGIONS:
            raise UsageError(f"--region {region!r} is not known: use {' or '.join(REGIONS)}.")
        return REGIONS[region]
    url = given or os.environ.get(BASE_URL_VARIABLE) or REGIONS["global"]
    return check_base_url(url)


def tokens_of(options: Options) -> tuple[str, ...]:
    """The tokens, one a line, from a file or the environment.

    Raises UsageError that says where to put one.
    """
    token_file, given = options.get("token_file"), options.get("token") or ""
    if token_file is not None:
        text = _read_token(token_file)
    elif given:
        text = given if isinstance(given, str) else "\n".join(given)
    else:
        text = os.environ.get(TOKEN_VARIABLE, "")
    tokens = tuple(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    if not tokens:
        raise UsageError(NO_TOKEN)
    if not all(token.isprintable() and " " not in token for token in tokens):
        raise UsageError(
            "the token holds spaces or unprintable characters: copy it again; of several, each "
            "stands on a line of its own."
        )
    return tokens


def _read_token(path: str | os.PathLike[str]) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--token-file {path} cannot be read: {reason}.") from None
    if not text.strip():
        raise UsageError(f"--token-file {path} is empty: {NO_TOKEN}")
    return text


def pages_of(inputs: Inputs, options: Options, stdin: BinaryIO | None) -> Iterator[Page]:
    """The pages of note ids that inputs name; raises UsageError, InputError."""
    rule = IdRule(options.get("id_pattern"))
    strict, field = options.get("strict", False), options.get("id_field")
    carry = parse_carry(options.get("carry"))
    paths, ids = _told_apart(inputs, rule)
    if ids is not None:
        pages = iterable_pages(ids, rule=rule)
        return _all_good(pages) if strict else pages
    source = stdin if stdin is not None else _standard_input()
    if not strict:
        return read_pages(paths, rule=rule, id_field=field, carry=carry, stdin=source)
    if "-" not in paths:
        check(paths, rule=rule, id_field=field, carry=carry, stdin=source)
        return read_pages(paths, rule=rule, id_field=field, carry=carry, stdin=source)
    return _spooled_pages(paths, rule, field, carry, source)


def _standard_input() -> BinaryIO:
    """Standard input; empty where it was closed, as some schedulers do."""
    return BytesIO() if sys.stdin is None else sys.stdin.buffer


def _spooled_pages(
    paths: list[str],
    rule: IdRule,
    id_field: str | None,
    carry: Carry | None,
    stdin: BinaryIO,
) -> Iterator[Page]:
    """Check everything, standard input in a copy of it; then the pages, and the copy is gone."""
    copy = spool(stdin)
    try:
        check(paths, rule=rule, id_field=id_field, carry=carry, stdin=copy)
        pages = read_pages(paths, rule=rule, id_field=id_field, carry=carry, stdin=copy)
    except BaseException:
        copy.close()
        raise

    def closing_pages() -> Iterator[Page]:
        with copy:
            yield from pages

    return closing_pages()


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
