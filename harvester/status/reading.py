"""Reads what a ledger holds, at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from msgspec.structs import asdict, replace

from harvester.ledger.hosts import Hosts
from harvester.ledger.reader import LedgerReader, RunRow
from harvester.output.holder import is_held
from harvester.rules.day import day_began, day_ends
from harvester.rules.spending import calls_left, in_all, last_known
from harvester.sanitize import sanitize
from harvester.status.looking_ahead import Runs, look_ahead
from harvester.status.model import Failure, FleetStatus, Left, RunStatus, Status, StatusQuery
from harvester.status.runs import (
    account_of,
    beyond,
    campaigns,
    place_alone,
    priced,
    run_of,
    runs_alone,
    runs_of_fleet,
    spending_of,
)
from harvester.status.verdict_text import command_to_go_on, with_verdict

# What became of a run that may be waiting for the next day.
_ON = ("running", "unknown")
# Servers that put something new into each message must not fill the memory.
_MOST_GROUPS = 1000
_MOST_DUPLICATES = 1000
_ID_LENGTH, _NUMBER_LENGTH = 8, 4
_WORD = re.compile(r"[\w-]+(?::[\w-]+)*", re.ASCII)


@contextmanager
def snapshot(
    reader: LedgerReader, output: Path | None, query: StatusQuery
) -> Iterator[StatusQuery]:
    """Let all queries within see one moment; gives the query with whether a run holds OUTPUT.

    `output` has its links followed, and is None where several are written. Raises LocalIOError.
    """
    # In this order: a run that was on, whose lock is gone, and that still has no end, is dead.
    before = None if output is None else reader.open_run()
    held = None if output is None or before is None else is_held(output)
    with reader.snapshot():
        is_same = output is not None and reader.open_run() == before
        yield replace(query, is_held=held if is_same else None)


def read_status(
    reader: LedgerReader, output: Path | None, query: StatusQuery, hosts: Hosts | None = None
) -> Status:
    """Returns the status at one moment; it also tells whether the runs go on.

    `output` as `snapshot` has it. Raises LedgerError, LocalIOError.
    """
    with snapshot(reader, output, query) as known:
        return status_of(reader, known, hosts)


def status_of(reader: LedgerReader, query: StatusQuery, hosts: Hosts | None = None) -> Status:
    """Returns the status within a snapshot; `hosts` are those of a fleet, a FleetStatus then."""
    rows, meta = reader.runs(), reader.meta()
    places = {} if hosts is None else hosts.runs()
    spent = priced(rows if hosts is None else campaigns(rows, places, query.now), query.price)
    known = last_known(row.balances for row in reversed(spent))
    query = replace(query, price=query.price or known.price)
    if hosts is None:
        last = place_alone(is_held=query.is_held, is_leased=reader.is_leased(query.now))
        runs = runs_alone(spent, last, query.now)
        whole = _status(reader, query, _seen(spent, runs, meta), spent)
    else:
        sessions = [run_of(row, row.seen_at, "finished") for row in spent]
        by_session = _status(reader, query, _seen(rows, sessions, meta), spent)
        whole = FleetStatus(
            **asdict(replace(by_session, runs=runs_of_fleet(rows, places, query.now))),
            parts=hosts.parts(),
            duplicates=hosts.duplicates(_MOST_DUPLICATES),
            stops=hosts.stops(),
        )
    return with_verdict(whole, query.target, command_to_go_on(query.target, meta))


def _seen(rows: Sequence[RunRow], runs: list[RunStatus], meta: Mapping[str, str | int]) -> Runs:
    waits_until = meta.get("resumes_at") if runs and runs[-1].state in _ON else None
    return Runs(rows, runs, None if waits_until is None else float(waits_until))


def _cost(charged: int, query: StatusQuery, runs: Sequence[RunRow]) -> Decimal | None:
    """What calls of these runs cost: at the latest price, but for what each knew better."""
    price = query.price
    return None if price is None else charged * price + beyond(runs, price)


def _status(
    reader: LedgerReader, query: StatusQuery, seen: Runs, spent: Sequence[RunRow]
) -> Status:
    """The status of any ledger; the forecast goes by what was seen, what was paid by `spent`."""
    counts, meta = reader.counts(query.now), reader.meta()
    charged = reader.charged()
    today = day_began(query.now, query.zone)
    charged_today = reader.charged(today)
    held = last_known(row.balances for row in reversed(spent)).balance
    endpoint = meta.get("endpoint")
    ahead = look_ahead(reader, query, seen, counts.queued)
    span = ahead.seconds
    return Status(
        done=counts.done,
        queued=counts.queued,
        waiting=counts.waiting,
        next_due=reader.next_due(query.now),
        in_flight=reader.sent(),
        rejected=counts.rejected,
        gone=counts.gone,
        exhausted=counts.exhausted,
        empty=reader.empty(),
        failures=_failures(reader),
        unanswered=reader.unanswered(),
        closed=sum(row.closed for row in seen.rows),
        charged=charged,
        charged_today=charged_today,
        price=query.price,
        currency=held.currency or None if held else None,
        cost=_cost(charged, query, spent),
        cost_today=_cost(charged_today, query, [row for row in spent if row.started_at >= today]),
        balance=held.amount if held else None,
        calls_left=calls_left(held, query.price) if held else None,
        account=account_of(in_all(filter(None, map(spending_of, spent)))),
        endpoint=None if endpoint is None else str(endpoint),
        simulated=bool(meta.get("simulated")),
        resumes_at=seen.resumes_at,
        as_of=query.now,
        day_timezone=str(query.zone),
        day_ends_at=day_ends(query.now, query.zone),
        left=Left(ahead.calls, span and span / 3600, span and span / 86_400),
        forecast=ahead,
        runs=[*seen.told],
    )


def _failures(reader: LedgerReader) -> list[Failure]:
    return [
        Failure(group.state.name.lower(), group.code, sanitize(group.reason), group.jobs)
        for group in reader.failed_groups(kind_of, _MOST_GROUPS)
    ]


def kind_of(reason: str) -> str:
    """A reason without what differs from note to note: ids, moments, long numbers."""
    return _WORD.sub(_general, reason)


def _general(match: re.Match[str]) -> str:
    word = match[0]
    longest = _NUMBER_LENGTH if word.isdigit() else _ID_LENGTH
    is_one_of_many = len(word) >= longest and any(letter.isdigit() for letter in word)
    return "…" if is_one_of_many else word
