"""What tests of the fleet's ledger share: virtual time in the database, and hosts that die."""

from __future__ import annotations

import os
import select
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg

from harvester.ledger.fleet import FleetAddress, Outage, PartIdentity
from harvester.ledger.postgres.ledger import PostgresLedger
from harvester.ledger.protocol import Sent
from harvester.model import Job
from harvester.rules.turns import Turns
from tests.postgres import emptying

_CLOCK = """
CREATE TABLE test_clock (now bigint NOT NULL);
INSERT INTO test_clock VALUES (0);
CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
    AS 'SELECT now FROM test_clock';
"""


class Waited(Outage):
    """An outage that is waited for as a test has it; `told` is why, `over` how often it ended."""

    def __init__(self, pause: Callable[[float], object], statement: float = 15.0) -> None:
        self.told: list[str] = []
        self.over = 0
        super().__init__(tell=self.told.append, pause=pause)
        self.statement = statement

    def is_over(self) -> None:
        self.over += 1


class EagerLedger(PostgresLedger):
    """A ledger that lets each call start whenever it is to, where a test asks for no turns."""

    def mark_sent(self, jobs: Sequence[Job], lease: float, turns: Turns | None = None) -> Sent:
        if turns is None:
            self._ask("INSERT INTO pace (token_fp, rate) VALUES ('any', '') ON CONFLICT DO NOTHING")
            turns = Turns("any", "", max(1, len(jobs)), 0.0, 0.0, 0.0, 1e9, 0.0, [])
        return super().mark_sent(jobs, lease, turns)


class Database:
    """A harvest of its own in a database, looked at and wound on from outside."""

    def __init__(self, url: str, harvest: str = "") -> None:
        self.url = url
        self.harvest = harvest or f"t{uuid.uuid4().hex[:20]}"
        self._db: psycopg.Connection[tuple[Any, ...]] = self._connect()

    @property
    def address(self) -> FleetAddress:
        return FleetAddress(self.url, self.harvest)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        db = psycopg.connect(self.url, autocommit=True)
        db.execute(f"SET search_path = harvester_{self.harvest}".encode())
        return db

    def reconnect(self) -> None:
        """Look on after the server was killed."""
        self._db.close()
        self._db = self._connect()

    def open(
        self,
        part: str = "one",
        url: str = "",
        tokens: Sequence[str] = (),
        **options: Any,  # noqa: ANN401 - the ledger's own
    ) -> PostgresLedger:
        """A host's ledger; a part's name is as good as a UUID."""
        identity = PartIdentity(part, f"host of {part}", f"/out/{part}.jsonl", tuple(tokens))
        return EagerLedger(FleetAddress(url or self.url, self.harvest), identity, **options)

    def use_clock(self, now: float) -> None:
        """Let time stand; before it can, the schema must have been made."""
        self._db.execute(_CLOCK)
        self.set_clock(now)

    def set_clock(self, now: float) -> None:
        """Set the database's time, in Unix seconds."""
        self._db.execute("UPDATE test_clock SET now = %s", (round(now * 1000),))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(query.encode(), values).fetchall()

    def one(self, query: str, *values: object) -> Any:  # noqa: ANN401 - a value of any type
        ((value,),) = self.rows(query, *values)
        return value

    def do(self, query: str, *values: object) -> None:
        self._db.execute(query.encode(), values or None)

    def emptying(self) -> str:
        """What leaves of it what a new one holds."""
        return emptying(self._db, f"harvester_{self.harvest}")

    def close(self) -> None:
        """Remove the harvest."""
        with closing(self._db) as db:
            db.execute(f"DROP SCHEMA IF EXISTS harvester_{self.harvest} CASCADE".encode())


class Stage:
    """A harvest that test after test plays in: making one takes longer than most of them."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.database.open("maker").close()
        self.database.use_clock(0.0)
        self._clear = self.database.emptying()

    def clear(self, now: float) -> None:
        """Leave what a new harvest holds, and let time stand at a moment."""
        self.database.do(self._clear)
        self.database.set_clock(now)

    def close(self) -> None:
        """Remove it."""
        self.database.close()


def drop_connection(ledger: PostgresLedger) -> None:
    """Cut a ledger's connection without goodbye, as the death of its process does."""
    db = ledger._connection._db  # noqa: SLF001 - a connection is not cut by its owner
    assert db is not None
    with closing(socket.socket(fileno=os.dup(db.fileno()))) as line:
        line.shutdown(socket.SHUT_RDWR)


class Severed:
    """A proxy to the database that breaks the connection once at a chosen moment.

    `at` is what the server has just answered, such as b"BEGIN" or b"COMMIT": that answer never
    arrives. Only one connection at a time goes through.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._at: bytes | None = None
        self.severed = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    @property
    def url(self) -> str:
        port = self._listener.getsockname()[1]
        account = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()

    def sever(self, at: bytes) -> None:
        """Break the connection at the next answer of this kind."""
        self._at = at + b"\0"

    def _serve(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                host, _ = self._listener.accept()
                place = (self._target.hostname or "", self._target.port or 5432)
                with closing(host), closing(socket.create_connection(place)) as database:
                    self._pass(host, database)

    def _pass(self, host: socket.socket, database: socket.socket) -> None:
        with suppress(ConnectionError):
            while True:
                ready, _, _ = select.select([host, database], [], [])
                if host in ready:
                    if not (asked := host.recv(65_536)):
                        return
                    database.sendall(asked)
                if database in ready:
                    answer = database.recv(65_536)
                    if self._at is not None and self._at in answer:
                        self._at, self.severed = None, self.severed + 1
                        return
                    if not answer:
                        return
                    host.sendall(answer)
