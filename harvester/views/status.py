"""What a ledger holds, as a JSON-able mapping and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harvester.ledger.reader import LedgerReader, RunRow
from harvester.views.words import codes, count, duration, moment, money

# A run shorter than this says little about the rate of the next one.
_TELLING_SECONDS = 1.0
_HOUR = 3600.0


def status_of(reader: LedgerReader, now: float, day_began: float) -> dict[str, Any]:
    """All of `status --json`; moments are ISO 8601 in UTC, `now` and `day_began` Unix seconds."""
    counts, meta = reader.counts(now), reader.meta()
    due = reader.next_due(now)
    runs = [_run(row) for row in reader.runs()]
    return {
        "done": counts.done,
        "queued": counts.queued,
        "waiting": counts.waiting,
        "nextDue": None if due is None else moment(due),
        "inFlight": counts.claimed,
        "rejected": counts.rejected,
        "exhausted": counts.exhausted,
        "unanswered": reader.unanswered(),
        "charged": reader.charged(),
        "chargedToday": reader.charged(day_began),
        "endpoint": meta.get("endpoint"),
        "simulated": bool(meta.get("simulated")),
        "left": _left(counts.queued, runs),
        "runs": runs,
    }


def _run(row: RunRow) -> dict[str, Any]:
    return {
        "startedAt": moment(row.started_at),
        "finishedAt": None if row.finished_at is None else moment(row.finished_at),
        "seconds": None if row.finished_at is None else row.finished_at - row.started_at,
        "reason": row.reason,
        "exitCode": row.exit_code,
        "calls": sum(row.by_code.values()),
        "charged": row.by_code.get(0, 0),
        "byCode": {"none" if c is None else str(c): many for c, many in row.by_code.items()},
    }


def _left(queued: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What is left in calls and hours, going by the shares and the rate of all runs so far."""
    told = [r for r in runs if r["seconds"] and r["seconds"] > _TELLING_SECONDS and r["charged"]]
    calls, charged = (sum(r[key] for r in told) for key in ("calls", "charged"))
    seconds = sum(r["seconds"] for r in told)
    needed = round(queued * calls / charged) if charged else queued
    hours = needed * seconds / calls / _HOUR if calls else None
    return {"calls": needed, "hours": hours, "days": None if hours is None else hours / 24}


def status_lines(status: Mapping[str, Any], price: float | None) -> Iterator[str]:
    """The same for people."""
    kind = " (simulated)" if status["simulated"] else ""
    yield f"endpoint {status['endpoint']}{kind}"
    due = f", the next due {status['nextDue']}" if status["nextDue"] else ""
    waiting = f"{status['waiting']:,} waiting{due}"
    yield (
        f"{status['done']:,} done, {status['queued']:,} queued ({waiting}), "
        f"{status['rejected']:,} rejected, {status['exhausted']:,} exhausted"
    )
    yield (
        f"{count(status['charged'], 'call')} charged{money(status['charged'], price)}, "
        f"{status['chargedToday']:,} of them today; "
        f"{count(status['unanswered'], 'call')} may have been charged without an answer"
    )
    yield _left_line(status["left"], price)
    yield from map(_run_line, status["runs"])


def _left_line(left: Mapping[str, Any], price: float | None) -> str:
    hours = left["hours"]
    when = "" if hours is None else f", {duration(hours * _HOUR)} at the pace so far"
    return f"left: about {count(left['calls'], 'call')}{money(left['calls'], price)}{when}"


def _run_line(run: Mapping[str, Any]) -> str:
    ended = run["reason"] or "going on, or killed"
    code = "" if run["exitCode"] is None else f" (exit {run['exitCode']})"
    took = "" if run["seconds"] is None else f", {duration(run['seconds'])}"
    return (
        f"run {run['startedAt']}{took}: {ended}{code}; {count(run['calls'], 'call')}, "
        f"{run['charged']:,} charged; by code: {codes(run['byCode'])}"
    )
