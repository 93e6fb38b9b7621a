"""The fleet's ledger on PostgreSQL, as one host sees it: one connection, used from one thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Concatenate, ParamSpec, TypeVar

from msgspec import Struct
from psycopg.types.json import Jsonb

from harvester.errors import UsageError
from harvester.halt import Look
from harvester.ledger.fleet import FleetAddress, Outage, PartIdentity
from harvester.ledger.moving import Moving
from harvester.ledger.postgres import adoption, claims, intake, records, runs
from harvester.ledger.postgres.adoption import moment_of
from harvester.ledger.postgres.claims import Caps, Want
from harvester.ledger.postgres.connection import Address
from harvester.ledger.postgres.moving import bring_in
from harvester.ledger.postgres.resilient import ResilientConnection
from harvester.ledger.postgres.transaction import Row, Transaction, rows_of
from harvester.ledger.protocol import (
    Checkpoint,
    Claimed,
    Enrolled,
    FoundLine,
    Identity,
    Ledger,
    RunRequest,
    Sent,
    StartedRun,
)
from harvester.ledger.sql import BALANCES, COUNTS, USED
from harvester.model import Counts, Job, Outcome, State
from harvester.money import Balances, read_balances
from harvester.rules.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Transaction, P], T]
_NO_REQUEST = RunRequest()
_NOTHING_CAPPED = Caps()
_WAITED_FOR = Outage()
_PART = """
SELECT length, tail, synced, boot, rebuilding,
    rebuilding OR EXISTS (SELECT FROM line WHERE part = part.id AND NOT is_there),
    rebuilding OR NOT EXISTS (SELECT FROM run WHERE run.part = part.id)
FROM part WHERE id = %s
"""
_NOW = "(SELECT now_ms())"


class _KnownPart(Struct, frozen=True):
    """With `is_anew`, lines found in the part are read from its beginning."""

    length: int
    tail: bytes
    synced: int
    boot: str
    is_rebuilding: bool
    is_reading: bool
    is_anew: bool


class PostgresLedger(Ledger):
    """One part of a harvest that several hosts share.

    `run` is the number of the run that is on, or 0; a part that `is_new` was not known to the
    harvest before. `caps` hold for the fleet's session. All methods are the `Ledger` protocol's,
    called directly; while the database is away they wait, as `outage` says.

    Raises, here and in every method, LocalIOError where the database cannot be reached or fails,
    LedgerError for a schema that cannot be used, UsageError for an address, user or right.
    """

    def __init__(
        self,
        fleet: FleetAddress,
        identity: PartIdentity,
        *,
        caps: Caps = _NOTHING_CAPPED,
        outage: Outage = _WAITED_FOR,
    ) -> None:
        self.is_damaged = False
        self._harvest = fleet.harvest
        self._caps = caps
        self._tokens = identity.tokens
        self.run = 0
        self._duplicates = 0
        self._claims = 0
        self._frontier = 0
        self._connection = ResilientConnection(Address.of(fleet), identity, outage)
        self._part, self.is_new = self._connection.part, self._connection.is_new

    @property
    def _known_part(self) -> _KnownPart:
        return _KnownPart(*self._ask(_PART, self._part)[0])

    def forget_part(self) -> None:
        """Leave no trace of a part that is not to be."""
        self._ask("DELETE FROM part WHERE id = %s AND op = 0", self._part)

    def bring_in(self, moving: Moving) -> None:
        """Take in what a ledger of the part's own held, once; its lines are to be read anew."""
        if self._ask("SELECT true FROM part WHERE id = %s AND op = 0", self._part):
            self._at_length(bring_in, moving)

    def _ask(self, query: str, *values: object) -> list[Row]:
        """Run a statement that may run twice; gives its rows."""
        return self._connection.read(lambda db: rows_of(db.execute(query.encode(), values)))

    def _transact(self, work: Work[P, T], *args: P.args, **how: P.kwargs) -> T:
        """Do a transaction, once."""
        return self._connection.transact(lambda tx: work(tx, *args, **how), self.run)

    def _at_length(self, work: Work[P, T], *args: P.args, **how: P.kwargs) -> T:
        """Do one of the whole harvest, however long it takes."""
        return self._connection.transact(lambda tx: work(tx, *args, **how), self.run, for_long=True)

    # Beginning and end

    def identity(self) -> Identity | None:
        ((held,),) = self._ask(
            "SELECT jsonb_object_agg(key, value) FROM meta WHERE key IN ('endpoint', 'simulated')"
        )
        return Identity(held["endpoint"], bool(held["simulated"])) if held else None

    def identify(self, identity: Identity) -> None:
        """Tell the harvest what it holds; raises UsageError where another host told otherwise."""
        held = self.identity()
        if held is None:
            self._ask(
                "INSERT INTO meta VALUES ('endpoint', %s), ('simulated', %s)"
                " ON CONFLICT DO NOTHING",
                Jsonb(identity.endpoint),
                Jsonb(int(identity.simulated)),
            )
            held = self.identity()
        if held != identity and held is not None:
            kind = "simulated" if held.simulated else "real"
            raise UsageError(
                f"the harvest {self._harvest} holds {kind} notes of the endpoint {held.endpoint}: "
                "choose another --harvest."
            )

    def checkpoint(self) -> Checkpoint:
        known = self._known_part
        return Checkpoint(known.length, known.tail)

    def synced(self) -> int:
        pending = self._connection.synced
        return self._known_part.synced if pending is None else pending

    def boot(self) -> str:
        return self._known_part.boot

    def mark_boot(self, boot: str) -> None:
        self._ask("UPDATE part SET boot = %s WHERE id = %s", boot, self._part)

    def lose_lines(self, checkpoint: Checkpoint) -> int:
        return self._at_length(adoption.lose_lines, checkpoint)

    def knows(self, line: FoundLine) -> bool:
        moment = moment_of(line)
        found = self._ask(
            "SELECT true FROM job JOIN line USING (seq) WHERE note_id = %s AND is_there"
            " AND line.fetched_at IN (%s, %s) AND %s IN (0, line.line_end) LIMIT 1",
            *(line.note_id, moment, moment + 1, line.end),
        )
        return bool(found)

    def begin_run(self, longest_delay: float, request: RunRequest = _NO_REQUEST) -> StartedRun:
        """See `Ledger.begin_run`: the dead runs are those of this part."""
        self.run = 0
        opening = self._transact(runs.begin_run, longest_delay, request, self._tokens)
        self.run, self._claims = opening.run, 0
        return opening

    def as_one(self, _look: Look) -> AbstractContextManager[None]:
        """Each step is a transaction of its own: the next run goes on where this one left."""
        return nullcontext()

    def forget_lines(self) -> None:
        """See `Ledger.forget_lines`: nobody calls for its notes before all of it was read."""
        self._at_length(adoption.forget_lines)

    def is_rebuilding(self) -> bool:
        return self._known_part.is_rebuilding

    def end_reading(self) -> None:
        if self._known_part.is_reading:
            self._at_length(adoption.end_reading)

    def start_rate(self) -> float | None:
        found = self._ask("SELECT value FROM meta WHERE key = 'start_rate'")
        return float(found[0][0]) if found else None

    def remember_start_rate(self, per_second: float) -> None:
        self._ask(
            "INSERT INTO meta VALUES ('start_rate', %s)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            Jsonb(per_second),
        )

    def balances(self) -> list[Balances]:
        return [read_balances(text) for (text,) in self._ask(BALANCES)]

    def keep_balances(self, balances: Balances) -> None:
        self._ask("UPDATE run SET balances = %s WHERE id = %s", balances.as_text(), self.run)

    def finish_run(
        self, reason: str, exit_code: int, bad_lines: int = 0, bad_example: str | None = None
    ) -> None:
        self._transact(runs.finish_run, reason, exit_code, bad_lines, bad_example)

    def close(self) -> None:
        self._connection.close()

    # The run

    def enrol(
        self,
        ids: Sequence[str],
        refresh_before: float | None,
        extra_fields: Mapping[str, str] | None = None,
    ) -> Enrolled:
        if not ids:
            return Enrolled()
        return self._transact(intake.enrol, ids, refresh_before, extra_fields or {})

    def end_input(self) -> int:
        """See `Ledger.end_input`: here, repeats are always known at once."""
        return 0

    def refresh(self, before: float) -> int:
        return self._at_length(intake.refresh, before)

    def retry(
        self, states: Sequence[State], codes: Sequence[int] = (), ids: Sequence[str] = ()
    ) -> int:
        return self._at_length(intake.retry, states, codes, ids)

    def requeue(self, seqs: Sequence[int]) -> None:
        self._transact(intake.requeue, seqs)

    def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        """See `Ledger.claim`; within the caps, less what any host has claimed."""
        self._claims += 1
        claim_id = (self.run << 32) + self._claims
        want = Want(limit, lease, claim_id, held, self._frontier, self._caps)
        taken, asked = self._transact(claims.claim, want)
        claimed, self._frontier = claims.claimed_of(want, self.run, taken.rows, asked.rows)
        return claimed

    def renew(self, jobs: Sequence[Job], lease: float) -> None:
        if jobs:
            self._transact(claims.extend, jobs, lease)

    def mark_sent(self, jobs: Sequence[Job], lease: float, turns: Turns | None = None) -> Sent:
        """See `Ledger.mark_sent`; gives none once a stop of the turns' token or of all is recorded.

        What is stopped goes back at once: who asked takes none of it for its own any more.
        """
        if not jobs:
            return Sent()
        assert turns is not None  # noqa: S101 - no call of a fleet starts without one
        going = self._transact(claims.mark_sent, jobs, lease, turns)
        sent = claims.sent_of(going.rows, jobs, turns)
        if not sent.jobs and not sent.kept:
            self.release(jobs)
        return sent

    def record(
        self, outcomes: Sequence[Outcome], ends: Sequence[int], checkpoint: Checkpoint
    ) -> list[Outcome]:
        held = set(self._transact(records.record, outcomes, ends, checkpoint).rows)
        return [o for o in outcomes if (o.job.seq, o.job.claim_id) not in held]

    def release(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self._transact(claims.release, jobs)

    def abandon(self, jobs: Sequence[Job], how: str) -> None:
        if jobs:
            self._transact(claims.abandon, jobs, how)

    def adopt(self, lines: Sequence[FoundLine], checkpoint: Checkpoint) -> int:
        """See `Ledger.adopt`; a note done already was paid for again, and is listed as that."""
        is_anew = not self.run and self._known_part.is_anew
        adopted, again = self._transact(adoption.adopt, lines, checkpoint, is_anew=is_anew)
        self._duplicates += again
        return adopted

    def new_duplicates(self) -> int:
        """How many of the lines adopted since this was asked are of notes paid for already."""
        found, self._duplicates = self._duplicates, 0
        return found

    def counts(self) -> Counts:
        return Counts(*self._ask(COUNTS.format(now=_NOW))[0])

    def charged_since(self, since: float) -> int:
        ((used,),) = self._ask(USED.format(since=round(since * 1000), now=_NOW))
        return int(used)

    def note_wait(self, until: float | None) -> None:
        """See `Ledger.note_wait`: told of this host alone, as others may go on."""
        self._ask("UPDATE member SET resumes_at = %s WHERE run = %s", until, self.run)

    def starts(self) -> dict[str, list[float]]:
        """See `Ledger.starts`: a fleet's rate is granted by the database, anew each time."""
        return {}

    def remember_starts(self, calls: int, starts: Mapping[str, Sequence[float]]) -> None:
        """See `Ledger.remember_starts`: nothing is to be kept here."""

    def settle(self, synced: int) -> None:
        """See `Ledger.settle`: what PostgreSQL committed is durable already."""
        self._connection.synced = synced
