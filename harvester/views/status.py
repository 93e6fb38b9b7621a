"""What a ledger holds, as the JSON-able mapping that `status --json` prints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from harvester.engine.day import Day
from harvester.engine.opening import ledger_path
from harvester.ledger.reader import LedgerReader, RunRow, reading
from harvester.model import Answer, Counts, Verdict
from harvester.output.holder import is_held
from harvester.plain import plain
from harvester.rules.forecast import (
    DailyCap,
    Experience,
    Pace,
    forecast,
    pace_to_expect,
)
from harvester.rules.latency import quantile
from harvester.rules.verdicts import judge
from harvester.views.words import moment

# A run that was shorter, or made fewer calls, says little about the pace of the next one.
_TELLING_SECONDS = 1.0
_TELLING_CALLS = 20
_HOUR = 3600.0
# Servers that put something new into each message must not fill the memory.
_MOST_GROUPS = 1000
_ID_LENGTH, _NUMBER_LENGTH = 8, 4
_WORD = re.compile(r"[\w-]+(?::[\w-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a ledger.

    `now` is Unix seconds; `zone` is where a day begins; `price` is of one charged call. `rate`
    (calls a second) and `daily_cap` (charged calls) are for the forecast, in place of the last
    run's. `is_held` tells whether a run holds OUTPUT, None where that is not known.
    """

    now: float
    zone: ZoneInfo
    price: float | None = None
    rate: float | None = None
    daily_cap: int | None = None
    is_held: bool | None = None


def look(output: Path, question: Question) -> dict[str, Any]:
    """The status of an OUTPUT, with its links followed; also tells whether its run goes on.

    Raises UsageError, LedgerError, LocalIOError.
    """
    with reading(ledger_path(output)) as reader:
        # In this order: a run that was on, whose lock is gone, and that still has no end, is dead.
        before = reader.open_run()
        held = None if before is None else is_held(output)
        with reader.snapshot():
            is_same = reader.open_run() == before
            return status_of(reader, replace(question, is_held=held if is_same else None))


def status_of(reader: LedgerReader, question: Question) -> dict[str, Any]:
    """All of `status --json`, as the README tells it; moments are ISO 8601 in UTC."""
    now = question.now
    day_began = Day(lambda: now, question.zone).began()
    counts, meta, rows = reader.counts(now), reader.meta(), reader.runs()
    due = reader.next_due(now)
    charged, charged_today = reader.charged(), reader.charged(day_began)
    is_leased = reader.is_leased(now)
    open_state = state_of_open_run(is_held=question.is_held, is_leased=is_leased)
    runs = _runs(rows, now, open_state)
    ahead = _forecast(counts, rows, runs, question, reader.used(day_began))
    return {
        "done": counts.done,
        "queued": counts.queued,
        "waiting": counts.waiting,
        "nextDue": None if due is None else moment(due),
        "inFlight": reader.sent(),
        "rejected": counts.rejected,
        "exhausted": counts.exhausted,
        "failures": _failures(reader),
        "unanswered": reader.unanswered(),
        "charged": charged,
        "chargedToday": charged_today,
        "price": question.price,
        "cost": _cost(charged, question),
        "costToday": _cost(charged_today, question),
        "endpoint": meta.get("endpoint"),
        "simulated": bool(meta.get("simulated")),
        "asOf": moment(now),
        "dayTimezone": str(question.zone),
        "left": _left(ahead),
        "forecast": ahead,
        "runs": runs,
    }


def state_of_open_run(*, is_held: bool | None, is_leased: bool) -> str:
    """What became of the last run, if it has no end: running, killed, or unknown.

    A lock that is seen tells that it goes on. Where none is seen it may be hidden, so a lease that
    holds leaves it open: a run keeps its leases, and those of a dead one lapse.
    """
    if is_held:
        return "running"
    return "unknown" if is_held is None or is_leased else "killed"


def _cost(calls: int, question: Question) -> float | None:
    return None if question.price is None else round(calls * question.price, 6)


def _failures(reader: LedgerReader) -> list[dict[str, Any]]:
    return [
        {
            "state": group.state.name.lower(),
            "code": group.code,
            "reason": plain(group.reason),
            "notes": group.jobs,
        }
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


def _runs(rows: Sequence[RunRow], now: float, open_state: str) -> list[dict[str, Any]]:
    """Only the last run can go on: each of them held OUTPUT alone."""
    begun = [row.started_at for row in rows[1:]] + [now]
    states = ["killed"] * len(rows[1:]) + [open_state] * len(rows[:1])
    return [
        _run(row, until, state if row.finished_at is None else "finished")
        for row, until, state in zip(rows, begun, states, strict=False)
    ]


def _run(row: RunRow, until: float, state: str) -> dict[str, Any]:
    """A run; `until` is when the next one began, or now."""
    calls = sum(row.by_code.values())
    end = row.finished_at
    if end is None:
        end = until if state == "running" else min(row.seen_at, until)
    seconds = max(0.0, end - row.started_at)
    median, p95 = (quantile(row.latencies, share) for share in (0.5, 0.95))
    return {
        "startedAt": moment(row.started_at),
        "finishedAt": None if row.finished_at is None else moment(row.finished_at),
        "seconds": round(seconds, 3),
        "state": state,
        "reason": row.reason,
        "exitCode": row.exit_code,
        "calls": calls,
        "charged": row.by_code.get(0, 0),
        "unanswered": row.unanswered,
        "byCode": {"none" if c is None else str(c): many for c, many in row.by_code.items()},
        "rate": round(calls / seconds, 4) if calls and seconds else None,
        "askedRate": row.rate,
        "dailyCap": row.daily_cap,
        "medianSeconds": None if median is None else round(median, 4),
        "p95Seconds": None if p95 is None else round(p95, 4),
    }


def _forecast(
    counts: Counts,
    rows: Sequence[RunRow],
    runs: Sequence[dict[str, Any]],
    question: Question,
    used_today: int,
) -> dict[str, Any]:
    past = _experience(rows)
    pace = _pace(runs, question.rate)
    per_second = None if pace is None else pace.per_second
    cap = question.daily_cap or (rows[-1].daily_cap if rows else None)
    daily = None if cap is None else DailyCap(cap, used_today)
    ahead = forecast(counts.queued, past, per_second, daily, question.now, question.zone)
    share = past.save_share
    return {
        "notes": counts.queued,
        "calls": ahead.calls,
        "charged": ahead.charged,
        "cost": _cost(ahead.charged, question),
        "saveShare": None if share is None else round(share, 4),
        "rate": per_second,
        "rateFrom": None if pace is None else pace.source,
        "dailyCap": cap,
        "leftToday": None if daily is None else daily.left_today,
        "seconds": None if ahead.seconds is None else round(ahead.seconds, 3),
        "days": ahead.days,
        "endsAt": None if ahead.ends_at is None else moment(ahead.ends_at),
    }


def _experience(rows: Sequence[RunRow]) -> Experience:
    """What came of the calls of all runs that saved anything; a refused token tells nothing."""
    by_code: Counter[int | None] = Counter()
    for row in rows:
        if row.by_code.get(0):
            by_code.update(row.by_code)
    rejects = sum(calls for code, calls in by_code.items() if _is_reject(code))
    return Experience(by_code.total(), by_code[0], rejects)


def _is_reject(code: int | None) -> bool:
    answer = Answer(status=200, body=b'{"code":%d}' % (code or 0))
    return judge(answer).verdict is Verdict.REJECT


def _pace(runs: Sequence[dict[str, Any]], option: float | None) -> Pace | None:
    """The pace to expect after these runs: as the last one tells, else the last telling one."""
    last = runs[-1] if runs else {"askedRate": None}
    telling = [run for run in runs if _is_telling(run)]
    reached = telling[-1]["rate"] if telling else None
    if telling and telling[-1] is not last and last["askedRate"] is not None:
        reached = None
    return pace_to_expect(option, last["askedRate"], reached)


def _is_telling(run: dict[str, Any]) -> bool:
    return bool(run["seconds"] >= _TELLING_SECONDS and run["calls"] >= _TELLING_CALLS)


def _left(ahead: dict[str, Any]) -> dict[str, Any]:
    """The forecast in short: calls, and the hours and days until all is done."""
    seconds = ahead["seconds"]
    hours = None if seconds is None else seconds / _HOUR
    return {"calls": ahead["calls"], "hours": hours, "days": None if hours is None else hours / 24}
