"""Runs as `status --json` tells them, also those of a fleet, which go on at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from harvester.formatting import iso_utc
from harvester.ledger.hosts import HostRow, Hosts, RunPlace
from harvester.ledger.reader import RunRow
from harvester.rules.latency import quantile
from harvester.sanitize import sanitize

# However many there are, they must not fill the memory.
_MOST_DUPLICATES = 1000


def run_of(row: RunRow, until: float, state: str) -> dict[str, Any]:
    """A run; `until` is when the next one began, or now."""
    calls = sum(row.by_code.values())
    seconds = max(0.0, _end(row, until, state) - row.started_at)
    median, p95 = (quantile(row.latencies, share) for share in (0.5, 0.95))
    return {
        "startedAt": iso_utc(row.started_at),
        "finishedAt": None if row.finished_at is None else iso_utc(row.finished_at),
        "seconds": round(seconds, 3),
        "state": state,
        "reason": row.reason,
        "exitCode": row.exit_code,
        "calls": calls,
        "charged": row.by_code.get(0, 0),
        "unanswered": row.unanswered,
        "closed": row.closed,
        "badLines": row.bad_lines,
        "byCode": {"none" if c is None else str(c): many for c, many in row.by_code.items()},
        "rate": round(calls / seconds, 4) if calls and seconds else None,
        "askedRate": row.rate,
        "dailyCap": row.daily_cap,
        "medianSeconds": None if median is None else round(median, 4),
        "p95Seconds": None if p95 is None else round(p95, 4),
    }


def _end(row: RunRow, until: float, state: str) -> float:
    if row.finished_at is not None:
        return row.finished_at
    return until if state == "running" else min(row.seen_at, until)


def runs_of_fleet(
    rows: Sequence[RunRow], places: Mapping[int, RunPlace], now: float
) -> list[dict[str, Any]]:
    """Runs of a fleet, oldest first, each with its host, part and session."""
    return [
        {
            **run_of(row, until, state),
            "host": sanitize(places[row.number].host),
            "path": sanitize(places[row.number].path),
            "part": places[row.number].part,
            "session": places[row.number].session,
        }
        for row, until, state in _lives(rows, places, now)
        if row.number in places
    ]


def _lives(
    rows: Sequence[RunRow], places: Mapping[int, RunPlace], now: float
) -> Iterator[tuple[RunRow, float, str]]:
    """Each run with the moment by which it had ended, and what became of it.

    A run ends at the latest when the next one of its part begins: each held its part alone.
    """
    began: dict[str, float] = {}
    found = []
    for row in reversed(rows):
        place = places.get(row.number)
        if place is None:
            continue
        found.append((row, began.get(place.part, now), _state(row, place, began)))
        began[place.part] = row.started_at
    yield from reversed(found)


def _state(row: RunRow, place: RunPlace, began: Mapping[str, float]) -> str:
    if row.finished_at is not None:
        return "finished"
    if place.is_alive:
        return "running"
    return "unknown" if place.is_leased and place.part not in began else "killed"


def sessions_of(
    rows: Sequence[RunRow], places: Mapping[int, RunPlace], now: float
) -> list[dict[str, Any]]:
    """Runs of a fleet added up by session, as if one host had made each, oldest first."""
    lives = sorted(_lives(rows, places, now), key=lambda life: places[life[0].number].session)
    return [
        _session(list(group))
        for _, group in groupby(lives, lambda life: places[life[0].number].session)
    ]


def _session(lives: Sequence[tuple[RunRow, float, str]]) -> dict[str, Any]:
    rows = [row for row, _, _ in lives]
    by_code, latencies = (Counter[Any](), Counter[int]())
    for row in rows:
        by_code.update(row.by_code)
        latencies.update(row.latencies)
    ends = [_end(*life) for life in lives]
    whole = replace(
        rows[-1],
        started_at=min(row.started_at for row in rows),
        finished_at=max(ends),
        by_code=dict(by_code),
        latencies=dict(latencies),
        unanswered=sum(row.unanswered for row in rows),
        closed=sum(row.closed for row in rows),
        bad_lines=sum(row.bad_lines for row in rows),
    )
    return run_of(whole, max(ends), "finished")


def fleet_of(hosts: Hosts) -> dict[str, Any]:
    """What only a fleet's status has: its parts, duplicates that were paid for, tokens at rest."""
    return {
        "parts": [_part(host) for host in hosts.hosts()],
        "duplicates": list(_duplicates(hosts)),
        "stops": [
            {
                "token": stop.token,
                "reason": sanitize(stop.reason),
                "detail": sanitize(stop.detail),
                "at": iso_utc(stop.at),
            }
            for stop in hosts.stops()
        ],
    }


def _part(host: HostRow) -> dict[str, Any]:
    return {
        "part": host.part,
        "host": sanitize(host.host),
        "path": sanitize(host.path),
        "alive": host.is_alive,
        "lastHeartbeat": None if host.seen_at is None else iso_utc(host.seen_at),
        "rate": round(host.rate, 4),
        "runs": host.runs,
        "calls": host.calls,
        "charged": host.charged,
        "unanswered": host.unanswered,
        "notes": host.notes,
        "duplicates": host.duplicates,
        "bytes": host.length,
    }


def _duplicates(hosts: Hosts) -> Iterable[dict[str, Any]]:
    return (
        {
            "noteId": row.note_id,
            "part": row.part,
            "fetchedAt": iso_utc(row.fetched_at),
            "foundAt": iso_utc(row.found_at),
        }
        for row in hosts.duplicates(_MOST_DUPLICATES)
    )
