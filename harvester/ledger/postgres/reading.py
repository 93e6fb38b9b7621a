"""Reads a fleet's ledger for people and programs, by the queries that read an embedded one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.adapt import Buffer, Loader

from harvester.errors import LedgerError, NoHarvestError
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.postgres.connection import READING, Address, Connection, session
from harvester.ledger.postgres.schema import NEWEST, harvests_in, version_of
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.reader import KNOWN, KnownJob, LedgerReader, Row, known_job

_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Rows fetched at once of what may be as long as the harvest.
_AT_ONCE = 5000
_JOBS = """(
    SELECT seq, note_id, state, fetched_at, attempts, held.lines,
        CASE WHEN job.part = {part} THEN job.line_end END AS line_end
    FROM job, LATERAL (SELECT count(*) AS lines FROM line
        WHERE line.seq = job.seq AND line.part = {part} AND is_there) AS held
) AS job"""


class _Whole(Loader):
    """Sums come as numeric; they are of whole numbers."""

    def load(self, data: Buffer) -> int | float:
        """Read a number as the embedded ledger would give it."""
        text = bytes(data).decode()
        return float(text) if "." in text else int(text)


class FleetReader(LedgerReader):
    """Read-only queries over all parts, all of one moment; open one with `reading_fleet`."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._pieces = 0
        db.adapters.register_loader("numeric", _Whole)
        db.execute(_BEGIN)

    def ask(self, query: str, *values: object) -> Iterator[Row]:
        return iter(psycopg.RawCursor(self._db).execute(query.encode(), values or None))

    def through(self, query: str) -> Iterator[Row]:
        self._pieces += 1
        with self._db.cursor(f"pieces{self._pieces}") as cursor:
            cursor.itersize = _AT_ONCE
            yield from cursor.execute(query.encode())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Go on to a newer moment, and again behind it."""
        self._begin_anew()
        try:
            yield
        finally:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._db.rollback()
        self._db.execute(_BEGIN)

    def jobs_of(self, note_ids: Sequence[str]) -> dict[str, KnownJob]:
        query = f"SELECT note_id, {KNOWN} FROM {self.jobs} WHERE note_id = ANY($1)"
        return {note_id: known_job(row) for note_id, *row in self.ask(query, list(note_ids))}


class PartReader(FleetReader):
    """A reader of one part; open one with `reading_fleet`.

    A note has only the lines here that this part should hold; those of other parts are not known.
    """

    def __init__(self, db: Connection, fleet: FleetAddress, uuid: str) -> None:
        super().__init__(db)
        self._fleet, self._uuid = fleet, uuid
        query = "SELECT id FROM part WHERE uuid = $1"
        # Numbers begin with 1: of a part that the ledger does not know, it knows no line.
        ((self._part,),) = [*self.ask(query, uuid)] or [(0,)]
        self.jobs = _JOBS.format(part=self._part)

    def checkpoint(self) -> Checkpoint:
        """How much of the part the ledger vouches for."""
        rows = self.ask("SELECT length, tail FROM part WHERE id = $1", self._part)
        return next((Checkpoint(*row) for row in rows), Checkpoint())

    def newest_length(self) -> int:
        with reading_fleet(self._fleet, self._uuid) as reader:
            return reader.checkpoint().length


@contextmanager
def reading_fleet(fleet: FleetAddress, part: str | None = None) -> Iterator[FleetReader]:
    """A reader of a harvest, for a part by its UUID; raises UsageError, LedgerError, LocalIOError.

    The role needs no right but to read.
    """
    with session(fleet, READING) as db:
        _check_version(db, Address.of(fleet))
        yield (FleetReader(db) if part is None else PartReader(db, fleet, part))


def _check_version(db: Connection, address: Address) -> None:
    version, harvest = version_of(db, address.schema), address.harvest
    if version == 0:
        others = ", ".join(harvests_in(db))
        held = f"but {others}: name one with --harvest" if others else "nor any: check --ledger"
        raise NoHarvestError(f"the {address} holds no harvest {harvest}, {held}, or start a run.")
    if version < NEWEST:
        raise LedgerError(
            f"the harvest {harvest} was written by an older harvester (schema {version}, this one "
            f"reads {NEWEST}): start a run, which brings it up to date."
        )
