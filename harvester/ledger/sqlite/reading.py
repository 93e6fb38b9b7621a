"""Reads the ledger beside an OUTPUT, also while a run is writing it."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from harvester.errors import DamagedLedgerError, LedgerError, LocalIOError, UsageError
from harvester.ledger.keys import to_key
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.reader import KNOWN, KnownJob, LedgerReader, Row, known_job
from harvester.ledger.sqlite.schema import NEWEST, version_of
from harvester.sides import Side


def ledger_path(output: Path) -> Path:
    """Where the ledger of an OUTPUT is."""
    return Side.LEDGER.of(output)


class SqliteReader(LedgerReader):
    """Read-only queries of one file; open one with `reading`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def ask(self, query: str, *values: object) -> Iterator[Row]:
        return self._db.execute(query, {str(n): value for n, value in enumerate(values, 1)})

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def check(self) -> None:
        """Raise DamagedLedgerError if the ledger's file is broken anywhere; reads all of it."""
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(self._path, found)

    def copy_to(self, path: Path) -> None:
        """Make a ledger at `path` that holds what this one does now."""
        with closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(*next(self.ask("SELECT length, tail FROM output")))

    def newest_length(self) -> int:
        with closing(_connect(self._path)) as db:
            return SqliteReader(db, self._path).checkpoint().length

    def jobs_of(self, note_ids: Sequence[str]) -> dict[str, KnownJob]:
        query = f"SELECT {KNOWN} FROM job WHERE note_id = $1"
        jobs = ((note_id, row) for note_id in note_ids for row in self.ask(query, to_key(note_id)))
        return {note_id: known_job(row) for note_id, row in jobs}


@contextmanager
def reading(
    path: Path, *, allow_older: bool = False, is_brief: bool = False
) -> Iterator[SqliteReader]:
    """A reader of the ledger at a path; raises UsageError, LedgerError, LocalIOError.

    Of an older schema only `checkpoint` can be read. A brief look leaves no file of SQLite's beside
    the ledger, but sees nothing of a run that begins meanwhile.
    """
    if not path.exists():
        raise UsageError(_no_ledger(path))
    try:
        with closing(_connect(path, is_brief=is_brief)) as db:
            _check_version(db, path, allow_older=allow_older)
            db.execute("PRAGMA cache_size = -16000")  # in KiB: notes are looked up in no order
            yield SqliteReader(db, path)
    except sqlite3.OperationalError as error:
        raise LocalIOError(
            f"the ledger {path} cannot be read ({error}): check the disk and the permissions of "
            "the file and its folder, then try again."
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def _connect(path: Path, *, is_brief: bool = False) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    is_unwritten = is_brief or not os.access(path.parent, os.W_OK)
    if is_unwritten:
        # SQLite would make files beside the ledger. Where nobody can, nobody writes it either.
        how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    else:
        # Only who might write takes those files away again.
        how = "mode=rw"
    uri = f"file:{quote(os.fsencode(path))}?{how}"
    db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
    db.execute("PRAGMA query_only = 1")
    return db


def _check_version(db: sqlite3.Connection, path: Path, *, allow_older: bool) -> None:
    version = version_of(db, str(path))
    if version == 0:
        raise LedgerError(
            f"{path} is no ledger of harvester's, or an empty one: name another OUTPUT, or "
            "start a run."
        )
    if version < NEWEST and not allow_older:
        raise LedgerError(
            f"{path} was written by an older harvester (schema {version}, this one reads "
            f"{NEWEST}): start a run, which brings it up to date."
        )


def _output_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(Side.LEDGER))


def _no_ledger(path: Path) -> str:
    output = _output_of(path)
    if output.name.endswith(Side.LEDGER) and output.exists():
        meant = shlex.quote(str(_output_of(output)))
        return f"{output} is a ledger itself: name its OUTPUT, {meant}."
    if output.exists():
        return (
            f"there is no ledger {path}, though {output} is there: put it back, or let a run "
            f"rebuild it from OUTPUT: harvester run INPUT -o {shlex.quote(str(output))}"
        )
    return f"there is no ledger {path}: name the OUTPUT of an earlier run, in the right folder."


def _damaged(path: Path, what: str) -> DamagedLedgerError:
    output = shlex.quote(str(_output_of(path)))
    return DamagedLedgerError(
        f"the ledger {path} is damaged ({_one_line(what)}): let a run set it aside and rebuild it "
        f"from OUTPUT: harvester run INPUT -o {output} --rebuild (what OUTPUT lacks is fetched, "
        "and paid for, again)"
    )


def _one_line(what: str) -> str:
    return " ".join(what.removeprefix("*** in database main ***").split())
