"""Reads what a ledger holds, at one moment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from harvester.ledger.history import verdict_of
from harvester.ledger.hosts import Hosts
from harvester.ledger.reader import LedgerReader, RunRow
from harvester.model import Counts, StopReason, Verdict
from harvester.output.holder import is_held
from harvester.rules.day import day_began, day_ends
from harvester.rules.forecast import (
    DailyCap,
    ExpectedRate,
    Experience,
    forecast,
    rate_to_expect,
)
from harvester.rules.spending import calls_left, in_all, last_known
from harvester.sanitize import sanitize
from harvester.status.going_on import command_to_go_on
from harvester.status.model import Ahead, Failure, FleetStatus, Left, RunStatus, Status
from harvester.status.runs import (
    account_of,
    priced,
    run_of,
    runs_of_fleet,
    sessions_of,
    spending_of,
)
from harvester.status.verdict_text import with_verdict

# A run that was shorter, or made fewer calls, says little about the pace of the next one.
_TELLING_SECONDS = 1.0
_TELLING_CALLS = 20
_HOUR = 3600.0
# What became of a run that may be waiting for the next day.
_ON = ("running", "unknown")
# Servers that put something new into each message must not fill the memory.
_MOST_GROUPS = 1000
_MOST_DUPLICATES = 1000
_ID_LENGTH, _NUMBER_LENGTH = 8, 4
_WORD = re.compile(r"[\w-]+(?::[\w-]+)*", re.ASCII)


class StatusQuery(Struct, frozen=True):
    """What is asked of a ledger.

    `now` is Unix seconds; `zone` is where a day begins; `price` is of one charged call. `rate`
    (calls a second) and `daily_cap` (charged calls) are for the forecast, in place of the last
    run's. `is_held` tells whether a run holds OUTPUT, None where that is not known.
    `target` names it in a shell command.
    """

    now: float
    zone: ZoneInfo
    price: Decimal | None = None
    rate: float | None = None
    daily_cap: int | None = None
    is_held: bool | None = None
    target: str = "OUTPUT"


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
    rows = priced(reader.runs(), query.price)
    known = last_known(row.balances for row in reversed(rows))
    query = replace(query, price=query.price or known.price)
    go_on = command_to_go_on(query.target, reader.meta())
    if hosts is None:
        is_leased = reader.is_leased(query.now)
        open_state = state_of_open_run(is_held=query.is_held, is_leased=is_leased)
        runs = _runs(rows, query.now, open_state)
        whole = Status(**_fields(reader, query, rows, runs), runs=runs)
        return with_verdict(whole, query.target, go_on)
    places = hosts.runs()
    sessions = sessions_of(rows, places, query.now)
    whole = FleetStatus(
        **_fields(reader, query, rows, sessions),
        runs=runs_of_fleet(rows, places, query.now),
        parts=hosts.parts(),
        duplicates=hosts.duplicates(_MOST_DUPLICATES),
        stops=hosts.stops(),
    )
    return with_verdict(whole, query.target, go_on)


def _fields(
    reader: LedgerReader, query: StatusQuery, rows: Sequence[RunRow], runs: Sequence[RunStatus]
) -> dict[str, Any]:
    """What the status of any ledger has; the forecast goes by `runs`."""
    now = query.now
    counts, meta, began = reader.counts(now), reader.meta(), day_began(now, query.zone)
    charged, charged_today = reader.charged(), reader.charged(began)
    held = last_known(row.balances for row in reversed(rows)).balance
    told = in_all(filter(None, map(spending_of, rows)))
    waits_until = meta.get("resumes_at") if runs and runs[-1].state in _ON else None
    resumes_at = None if waits_until is None else float(waits_until)
    met = _quota_met(reader, rows, query, resumes_at)
    ahead = _forecast(counts, rows, runs, query, reader.used(began, now), met)
    hours = None if ahead.seconds is None else ahead.seconds / _HOUR
    return {
        "done": counts.done,
        "queued": counts.queued,
        "waiting": counts.waiting,
        "next_due": reader.next_due(now),
        "in_flight": reader.sent(),
        "rejected": counts.rejected,
        "gone": counts.gone,
        "exhausted": counts.exhausted,
        "empty": reader.empty(),
        "failures": _failures(reader),
        "unanswered": reader.unanswered(),
        "closed": sum(row.closed for row in rows),
        "charged": charged,
        "charged_today": charged_today,
        "price": query.price,
        "currency": held.currency or None if held else None,
        "balance": held.amount if held else None,
        "calls_left": calls_left(held, query.price) if held else None,
        "account": account_of(told),
        "cost": _cost(charged, query),
        "cost_today": _cost(charged_today, query),
        "endpoint": meta.get("endpoint"),
        "simulated": bool(meta.get("simulated")),
        "resumes_at": resumes_at,
        "as_of": now,
        "day_timezone": str(query.zone),
        "day_ends_at": day_ends(now, query.zone),
        "left": Left(ahead.calls, hours, None if hours is None else hours / 24),
        "forecast": ahead,
    }


def state_of_open_run(*, is_held: bool | None, is_leased: bool) -> str:
    """What became of the last run, if it has no end: running, killed, or unknown.

    A lock that is seen tells that it goes on. Where none is seen it may be hidden, so a lease that
    holds leaves it open: a run keeps its leases, and those of a dead one lapse.
    """
    if is_held:
        return "running"
    return "unknown" if is_held is None or is_leased else "killed"


def _cost(calls: int, query: StatusQuery) -> Decimal | None:
    return None if query.price is None else calls * query.price


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


def _runs(rows: Sequence[RunRow], now: float, open_state: str) -> list[RunStatus]:
    """Only the last run can go on: each of them held OUTPUT alone."""
    begun = [row.started_at for row in rows[1:]] + [now]
    states = ["killed"] * len(rows[1:]) + [open_state] * len(rows[:1])
    return [
        run_of(row, until, state if row.finished_at is None else "finished")
        for row, until, state in zip(rows, begun, states, strict=False)
    ]


class _Quota(Struct, frozen=True):
    """The API's daily quota as the last run met it, or waits for it.

    `charged` calls were charged on that day, of all that this ledger knows; `until` is when the
    next day begins, in Unix seconds, None if it has begun.
    """

    charged: int
    until: float | None


def _quota_met(
    reader: LedgerReader,
    rows: Sequence[RunRow],
    query: StatusQuery,
    resumes_at: float | None,
) -> _Quota | None:
    last, zone = rows[-1] if rows else None, query.zone
    if resumes_at is not None:
        ended, until = query.now, resumes_at
    elif last is None or last.finished_at is None or last.reason != StopReason.QUOTA.value:
        return None
    else:
        ended, until = last.finished_at, day_ends(last.finished_at, zone)
    charged = reader.charged(day_began(ended, zone))
    return _Quota(charged, until if until > query.now else None)


def _forecast(
    counts: Counts,
    rows: Sequence[RunRow],
    runs: Sequence[RunStatus],
    query: StatusQuery,
    used_today: int,
    quota: _Quota | None,
) -> Ahead:
    past = _experience(rows)
    expected = _rate(runs, query.rate)
    per_second = None if expected is None else expected.per_second
    cap = query.daily_cap or (rows[-1].daily_cap if rows else None)
    if quota is not None and quota.charged and query.daily_cap is None:
        cap = min(cap or quota.charged, quota.charged)
    begins, used = query.now, used_today
    if quota is not None and quota.until is not None:
        begins, used = quota.until, 0
    daily = None if cap is None else DailyCap(cap, used)
    ahead = forecast(counts.queued, past, per_second, daily, begins, query.zone)
    seconds = None if ahead.ends_at is None else ahead.ends_at - query.now
    left_today = None if daily is None else daily.left_today
    share = past.save_share
    return Ahead(
        counts.queued,
        ahead.calls,
        ahead.charged,
        _cost(ahead.charged, query),
        save_share=None if share is None else round(share, 4),
        rate=None if expected is None else expected.per_second,
        rate_from=None if expected is None else expected.source,
        daily_cap=cap,
        left_today=left_today if begins == query.now else 0,
        quota_met=None if quota is None else quota.charged,
        starts_at=None if begins == query.now else begins,
        seconds=None if seconds is None else round(seconds, 3),
        days=ahead.days,
        ends_at=ahead.ends_at,
    )


def _experience(rows: Sequence[RunRow]) -> Experience:
    """What came of the calls of all runs that saved anything; a refused token tells nothing."""
    by_code: Counter[int | None] = Counter()
    for row in rows:
        if row.by_code.get(0):
            by_code.update(row.by_code)
    rejects = sum(
        calls for code, calls in by_code.items() if verdict_of(code or 0) is Verdict.REJECT
    )
    return Experience(by_code.total(), by_code[0], rejects)


def _rate(runs: Sequence[RunStatus], option: float | None) -> ExpectedRate | None:
    """The pace to expect after these runs: as the last one tells, else the last telling one."""
    asked = runs[-1].asked_rate if runs else None
    telling = [run for run in runs if _is_telling(run)]
    is_of_last = bool(telling) and telling[-1] is runs[-1]
    reached = telling[-1].rate if telling and (is_of_last or asked is None) else None
    return rate_to_expect(option, asked, reached)


def _is_telling(run: RunStatus) -> bool:
    return run.seconds >= _TELLING_SECONDS and run.calls >= _TELLING_CALLS
