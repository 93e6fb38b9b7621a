"""The forecast: what is left and until when, by what the runs so far tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from harvester.ledger.history import verdict_of
from harvester.ledger.reader import LedgerReader, RunRow
from harvester.model import StopReason, Verdict
from harvester.rules.day import day_began, day_ends
from harvester.rules.forecast import DailyCap, Experience, Source, forecast, rate_to_expect
from harvester.status.model import Ahead, RunStatus, StatusQuery

# A run that was shorter, or made fewer calls, says little about the pace of the next one.
_TELLING_SECONDS = 1.0
_TELLING_CALLS = 20


class _Quota(Struct, frozen=True):
    """The API's daily quota as the last run met it, or waits for it.

    `charged` calls were charged on that day, of all that this ledger knows; `until` is when the
    next day begins, in Unix seconds, None if it has begun.
    """

    charged: int
    until: float | None


class Runs(Struct, frozen=True):
    """All runs, as the ledger has them and as they are told; one may wait, until `resumes_at`."""

    rows: Sequence[RunRow]
    told: Sequence[RunStatus]
    resumes_at: float | None


def look_ahead(reader: LedgerReader, query: StatusQuery, runs: Runs, queued: int) -> Ahead:
    """Returns the forecast for so many notes that are queued."""
    past = _experience(runs.rows)
    rate, source = _rate(runs.told, query.rate)
    quota = _quota_met(reader, query, runs)
    starts_at = None if quota is None else quota.until
    daily = _daily_cap(reader, query, runs.rows, quota)
    begins = query.now if starts_at is None else starts_at
    ahead = forecast(queued, past, rate, daily, begins, query.zone)
    left_today = None if daily is None else daily.left_today
    seconds = None if ahead.ends_at is None else round(ahead.ends_at - query.now, 3)
    return Ahead(
        notes=queued,
        calls=ahead.calls,
        charged=ahead.charged,
        cost=query.cost(ahead.charged),
        save_share=past.save_share and round(past.save_share, 4),
        rate=rate,
        rate_from=source,
        daily_cap=None if daily is None else daily.charged,
        left_today=left_today if starts_at is None else 0,
        quota_met=None if quota is None else quota.charged,
        starts_at=starts_at,
        seconds=seconds,
        days=ahead.days,
        ends_at=ahead.ends_at,
    )


def _quota_met(reader: LedgerReader, query: StatusQuery, runs: Runs) -> _Quota | None:
    last = runs.rows[-1] if runs.rows else None
    if runs.resumes_at is not None:
        ended, until = query.now, runs.resumes_at
    elif last is None or last.finished_at is None or last.reason != StopReason.QUOTA.value:
        return None
    else:
        ended, until = last.finished_at, day_ends(last.finished_at, query.zone)
    charged = reader.charged(day_began(ended, query.zone))
    return _Quota(charged, until if until > query.now else None)


def _daily_cap(
    reader: LedgerReader, query: StatusQuery, rows: Sequence[RunRow], quota: _Quota | None
) -> DailyCap | None:
    """What is told, else what the last run was, or the quota that it met."""
    cap = query.daily_cap or (rows[-1].daily_cap if rows else None)
    if quota is not None and quota.charged and query.daily_cap is None:
        cap = min(cap or quota.charged, quota.charged)
    if cap is None:
        return None
    if quota is not None and quota.until is not None:
        return DailyCap(cap)
    return DailyCap(cap, reader.used(day_began(query.now, query.zone), query.now))


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


def _rate(runs: Sequence[RunStatus], option: float | None) -> tuple[float | None, Source | None]:
    """The rate to expect after these runs: as the last one tells, else the last telling one."""
    asked = runs[-1].asked_rate if runs else None
    telling = [
        run for run in runs if run.seconds >= _TELLING_SECONDS and run.calls >= _TELLING_CALLS
    ]
    is_of_last = bool(telling) and telling[-1] is runs[-1]
    reached = telling[-1].rate if telling and (is_of_last or asked is None) else None
    return rate_to_expect(option, asked, reached)
