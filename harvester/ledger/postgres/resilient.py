"""Calls on a database that may go away: they wait until it is back, and each is done once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

import psycopg

from harvester.errors import LocalIOError
from harvester.ledger.fleet import Outage, PartIdentity
from harvester.ledger.postgres.connection import (
    AGAIN,
    END_STOPPED,
    Address,
    Connection,
    failure,
    is_away,
    refusal,
    said_by,
)
from harvester.ledger.postgres.schema import check_version, migrate
from harvester.ledger.postgres.transaction import Transaction
from harvester.model import StopReason

T = TypeVar("T")
_STOP_ALL = """
INSERT INTO stop (session, token_fp, reason, detail, at)
SELECT max(session), '', %s, %s, now_ms() FROM run HAVING count(*) > 0 ON CONFLICT DO NOTHING
"""
# What is left of our broken connections, or of a killed run's: nobody reads them.
_END_PREDECESSORS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s
    AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
"""
_FIND_PART = """
INSERT INTO part (uuid, host, path) VALUES (%s, %s, %s) ON CONFLICT (uuid)
DO UPDATE SET host = excluded.host, path = excluded.path RETURNING id, op, writer, xmax = 0
"""
# In seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_SHORT_PAUSE = 0.01
_MOST_REPEATS = 50


class ResilientConnection:
    """One part's connection; used from one thread at a time.

    What is `synced` of the part's file is written with the next transaction; `is_new` tells that
    the ledger did not know the part before. A database that has forgotten what was committed, or
    in which somebody else writes as this part, ends all calls from then on.

    The constructor connects, brings the schema up to date, and finds the part or makes it. Raises
    LocalIOError, LedgerError, UsageError, here and in every call.
    """

    def __init__(self, address: Address, identity: PartIdentity, outage: Outage) -> None:
        self._address = address
        self._identity = identity
        self._outage = outage
        self._away = ""
        self._op = self._tried = 0
        self._writer = secrets.randbits(63)
        self._fatal: LocalIOError | None = None
        self.is_new = False
        self.part = 0
        self.synced: int | None = None
        try:
            self._db: Connection | None = self._connect(is_first=True)
        except psycopg.Error as error:
            raise refusal(error, address) from error

    def _connect(self, *, is_first: bool = False) -> Connection:
        name = f"harvester {self._identity.uuid}"
        db = self._address.connect(name)
        db.timeout = self._outage.statement
        try:
            if is_first:
                with db.for_long():
                    migrate(db, self._address.schema)
            else:
                check_version(db, self._address.schema)
            self._find_part(db, name, is_first=is_first)
        except BaseException:
            db.close()
            raise
        return db

    def _find_part(self, db: Connection, name: str, *, is_first: bool) -> None:
        """Read how far the part's work has come, once no older transaction of it is on."""
        identity = self._identity
        with db.pipeline():
            db.execute(_END_PREDECESSORS, (name,))
            found = db.execute(_FIND_PART, (identity.uuid, identity.host, identity.path))
        ((part, op, writer, is_new),) = found.fetchall()
        if is_first:
            self.is_new = is_new
        elif part != self.part or op < self._op:
            self._tell_forgotten(db, is_behind=True)
        elif op > self._op and (op, writer) != (self._tried, self._writer):
            self._tell_forgotten(db, is_behind=False)
        self.part, self._op = part, op

    def _tell_forgotten(self, db: Connection, *, is_behind: bool) -> None:
        """Stop, and have all hosts stop, before they pay for what the database has forgotten."""
        if is_behind:
            said = (
                f"the {self._address} has forgotten what was committed, as one that was restored "
                "or took over from another: what was paid for is in OUTPUT; run the same command "
                "again on every host, which takes it from there."
            )
            db.execute(_STOP_ALL, (StopReason.LOCAL_IO.value, said))
        else:
            said = (
                f"another run writes as the part {self._identity.path}: {self._identity.uuid}, "
                f"which stands beside it, is on two machines. Stop one of them; a copy that "
                f"is to go on by itself begins with an OUTPUT of its own."
            )
        self._fatal = LocalIOError(said)
        raise self._fatal

    def close(self) -> None:
        """Say goodbye."""
        if self._db is not None:
            self._db.close()

    # Calls

    def read(self, call: Callable[[Connection], T], *, for_long: bool = False) -> T:
        """Make a call that may be made twice; it waits while the database is away."""
        if self._fatal is not None:
            raise self._fatal
        pause, repeats = _FIRST_PAUSE, 0
        # Given up once, it is not waited for by each of the calls that a run ends with.
        self._give_up_or_not()
        while True:
            try:
                result = self._try(call, for_long=for_long)
            except psycopg.Error as error:
                if error.sqlstate in AGAIN and repeats < _MOST_REPEATS:
                    repeats += 1
                    self._unblock(error)
                    self._outage.pause(_SHORT_PAUSE)
                    continue
                if isinstance(error, psycopg.errors.CheckViolation) and self._db is not None:
                    self._tell_forgotten(self._db, is_behind=False)
                if not is_away(error):
                    raise failure(error, self._address) from error
                self._wait(error, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if self._away:
                    self._away = ""
                    self._outage.is_over()
                return result

    def _try(self, call: Callable[[Connection], T], *, for_long: bool) -> T:
        if self._db is None or self._db.closed:
            self._db = self._connect()
        db = self._db
        try:
            with db.for_long() if for_long else nullcontext():
                return call(db)
        except BaseException as error:
            if isinstance(error, psycopg.Error) and is_away(error):
                db.close()
            db.roll_back()
            raise

    def _unblock(self, error: psycopg.Error) -> None:
        """See that no host which has stopped holds the lock that was waited for in vain."""
        if isinstance(error, psycopg.errors.LockNotAvailable) and self._db is not None:
            with suppress(psycopg.Error):
                self._db.execute(END_STOPPED)

    def _wait(self, error: psycopg.Error, seconds: float) -> None:
        told, self._away = self._away, said_by(error)
        self._give_up_or_not(error)
        if not told:
            self._outage.tell(f"the {self._address} is away: {self._away}")
        self._outage.pause(seconds)

    def _give_up_or_not(self, error: psycopg.Error | None = None) -> None:
        if self._away and self._outage.give_up():
            raise LocalIOError(
                f"the {self._address} is away ({self._away}): what was paid for is in OUTPUT; "
                "run the same command again when it is back, it goes on from there."
            ) from error

    def transact(
        self,
        work: Callable[[Transaction], T],
        run: int,
        *,
        for_long: bool = False,
        repeats: bool = False,
    ) -> T:
        """Do a transaction exactly once, whenever the connection breaks; gives its result.

        Each commit takes the part's next number. Where its answer was lost, the number tells
        whether it came through; if not, `work` is done again. One that `repeats` may be done twice,
        and is, as what it gives would be lost.
        """
        # A number whose commit was sent, and what the transaction gave.
        tried: tuple[int, T] | None = None

        def attempt(db: Connection) -> T:
            nonlocal tried
            if not repeats and tried is not None and self._op == tried[0]:
                return tried[1]
            self._tried = self._op + 1
            transaction = Transaction(db, self.part, run, self._tried)
            transaction.synced, transaction.is_again = self.synced, tried is not None
            transaction.writer = self._writer
            tried = self._tried, work(transaction)
            transaction.commit()
            self._op = self._tried
            return tried[1]

        return self.read(attempt, for_long=for_long)
