"""A ledger's file: its connection, its transactions and errors, its clock, its small notes."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from harvester.disk import file_id
from harvester.errors import DamagedLedgerError, HaltedError, LocalIOError
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.sqlite.schema import migrate
from harvester.model import State

Connection = sqlite3.Connection
# A reader such as `status` may hold the file for a moment; nobody holds it this long.
_BUSY_SECONDS = 30.0
# A ledger and SQLite's own files beside it, by what stands behind its name.
LEDGER_FILES = ("", "-wal", "-shm")
# The numbers of a JSON list.
SEQS = "(SELECT value FROM json_each(?))"


class Store:
    """One file, used from one thread at a time; `run` is the number of the run that is on, or 0.

    `clock` gives Unix seconds. Another program that holds the file is waited for, but not for ever.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        connection: type[Connection],
        *,
        sync: bool,
    ) -> None:
        self.is_damaged = False
        self.run = 0
        self.clock = clock
        self._path = path
        with self.errors():
            _make_private(path)
            self.db = sqlite3.connect(
                path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                factory=connection,
            )
        try:
            with self.errors():
                self._prepare(sync=sync)
        except BaseException:
            self.db.close()
            raise
        self._folder, self._file = file_id(path.parent), file_id(path)

    def _prepare(self, *, sync: bool) -> None:
        self.db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        # Of macOS alone, whose fsync leaves what was written in the drive's cache.
        self.db.execute(f"PRAGMA fullfsync = {int(sync)}")
        # Checkpoints wait for `settle`, which comes after OUTPUT itself was made durable.
        self.db.execute("PRAGMA wal_autocheckpoint = 0")
        self.db.execute("PRAGMA cache_size = -16000")  # in KiB
        migrate(self.db, str(self._path))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code == sqlite3.SQLITE_INTERRUPT:
                raise HaltedError from error
            if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise LocalIOError(
                    f"the ledger {self._path} was locked by another program for "
                    f"{_BUSY_SECONDS:g} s: close what has it open (a database browser, a "
                    "backup), then run the same command again; nothing that was paid for is lost."
                ) from error
            raise LocalIOError(
                f"the ledger {self._path} cannot be written ({error}): "
                "check free space and permissions, then run the same command again."
            ) from error
        except sqlite3.DatabaseError as error:
            self.is_damaged = True
            raise DamagedLedgerError(
                f"the ledger {self._path} is damaged ({error}) and is set aside: run again and "
                "name your INPUT; the ledger will be rebuilt from OUTPUT."
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All that is done within, or nothing of it; part of the one that is on, if one is."""
        is_part = self.db.in_transaction
        if is_part:
            yield self.db
            return
        with self.errors():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            except BaseException:
                # A COMMIT that fails may leave its transaction open; one the disk broke is gone.
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def now(self) -> int:
        """The time in Unix milliseconds."""
        return round(self.clock() * 1000)

    def shift(self, moves: Counter[State]) -> None:
        """Keep the tally in step with the jobs, in the same transaction."""
        rows = [(many, state) for state, many in moves.items() if many]
        self.db.executemany("UPDATE tally SET jobs = jobs + ? WHERE state = ?", rows)

    def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Vouch for so much of OUTPUT."""
        self.db.execute(
            "UPDATE output SET length = ?, tail = ?", (checkpoint.length, checkpoint.tail)
        )

    def get_meta(self, key: str) -> Any:  # noqa: ANN401 - SQLite keeps it as it was given
        """What was kept under a name; None if nothing was."""
        with self.errors():
            row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: float | str | None) -> None:
        """Keep something under a name."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def delete_meta(self, key: str) -> None:
        """Keep nothing under a name any more."""
        with self.transaction() as db:
            db.execute("DELETE FROM meta WHERE key = ?", (key,))

    def put_back(self) -> None:
        """Give the ledger its name back where it was removed or replaced, as well as can be done.

        What stands in its place is kept. Without what it knows, notes that are charged and have no
        line would be called for again.
        """
        path = self._path
        if file_id(path.parent) != self._folder or file_id(path) == self._file:
            return
        fresh = path.with_name(f"{path.name}.new")
        with suppress(OSError, LocalIOError, sqlite3.Error):
            _make_private(fresh)
            self.db.execute("VACUUM INTO ?", (str(fresh),))
            # They are of the ledger that was removed, if of any, and would spoil this one.
            for log in LEDGER_FILES[1:]:
                path.with_name(path.name + log).unlink(missing_ok=True)
            set_aside(path, "replaced")
            fresh.replace(path)
        with suppress(OSError):
            fresh.unlink(missing_ok=True)

    def last_run(self) -> int:
        """The run that made the lines being adopted: this one, or the last before it."""
        row = self.db.execute("SELECT max(id) FROM run").fetchone()
        return self.run or row[0] or 0


def set_aside(path: Path, why: str) -> Path:
    """Keep a ledger under another name, out of the way."""
    names = (path.with_name(f"{path.name}.{why}{n or ''}") for n in count())
    aside = next(name for name in names if not name.exists())
    for suffix in LEDGER_FILES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _make_private(path: Path) -> None:
    """Make the file for its owner alone; SQLite gives its log and index the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LocalIOError(
            f"the ledger {path} cannot be written ({error.strerror}): check free space and "
            "permissions, and that it is no link, then run the same command again."
        ) from error
