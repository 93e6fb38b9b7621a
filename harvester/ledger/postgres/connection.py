"""A connection to the fleet's database: how it is made, how long it is waited for, what fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harvester.errors import HarvesterError, LedgerError, LocalIOError, UsageError
from harvester.ledger.fleet import FleetAddress, Outage
from harvester.sanitize import sanitize

# In seconds. Only we notice a network that swallows everything: the system acknowledges for it.
_CONNECT_TIMEOUT = 5
# For what reads or writes the whole harvest, however long it takes.
LONG = 3600.0
# As start-up options: a pooler that hands one connection to several clients refuses them, where it
# would let settings of one harvest reach another's.
_SETTINGS = {
    "timezone": "UTC",
    "jit": "off",
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_min_messages": "warning",
}
# Joins are of a few rows by their keys, always; statistics of a young table would say otherwise.
_BY_KEYS = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off")
_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Connection classes, the server's shutdown and start, too many connections, a full disk, a standby.
_AWAY = ("08", "53", "57P01", "57P02", "57P03", "57P05", "25006", "25P03", "25P04")
# What a first connection fails for, by the code and the words of the server or of the library.
_REFUSALS = {
    "unsupported startup parameter": "is behind a connection pooler, which would mix harvests"
    " ({}): name the server itself in --ledger.",
    "certificate file .* does not exist|root.crt": "is to be checked by a certificate that is not"
    " there ({}): put it there, or name it with sslrootcert= in --ledger.",
    "server does not support SSL": "speaks no SSL, which sslmode demands ({}): switch it on there,"
    " or take sslmode out of --ledger within a local network.",
    "certificate verify failed|SSL error": "cannot be spoken to by SSL ({}): check sslmode and"
    " sslrootcert in --ledger, and the server's certificate.",
    "no encryption|SSL off": "demands SSL, or does not know this machine ({}): put"
    " sslmode=verify-full into --ledger, or let pg_hba.conf on the server admit it.",
    "pg_hba": "does not let this user in from this machine ({}): let pg_hba.conf on the server"
    " admit it.",
    "password|authentication": "refuses this user's password ({}): check the user in --ledger, and"
    " the password in PGPASSWORD or ~/.pgpass.",
    "role .* does not exist": "knows no such user ({}): make it with `createuser -P NAME`, or"
    " correct --ledger.",
    "database .* does not exist": "is not there ({}): make it with `createdb -O USER NAME`, or"
    " correct --ledger.",
    "^25006": "can only be read ({}): it is a standby, or set to that. Name the server that is"
    " written to in --ledger.",
}
_PORTS = re.compile(r"[0-9,]*")
_HARVEST = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)
# The name of who only reads.
READING = "harvester reading"


# What it warns of is told as an error; with no log set up it would go to the terminal.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which no statement is waited for longer than `timeout` seconds."""

    timeout: float = Outage.statement

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401 - as psycopg has it
        """Wait as psycopg does; past the timeout the connection is closed."""
        try:
            return super().wait(gen, interval, self.timeout if timeout is None else timeout)
        except psycopg.OperationalError as error:
            # A pipeline passes on what failed before.
            if error.sqlstate is None and not isinstance(error, psycopg.errors.PipelineAborted):
                self.close()
            raise


class Address(Struct, frozen=True):
    """Where a harvest's database is; `conninfo` may hold a password, `str` never does."""

    conninfo: str
    harvest: str

    @classmethod
    def of(cls, fleet: FleetAddress) -> Address:
        """Check `postgresql://...` or "key=value ..."; raises UsageError, which quotes nothing."""
        if not _HARVEST.fullmatch(fleet.harvest):
            raise UsageError(
                f"harvest name {fleet.harvest!r} cannot be used: take up to 40 of a-z, 0-9 and _."
            )
        try:
            said = conninfo_to_dict(fleet.url)
        except psycopg.Error:
            said = {"host": "@"}
        # A password that is not written as URLs want it would become a part of these.
        named = [str(said.get(key) or "") for key in ("host", "port", "dbname", "user")]
        if any("@" in name for name in named) or not _PORTS.fullmatch(named[1]):
            raise UsageError(
                "--ledger is not a PostgreSQL address: write it as "
                "postgresql://USER@HOST:5432/DATABASE, the password in PGPASSWORD or ~/.pgpass."
            )
        return cls(fleet.url, fleet.harvest)

    @property
    def schema(self) -> str:
        """The schema that holds the harvest."""
        return f"harvester_{self.harvest}"

    def __repr__(self) -> str:
        return f"Address({self})"

    def __str__(self) -> str:
        said = conninfo_to_dict(self.conninfo)
        host = said.get("host") or said.get("hostaddr") or "this machine"
        port = f":{said['port']}" if said.get("port") else ""
        name = said.get("dbname")
        return sanitize(f"database {name} at {host}{port}" if name else f"database at {host}{port}")

    def connect(self, name: str, *, timeout: int = _CONNECT_TIMEOUT) -> Connection:
        """Connect, committing by itself, as `name`; only who is `READING` reads tables through.

        A connection is waited for `timeout` seconds. Raises psycopg.Error, and UsageError for a
        database that cannot keep every text.
        """
        given = conninfo_to_dict(self.conninfo)
        settings = {
            **_SETTINGS,
            **({} if name == READING else _BY_KEYS),
            "search_path": f"{self.schema},pg_temp",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        ours = {
            "application_name": name,
            "client_encoding": "UTF8",
            "options": f"{given.get('options') or ''} {options}".strip(),
        }
        told = {**_KEEPALIVE, "connect_timeout": timeout, **given, **ours}
        db = Connection.connect(make_conninfo("", **told), autocommit=True)
        encoding = db.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            db.close()
            raise UsageError(
                f"the {self} keeps text as {encoding}, which cannot hold every note: make one with "
                "`createdb -E UTF8 -T template0 NAME`."
            )
        return db


@contextmanager
def session(fleet: FleetAddress, name: str) -> Iterator[Connection]:
    """A connection from outside any run, for as long as it takes; `connect` tells of the rest.

    Raises UsageError, LedgerError, LocalIOError.
    """
    address = Address.of(fleet)
    try:
        db = address.connect(name)
    except psycopg.Error as error:
        raise refusal(error, address) from error
    try:
        with closing(db):
            db.timeout = LONG
            yield db
    except psycopg.Error as error:
        raise failure(error, address) from error


def is_away(error: psycopg.Error) -> bool:
    """Whether the database cannot be reached now, and may be later."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InternalError) and (
        error.sqlstate is None or error.sqlstate.startswith(_AWAY)
    )


def refusal(error: psycopg.Error, address: Address) -> HarvesterError:
    """What to tell of a first connection that fails; LocalIOError or UsageError."""
    said = said_by(error)
    for words, told in _REFUSALS.items():
        if re.search(words, f"{error.sqlstate} {said}"):
            return UsageError(f"the {address} {told.format(said)}")
    if not isinstance(error, psycopg.OperationalError):
        return failure(error, address)
    return LocalIOError(
        f"the {address} cannot be reached ({said}): check that PostgreSQL runs and that this "
        "machine may connect, then run the same command again."
    )


def failure(error: psycopg.Error, address: Address) -> HarvesterError:
    """What to tell of a statement that fails for good; LocalIOError or LedgerError."""
    said = said_by(error)
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return LedgerError(
            f"the harvest's schema in the {address} is gone or damaged ({said}): restore it from a "
            "backup, or choose another --harvest and run again to rebuild it from OUTPUT."
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return UsageError(
            f"the {address} does not let this user do that ({said}): use the role that made the "
            "harvest, one for all hosts; to look, the right to read all its tables is enough."
        )
    return LocalIOError(
        f"the ledger in the {address} cannot be used ({said}): check the server's log, its disk "
        "and its rights, then run the same command again."
    )


def said_by(error: psycopg.Error) -> str:
    """The server's or the library's words, on one line."""
    return sanitize(" ".join((error.diag.message_primary or str(error)).split()))[:500]
