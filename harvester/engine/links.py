"""Short links: a harvest of their own, then one of the notes that they lead to."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from msgspec.structs import replace

from harvester.api.endpoints import RESOLVER
from harvester.config import RunConfig
from harvester.engine.forgetting import marks_in
from harvester.formatting import count
from harvester.halt import Halt, Look
from harvester.ledger.keys import mark_of_key, to_key
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.model import StopReason, Summary
from harvester.rules.day import day_began
from harvester.sides import Side
from harvester.source.forms import Form, parsed
from harvester.source.given import pages_of, standard_input
from harvester.source.ids import IdRule
from harvester.source.streams import spool
from harvester.threads import done_in_time

# Makes one run, given what stands in for standard input.
RunOnce = Callable[[RunConfig, BinaryIO | None], Awaitable[Summary]]

_ANSWER = ("data.noteId", "data.redirect_url")
_GONE_ON = (StopReason.DONE.value, StopReason.FAILED.value)


async def in_turn(config: RunConfig, run: RunOnce) -> Summary:
    """Run, where short links are to be resolved these first; gives how the last of them ended.

    The limits hold for both together.
    """
    if not config.resolve_links:
        return await run(config, None)
    halt = Halt()
    with ExitStack() as stack:
        config, stdin = await done_in_time(partial(kept, config, stack, halt.look), halt, None)
        if config.strict:
            dummy = replace(config.input_options, resolve=lambda _: "0" * 24)
            await done_in_time(partial(pages_of, config.inputs, dummy, stdin), halt, None)
            config = replace(config, strict=False)
        began = time.monotonic()
        found = await run(of_links(config), again(stdin))
        is_enough = found.reason == StopReason.LIMIT.value and "--max-notes" in found.detail
        if found.reason not in _GONE_ON and not is_enough:
            return replace(found, detail=f"short links: {found.detail}".removesuffix(": "))
        elapsed = time.monotonic() - began
        spent = (found.calls, found.charged + found.unanswered, elapsed)
        notes = await run(of_notes(config, *spent), again(stdin))
        return _with_failed_links(notes, found)


def _with_failed_links(notes: Summary, found: Summary) -> Summary:
    """All is not done where a link may lead to a note yet."""
    if (found.reason, notes.reason) != (StopReason.FAILED.value, StopReason.DONE.value):
        return notes
    told = f"{count(found.failed, 'short link')} could not be resolved"
    reason = StopReason.FAILED
    return replace(notes, reason=reason.value, exit_code=reason.exit_code, detail=told)


def of_links(config: RunConfig) -> RunConfig:
    """The harvest of the links that the lists of another one name."""
    return replace(
        config,
        output=Side.LINKS.of(config.output.resolve()),
        endpoint=RESOLVER,
        max_charged_daily=_left_today(config, config.output),
        carry=None,
        refresh=None,
        rebuild=False,
        id_pattern=None,
    )


def of_notes(config: RunConfig, calls: int, charged: int, elapsed: float) -> RunConfig:
    """The harvest of the notes, with the limits that the one of the links left."""
    place = Side.LINKS.of(config.output.resolve())

    notes, forgotten = dict(resolved(place)), marks_in(Side.FORGOTTEN.of(place))

    def note_of(link: str) -> str | None:
        is_forgotten = link not in notes and mark_of_key(to_key(link)) in forgotten
        return "" if is_forgotten else notes.get(link)

    def left(limit: float | None, used: float) -> Any:  # noqa: ANN401 - as the limit
        return None if limit is None else max(0, limit - used)

    return replace(
        config,
        resolve=note_of,
        max_calls=left(config.max_calls, calls),
        max_charged=left(config.max_charged, charged),
        max_charged_daily=_left_today(config, place),
        max_runtime=left(config.max_runtime, elapsed),
    )


def resolved(output: Path) -> Iterator[tuple[str, str]]:
    """The links that an OUTPUT of the resolver tells of, and the notes that they lead to."""
    form = Form(output.name, IdRule(), _ANSWER)
    if not output.exists():
        return
    with output.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            record = parsed(line, exact=False)
            if isinstance(record, dict) and (ids := form.id_of(record)[1].ids):
                yield str(record.get("noteId")), ids[0]


def _left_today(config: RunConfig, other: Path) -> int | None:
    """What another OUTPUT has left of the daily cap."""
    cap, path = config.max_charged_daily, ledger_path(other.resolve())
    if cap is None or not path.exists():
        return cap
    with reading(path) as reader:
        now = time.time()
        return max(0, cap - reader.used(day_began(now, config.day_timezone), now))


def kept(config: RunConfig, stack: ExitStack, look: Look) -> tuple[RunConfig, BinaryIO | None]:
    """Inputs that can be read twice, and what stands in for standard input; the stack keeps it."""
    inputs = config.inputs
    if not isinstance(inputs, str | os.PathLike):
        inputs = tuple(inputs)
        config = replace(config, inputs=inputs)
    if inputs != "-" and (isinstance(inputs, str | os.PathLike) or "-" not in inputs):
        return config, None
    return config, stack.enter_context(spool(standard_input(), look))


def again(stdin: BinaryIO | None) -> BinaryIO | None:
    """The same from its beginning."""
    if stdin is not None:
        stdin.seek(0)
    return stdin
