"""A dry run: what a run would do, and what it would cost, sending and changing nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.console.summary import left_out_lines
from harvester.engine.links import again, kept, of_links, of_notes
from harvester.engine.rehearsal import rehearsed
from harvester.errors import InputError
from harvester.formatting import count, duration, money
from harvester.halt import Look, go_on
from harvester.ledger.reader import LedgerReader
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import BadLine, Counts, Page, State
from harvester.money import Balance
from harvester.parsing import Rate
from harvester.rules.adaptive_rate import START
from harvester.rules.budget import Spent, calls_allowed
from harvester.rules.day import day_began
from harvester.rules.spending import last_known, reach_text
from harvester.source.given import pages_of

_BAD_SHOWN = 10


class Estimate(Struct):
    """What a run would find: of INPUT, in the queue before it, and used up of the day's cap.

    It would make at least so many `calls`, in at least so many `seconds`, and leave `left` notes;
    `links` is the same of short links that are to be resolved first;
    `price` is of a call, `balance` what the account held when last asked, `rate` in calls a second,
    `without` names the inputs that name no note.
    """

    new: int = 0
    known: int = 0
    again: int = 0
    queued: int = 0
    charged_today: int = 0
    calls: int = 0
    price: Decimal | None = None
    balance: Balance | None = None
    cost: Decimal | None = None
    seconds: float = 0.0
    rate: float = 0.0
    left: int = 0
    bad_lines: int = 0
    bad_examples: list[BadLine] = []
    told: list[str] = []
    links: Estimate | None = None

    def see(self, page: Page) -> None:
        """Take note of the lines that name no note."""
        self.bad_lines += len(page.bad)
        self.bad_examples += page.bad[: _BAD_SHOWN - len(self.bad_examples)]
        self.told += page.told + page.warned


def estimate(config: RunConfig, reader: LedgerReader | None, look: Look = go_on) -> Estimate:
    """Returns what a run would do; of a fleet, by what `reader` knows, if there is any yet.

    A link that is to be resolved counts as a new note; one that led to none, as a line that names
    none. Raises what a run would raise before its
    first call, and what `look` raises.
    """
    if not config.resolve_links:
        return _estimate(config, reader, look)
    with ExitStack() as stack:
        config, stdin = kept(config, stack, look)
        known = of_notes(config, 0, 0, 0.0).resolve
        waiting: set[str] = set()
        links = _estimate(of_links(config), None, look, again(stdin), waiting)
        config = of_notes(config, links.calls, links.calls, links.seconds)

        def resolve(link: str) -> str | None:
            note = known and known(link)
            return link if note is None and link in waiting else note

        config = replace(config, resolve=resolve)
        notes = _estimate(config, reader, look, again(stdin))
    notes.links = links
    return notes


def _estimate(
    config: RunConfig,
    reader: LedgerReader | None,
    look: Look,
    stdin: BinaryIO | None = None,
    waiting: set[str] | None = None,
) -> Estimate:
    pages = pages_of(config.inputs, config.input_options, stdin, look)
    if config.fleet is None:
        found = _by_rehearsal(config, pages, look, waiting)
    else:
        found = _in_fleet(config, pages, reader)
    if found.bad_lines and not found.new + found.known + found.again:
        first = found.bad_examples[0]
        raise InputError(f"INPUT names no note at all; the first line: {first}")
    total = found.new + found.again + found.queued
    rate = _rate(config)
    allowed = calls_allowed(config.limits, Spent(charged_today=found.charged_today), 0)
    longest = config.max_runtime
    in_time = None if longest is None else int(longest * rate.per_second) + config.burst
    found.calls = min(bound for bound in (total, allowed, in_time) if bound is not None)
    found.price = config.price or found.price
    found.cost = None if found.price is None else found.calls * found.price
    found.seconds, found.rate = found.calls / rate.per_second, rate.per_second
    found.left = total - found.calls
    return found


def _rate(config: RunConfig) -> Rate:
    # A pace to be found begins with this one.
    return config.rate or Rate(START, 1.0)


def estimate_lines(config: RunConfig, found: Estimate) -> Iterator[str]:
    """Lines for people."""
    if found.links is not None:
        many = count(found.links.calls, "call")
        yield (
            f"would first resolve short links, {found.links.known:,} of which are known, by at "
            f"least {many}{money(found.links.calls, found.price)}; then:"
        )
    more = f", {found.again:,} to be fetched again" if found.again else ""
    yield (
        f"{count(found.new, 'new note')}, {found.known:,} already known{more}, "
        f"{found.queued:,} queued before"
    )
    if found.calls or found.left:
        currency = "" if found.balance is None else found.balance.currency
        cost = money(found.calls, found.price, currency)
        yield (
            f"would make at least {count(found.calls, 'call')}{cost}, in at least "
            f"{duration(found.seconds)} at {_rate(config)}"
        )
    else:
        yield "would make no call: nothing is left to fetch"
    if found.balance is not None:
        yield f"when last asked, {reach_text(found.balance, found.price)}"
    if found.left:
        yield f"would be stopped by its own limit, with at least {found.left:,} left"
    yield from left_out_lines(found.bad_lines, found.bad_examples)
    yield from found.told
    yield "dry run: nothing was sent, nothing was changed"


def _by_rehearsal(
    config: RunConfig, pages: Iterator[Page], look: Look, waiting: set[str] | None
) -> Estimate:
    """What a run finds that does all but call, on a copy; what it is to call for is `waiting`."""
    found = Estimate()
    with rehearsed(config, look) as ledger:
        before = ledger.counts()
        found.queued = before.queued
        known = last_known(ledger.balances())
        found.price, found.balance = known.price, known.balance
        found.charged_today = ledger.charged_since(day_began(time.time(), config.day_timezone))
        read = 0
        for page in pages:
            found.see(page)
            read += len(page.ids)
            found.again += ledger.enrol(page.ids, _refresh_before(config)).refreshed
            if waiting is not None:
                waiting.update(ledger.queued_of(page.ids))
        ledger.end_input()
        after: Counts = ledger.counts()
    found.new = after.total - before.total
    found.known = read - found.new - found.again
    return found


def _in_fleet(config: RunConfig, pages: Iterator[Page], reader: LedgerReader | None) -> Estimate:
    """What a fleet's ledger tells; which ids are named twice, a ledger thrown away afterwards."""
    found = Estimate()
    before = _refresh_before(config)
    if reader is not None:
        reader.require_index()
        now = time.time()
        counts = reader.counts(now)
        found.queued = counts.queued + counts.exhausted + config.retry_failed * counts.rejected
        found.charged_today = reader.used(day_began(now, config.day_timezone), now)
    with (
        tempfile.TemporaryDirectory(prefix="harvester-") as folder,
        closing(SqliteLedger(Path(folder) / "ledger", time.time)) as scratch,
    ):
        for page in pages:
            found.see(page)
            jobs = {} if reader is None else reader.jobs_of(page.ids)
            old = [
                note_id
                for note_id, job in jobs.items()
                if before is not None
                and job.state is State.DONE
                and (job.fetched_at or 0.0) < before
            ]
            found.again += scratch.enrol(old, None).added
            found.new += scratch.enrol([i for i in page.ids if i not in jobs], None).added
            found.known += len(jobs) - len(old)
    return found


def _refresh_before(config: RunConfig) -> float | None:
    return None if config.refresh is None else time.time() - config.refresh
