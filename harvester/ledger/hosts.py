"""Reads what only a fleet's ledger has: its hosts, what each has done, what was paid for twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from harvester.ledger.sql import IS_CHARGED
from harvester.sanitize import sanitize

if TYPE_CHECKING:
    from harvester.ledger.postgres.reading import FleetReader

# In milliseconds: a heartbeat says that its member is alive for so long, as membership.py has it.
ALIVE_FOR = 900

_CALLS = f"""
SELECT run.part, sum(calls), coalesce(sum(calls) FILTER (WHERE {IS_CHARGED}), 0)
FROM activity JOIN run ON run.id = activity.run GROUP BY run.part
"""
_LOST = """
SELECT run.part, count(*) FROM unanswered JOIN run ON run.id = unanswered.run GROUP BY run.part
"""
_MEMBERS = f"""
SELECT part, bool_or(alive_until > now_ms()), max(least(alive_until - {ALIVE_FOR}, now_ms())),
    max(resumes_at) FILTER (WHERE alive_until > now_ms())
FROM member GROUP BY part
"""
_LAST_RUNS = """
SELECT part, count(*),
    max(coalesce(finished_at, greatest(started_at, least(coalesce(seen, 0), now_ms()))))
FROM run LEFT JOIN (
    SELECT run, (max(minute) + 1) * 60000 AS seen FROM activity GROUP BY run
) AS last ON last.run = run.id GROUP BY part
"""
# Of the last whole minute and what has gone of this one.
_RATES = """
SELECT run.part, sum(calls) / (60 + now_ms() % 60000 / 1000.0)
FROM activity JOIN run ON run.id = activity.run JOIN member ON member.run = run.id
WHERE minute >= now_ms() / 60000 - 1 AND alive_until > now_ms() GROUP BY run.part
"""
_RUNS = """
SELECT run.id, run.session, uuid, host, path,
    EXISTS (SELECT FROM member WHERE member.run = run.id AND alive_until > now_ms()),
    EXISTS (SELECT FROM claim WHERE claim.run = run.id AND until > now_ms())
FROM run JOIN part ON part.id = run.part
"""
_DUPLICATES = """
SELECT note_id, uuid, duplicate.fetched_at, found_at
FROM duplicate JOIN job USING (seq) JOIN part ON part.id = duplicate.part
ORDER BY found_at, duplicate.part, duplicate.line_end LIMIT $1
"""


class HostPart(Struct, frozen=True):
    """One host's part; `part` is its UUID, moments are Unix seconds.

    `notes` are those whose current line is in it, `duplicates` its lines paid for though their
    notes were done, `bytes` what the ledger vouches for. `rate` are the calls a second that it made
    lately. `last_heartbeat` may be the last sign of a run that is over; until `resumes_at` one that
    is alive waits for the next day.
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
        ask = self._reader.ask
        notes = dict(ask("SELECT part, count(*) FROM job WHERE lines > 0 GROUP BY part"))
        again = dict(ask("SELECT part, count(*) FROM duplicate GROUP BY part"))
        lost = dict(ask(_LOST))
        calls = {part: (many, charged) for part, many, charged in ask(_CALLS)}
        runs = {part: (many, seen) for part, many, seen in ask(_LAST_RUNS)}
        members = {part: rest for part, *rest in ask(_MEMBERS)}
        rates = dict(ask(_RATES))
        found = []
        for number, uuid, host, path, length in ask(
            "SELECT id, uuid, host, path, length FROM part ORDER BY id"
        ):
            many, seen = runs.get(number, (0, 0))
            made, charged = calls.get(number, (0, 0))
            alive, beat, resumes_at = members.get(number, (False, 0, None))
            # Of a run that goes on, only the minute of its last answer is known without a beat.
            last = beat or seen
            found.append(
                HostPart(
                    uuid,
                    sanitize(host),
                    sanitize(path),
                    alive=alive,
                    last_heartbeat=last / 1000 if last else None,
                    resumes_at=resumes_at,
                    rate=round(float(rates.get(number, 0)), 4),
                    runs=many,
                    calls=made,
                    charged=charged,
                    unanswered=lost.get(number, 0),
                    notes=notes.get(number, 0),
                    duplicates=again.get(number, 0),
                    bytes=length,
                )
            )
        return found

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
