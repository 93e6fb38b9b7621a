"""Reads what only a fleet's ledger has: its hosts, what each has done, what was paid for twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from harvester.ledger.sql import IS_CHARGED
from harvester.sanitize import sanitize

if TYPE_CHECKING:
    from harvester.ledger.postgres.reading import FleetReader

# In milliseconds: a member that was not heard of for so long is dead.
ALIVE_FOR = 900

# Of a run that goes on, only the minute of its last answer is known without a heartbeat; calls of
# late are those of the last whole minute, and of what has gone of this one.
_PARTS = f"""
WITH calls AS (
    SELECT run.part, sum(calls) AS calls, sum(calls) FILTER (WHERE {IS_CHARGED}) AS charged,
        sum(calls) FILTER (WHERE minute >= (SELECT now_ms()) / 60000 - 1 AND run.id IN (
            SELECT run FROM member WHERE alive_until > now_ms())) AS lately
    FROM activity JOIN run ON run.id = activity.run GROUP BY run.part
), lost AS (
    SELECT run.part, count(*) AS calls FROM unanswered JOIN run ON run.id = unanswered.run
    GROUP BY run.part
), beat AS (
    SELECT part, bool_or(alive_until > now_ms()) AS alive,
        max(least(alive_until - {ALIVE_FOR}, now_ms())) AS at,
        max(resumes_at) FILTER (WHERE alive_until > now_ms()) AS resumes_at
    FROM member GROUP BY part
), runs AS (
    SELECT part, count(*) AS runs,
        max(coalesce(finished_at, greatest(started_at, least(coalesce(seen, 0), now_ms())))) AS seen
    FROM run LEFT JOIN (
        SELECT run, (max(minute) + 1) * 60000 AS seen FROM activity GROUP BY run
    ) AS last ON last.run = run.id GROUP BY part
), held AS (
    SELECT part, count(*) AS notes FROM job WHERE lines > 0 GROUP BY part
), known AS (
    SELECT part, count(*) FILTER (WHERE is_there) AS lines, count(found_at) AS again
    FROM line GROUP BY part
)
SELECT uuid, host, path, coalesce(alive, false), coalesce(beat.at, seen) / 1000.0, resumes_at,
    round(coalesce(lately, 0) / (60 + now_ms() % 60000 / 1000.0), 4), coalesce(runs, 0),
    coalesce(calls.calls, 0), coalesce(charged, 0), coalesce(lost.calls, 0), coalesce(notes, 0),
    coalesce(again, 0), coalesce(lines, 0), length
FROM part LEFT JOIN calls ON calls.part = id LEFT JOIN lost ON lost.part = id
    LEFT JOIN beat ON beat.part = id LEFT JOIN runs ON runs.part = id
    LEFT JOIN held ON held.part = id LEFT JOIN known ON known.part = id
ORDER BY id
"""
_RUNS = """
SELECT run.id, run.session, uuid, host, path,
    EXISTS (SELECT FROM member WHERE member.run = run.id AND alive_until > now_ms()),
    EXISTS (SELECT FROM claim WHERE claim.run = run.id AND until > now_ms())
FROM run JOIN part ON part.id = run.part
"""
_DUPLICATES = """
SELECT note_id, uuid, line.fetched_at, found_at
FROM line JOIN job USING (seq) JOIN part ON part.id = line.part
WHERE found_at IS NOT NULL ORDER BY found_at, line.part, line.line_end LIMIT $1
"""


class HostPart(Struct, frozen=True):
    """One host's part; `part` is its UUID, moments are Unix seconds.

    `notes` are those whose current line is in it, `duplicates` its lines paid for though their
    notes were done, `lines` all that it is to hold, `bytes` what the ledger vouches for. `rate` are
    the calls a second that it made lately. `last_heartbeat` may be the last sign of a run that is
    over; until `resumes_at` one that is alive waits for the next day.
    """

    part: str
    host: str
    path: str
    alive: bool
    last_heartbeat: float | None
    resumes_at: float | None
    rate: float
    runs: int
    calls: int
    charged: int
    unanswered: int
    notes: int
    duplicates: int
    lines: int
    bytes: int


class Duplicate(Struct, frozen=True):
    """A line that was paid for though its note was done; moments are Unix seconds."""

    note_id: str
    part: str
    fetched_at: float
    found_at: float


class TokenStop(Struct, frozen=True):
    """Why a token is disabled in the latest session; `token` is its fingerprint, None for all."""

    token: str | None
    reason: str
    detail: str
    at: float


class RunPlace(Struct, frozen=True):
    """Where a run is: its session (runs at the same time), its part and host, and its life.

    `is_alive` goes by heartbeats; `is_leased` tells that leases of its jobs hold.
    """

    session: int
    part: str
    host: str
    path: str
    is_alive: bool
    is_leased: bool


class Hosts:
    """Queries over the parts of a harvest; asked within the reader's snapshot, they agree."""

    def __init__(self, reader: FleetReader) -> None:
        self._reader = reader

    def parts(self) -> list[HostPart]:
        """All parts, in the order in which they came."""
        return [
            HostPart(uuid, sanitize(host), sanitize(path), *rest)
            for uuid, host, path, *rest in self._reader.ask(_PARTS)
        ]

    def stops(self) -> list[TokenStop]:
        """The tokens disabled in the latest session, in the order in which they stopped."""
        return [
            TokenStop(token or None, sanitize(reason), sanitize(detail), at / 1000)
            for token, reason, detail, at in self._reader.ask(
                "SELECT token_fp, reason, detail, at FROM stop"
                " WHERE session = (SELECT max(session) FROM run) ORDER BY at, token_fp"
            )
        ]

    def runs(self) -> dict[int, RunPlace]:
        """Where each run is, by its number."""
        return {number: RunPlace(*place) for number, *place in self._reader.ask(_RUNS)}

    def duplicates(self, most: int) -> list[Duplicate]:
        """The first lines that were paid for though their notes were done."""
        return [
            Duplicate(note_id, part, fetched_at / 1000, found_at / 1000)
            for note_id, part, fetched_at, found_at in self._reader.ask(_DUPLICATES, most)
        ]

    def unplaced(self, most: int) -> tuple[int, list[str]]:
        """How many done notes have no line in any part, and the ids of the first of them."""
        where = "FROM job WHERE state = 1 AND part IS NULL"
        many = self._reader.one(f"SELECT count(*) {where}")
        rows = self._reader.ask(f"SELECT note_id {where} ORDER BY job.seq LIMIT {most}")
        return many, [note_id for (note_id,) in rows]
