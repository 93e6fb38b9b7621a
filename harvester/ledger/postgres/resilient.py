"""Calls on a database that may go away: they wait until it is back, and each is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psycopg

from harvester.errors import LocalIOError
from harvester.ledger.fleet import Outage, PartIdentity
from harvester.ledger.postgres.connection import (
    LONG,
    READING,
    Address,
    Connection,
    failure,
    is_away,
    refusal,
    said_by,
)
from harvester.ledger.postgres.schema import check_version, migrate
from harvester.ledger.postgres.transaction import OutOfTurn, Transaction
from harvester.model import StopReason

T = TypeVar("T")
_STOP_ALL = """
INSERT INTO stop (session, token_fp, reason, detail, at)
SELECT max(session), '', %s, %s, now_ms() FROM run HAVING count(*) > 0 ON CONFLICT DO NOTHING
"""
# What is left of our broken connections, or of a killed run's: nobody reads them. And hosts that
# have stopped within a transaction must not hold the others up: those of which the server has
# waited for more as long as for a lock. Who only reads holds none.
_END_OTHERS = f"""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
    AND (application_name = %s OR application_name LIKE 'harvester%%'
        AND application_name <> '{READING}' AND state <> 'idle' AND wait_event = 'ClientRead'
        AND query NOT LIKE 'COPY %%'
        AND query_start < now() - current_setting('lock_timeout')::interval)
"""
_FIND_PART = """
INSERT INTO part (uuid, host, path) VALUES (%s, %s, %s) ON CONFLICT (uuid)
DO UPDATE SET host = excluded.host, path = excluded.path RETURNING id, op
"""
# Others were in a transaction's way: it may succeed at once.
_AGAIN = ("40001", "40P01", "55P03")
# In seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_SHORT_PAUSE = 0.01
_MOST_REPEATS = 50


class ResilientConnection:
    """One part's connection; used from one thread at a time.

    What is `synced` of the part's file is written with the next transaction; `is_new` tells that
    the ledger knows of nothing that was done in the part. A database that has forgotten what was
    committed, or in which somebody else writes as this part, ends all calls from then on.

    The constructor connects, brings the schema up to date, and finds the part or makes it. Raises
    LocalIOError, LedgerError, UsageError, here and in every call.
    """

    def __init__(self, address: Address, identity: PartIdentity, outage: Outage) -> None:
        self._address = address
        self._identity = identity
        self._outage = outage
        self._away = ""
        self._op = self._tried = 0
        self._fatal: LocalIOError | None = None
        self.is_new = False
        self.part = 0
        self.synced: int | None = None
        try:
            self._db = self._connect()
        except psycopg.Error as error:
            raise refusal(error, address) from error

    def _connect(self, *, is_again: bool = False) -> Connection:
        name = f"harvester {self._identity.uuid}"
        db = self._address.connect(name)
        try:
            if self.part:
                check_version(db, self._address.schema)
            else:
                db.timeout = LONG
                migrate(db, self._address.schema)
            self._find_part(db, name)
        except BaseException:
            is_lost = db.closed
            db.close()
            # Who opens as the same part at the same moment ends this connection as a predecessor's.
            if is_lost and not self.part and not is_again:
                return self._connect(is_again=True)
            raise
        return db

    def _find_part(self, db: Connection, name: str) -> None:
        """Read how far the part's work has come, once no older transaction of it is on."""
        identity = self._identity
        with db.pipeline():
            db.execute(_END_OTHERS.encode(), (name,))
            found = db.execute(_FIND_PART, (identity.uuid, identity.host, identity.path))
        ((part, op),) = found.fetchall()
        if not self.part:
            self.is_new = op == 0
        elif part != self.part or op < self._op:
            raise self._forgotten(db)
        elif op not in (self._op, self._tried):
            raise self._overtaken()
        self.part, self._op = part, op

    def _forgotten(self, db: Connection) -> LocalIOError:
        """Have all hosts stop before they pay for what the database has forgotten."""
        said = (
            f"the {self._address} has forgotten what was committed, as one that was restored or "
            "took over from another: what was paid for is in OUTPUT; run the same command again on "
            "every host, which takes it from there."
        )
        db.execute(_STOP_ALL, (StopReason.LOCAL_IO.value, said))
        self._fatal = LocalIOError(said)
        return self._fatal

    def _overtaken(self) -> LocalIOError:
        self._fatal = LocalIOError(
            f"another run writes as the part {self._identity.path}: {self._identity.uuid}, which "
            "stands beside it, is on two machines. Stop one of them; a copy that is to go on by "
            "itself begins with an OUTPUT of its own."
        )
        return self._fatal

    def close(self) -> None:
        """Say goodbye."""
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
                if error.sqlstate in _AGAIN and repeats < _MOST_REPEATS:
                    repeats += 1
                    self._outage.pause(_SHORT_PAUSE)
                    continue
                if isinstance(error, OutOfTurn):
                    raise self._overtaken() from error
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
        if self._db.closed:
            self._db = self._connect()
        self._db.timeout = LONG if for_long else self._outage.statement
        try:
            return call(self._db)
        except BaseException:
            self._db.close()
            raise

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

    def transact(self, work: Callable[[Transaction], T], run: int, *, for_long: bool = False) -> T:
        """Do a transaction as if once, whenever the connection breaks; gives its result.

        Each commit takes a number of its own for the part. Where its answer was lost, the number
        tells whether it came through; if not, `work` is done again. So is one that has asked
        nothing before, since what it gives came with that answer: it may be done twice.
        """
        attempts, told = 0, dict[int, T]()

        def attempt(db: Connection) -> T:
            nonlocal attempts
            if self._op in told:
                return told[self._op]
            transaction = Transaction(db, self.part, run, self._op)
            transaction.synced, transaction.is_again = self.synced, attempts > 0
            attempts += 1
            result = work(transaction)
            if transaction.has_asked:
                told[transaction.op] = result
            self._tried = transaction.op
            transaction.commit()
            self._op = transaction.op
            return result

        return self.read(attempt, for_long=for_long)
