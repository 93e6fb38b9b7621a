"""Reads a fleet's ledger for people and programs, by the queries that read an embedded one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
from msgspec import Struct
from psycopg.adapt import Buffer, Loader

from harvester.errors import LedgerError, NoHarvestError
from harvester.ledger.postgres.connection import Address, Connection, failure, refusal
from harvester.ledger.postgres.schema import NEWEST, harvests_in, schema_of, version_of
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.reader import ExpectedLines, LedgerReader

_PLACE = re.compile(r"\?\d*")
_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Rows fetched at once of what may be as long as the harvest.
_AT_ONCE = 5000


class PartRow(Struct, frozen=True):
    """One host's OUTPUT as the ledger knows it; `checkpoint` is what it vouches for.

    `current` are the notes whose current line is in it, `duplicates` its lines paid for again.
    """

    number: int
    uuid: str
    host: str
    path: str
    checkpoint: Checkpoint
    current: int
    duplicates: int


class DuplicateRow(Struct, frozen=True):
    """A line that was paid for though its note was done; times are Unix seconds."""

    note_id: str
    part: str
    line_end: int
    fetched_at: float
    found_at: float


class _Whole(Loader):
    """Sums come as numeric; they are of whole numbers."""

    def load(self, data: Buffer) -> int | float:
        """Read a number as the embedded ledger would give it."""
        text = bytes(data).decode()
        return float(text) if "." in text else int(text)


class _Snapshot:
    """A connection that takes SQLite's words; all it reads is of one moment, and only read."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._pieces = 0
        db.adapters.register_loader("numeric", _Whole)
        db.execute(_BEGIN)

    def execute(self, query: str, values: Sequence[object] = ()) -> Any:  # noqa: ANN401 - rows of any kind
        """Run a query; "BEGIN" and "ROLLBACK" go on to a newer moment."""
        if query in {"BEGIN", "ROLLBACK"}:
            self._db.rollback()
            return self._db.execute(_BEGIN)
        text = _PLACE.sub("%s", query.replace("%", "%%")) if values else query
        named = [value.hex() if isinstance(value, bytes) else value for value in values]
        if query.endswith("ORDER BY seq") and not values:
            return self._in_pieces(text)
        return self._db.execute(text.encode(), named or None)

    def _in_pieces(self, text: str) -> Iterator[tuple[Any, ...]]:
        """Read through all jobs without holding them in memory."""
        self._pieces += 1
        with self._db.cursor(f"pieces{self._pieces}") as cursor:
            cursor.itersize = _AT_ONCE
            yield from cursor.execute(text.encode())


class FleetReader(LedgerReader):
    """Read-only queries over all parts; open one with `reading_fleet`.

    What is of one OUTPUT (`checkpoint`, `length`) is of the part that it was opened for.
    """

    def __init__(self, db: _Snapshot, harvest: str, address: Address, part: str | None) -> None:
        # The reader asks only for what a snapshot has: `execute`, and rows from it.
        super().__init__(cast("Any", db), Path(harvest))
        self._snapshot = db
        self._harvest = harvest
        self._address = address
        self._part = part

    def check(self) -> None:
        """Nothing: a server keeps its own files."""

    def require_index(self) -> None:
        """Nothing: the index on note ids is always there."""

    def checkpoint(self) -> Checkpoint:
        """How much of the part the ledger vouches for."""
        query = "SELECT length, tail FROM part WHERE uuid = ?"
        row = self._snapshot.execute(query, (self._part or "",)).fetchone()
        return Checkpoint() if row is None else Checkpoint(*row)

    def newest_length(self) -> int:
        """How many bytes of the part the ledger vouches for by now, also within a snapshot."""
        with reading_fleet(self._address.conninfo, self._harvest, self._part) as reader:
            return reader.length()

    def expected_lines(self) -> ExpectedLines:
        """How many lines all parts together should hold."""
        row = self._snapshot.execute(
            "SELECT count(line_end), sum(lines) - count(line_end),"
            " sum((lines - (line_end IS NOT NULL)::int) * seq) FROM job WHERE lines > ?",
            (0,),
        ).fetchone()
        current, older, older_sum = (0, 0, 0) if row is None else row
        return ExpectedLines(
            current, older or 0, older_sum or 0, self._one("SELECT coalesce(max(seq), 0) FROM job")
        )

    # What only a fleet has

    def parts(self) -> list[PartRow]:
        """All parts, in the order in which they came."""
        rows = self._snapshot.execute(
            "SELECT id, uuid, host, path, length, tail,"
            " (SELECT count(*) FROM job WHERE job.part = part.id AND lines > ?),"
            " (SELECT count(*) FROM duplicate WHERE duplicate.part = part.id)"
            " FROM part ORDER BY id",
            (0,),
        )
        return [
            PartRow(number, uuid, host, path, Checkpoint(length, tail), current, duplicates)
            for number, uuid, host, path, length, tail, current, duplicates in rows
        ]

    def part_of(self, note_id: str) -> str | None:
        """The UUID of the part that holds a note's current line."""
        query = "SELECT uuid FROM job JOIN part ON part.id = job.part WHERE note_id = ?"
        row = self._snapshot.execute(query, (note_id,)).fetchone()
        return None if row is None else str(row[0])

    def duplicates(self) -> Iterator[DuplicateRow]:
        """All lines that were paid for again, in the order in which they were found."""
        for note_id, uuid, end, fetched_at, found_at in self._snapshot.execute(
            "SELECT note_id, uuid, duplicate.line_end, duplicate.fetched_at, found_at"
            " FROM duplicate JOIN job USING (seq) JOIN part ON part.id = duplicate.part"
            " ORDER BY found_at, duplicate.part, duplicate.line_end"
        ):
            yield DuplicateRow(note_id, uuid, end, fetched_at / 1000, found_at / 1000)

    def members(self) -> list[tuple[str, str]]:
        """Host and path of the parts whose runs are alive."""
        rows = self._snapshot.execute(
            "SELECT host, path FROM member JOIN part ON part.id = member.part"
            " WHERE alive_until > now_ms() ORDER BY run"
        )
        return [(host, path) for host, path in rows]


@contextmanager
def reading_fleet(url: str, harvest: str, part: str | None = None) -> Iterator[FleetReader]:
    """A reader of a harvest, for a part by its UUID; raises UsageError, LedgerError, LocalIOError.

    The role needs no right but to read.
    """
    address, schema = Address.parse(url), schema_of(harvest)
    try:
        db = address.connect(schema, "harvester reading", idle=0, by_keys=False)
    except psycopg.Error as error:
        raise refusal(error, address) from error
    try:
        with closing(db), db.for_long():
            _check_version(db, harvest, address)
            yield FleetReader(_Snapshot(db), harvest, address, part)
    except psycopg.Error as error:
        raise failure(error, address) from error


def _check_version(db: Connection, harvest: str, address: Address) -> None:
    version = version_of(db, schema_of(harvest))
    if version == 0:
        others = ", ".join(harvests_in(db))
        held = f"but {others}: name one with --harvest" if others else "nor any: check --ledger"
        raise NoHarvestError(f"the {address} holds no harvest {harvest}, {held}, or start a run.")
    if version < NEWEST:
        raise LedgerError(
            f"the harvest {harvest} was written by an older harvester (schema {version}, this one "
            f"reads {NEWEST}): start a run, which brings it up to date."
        )
