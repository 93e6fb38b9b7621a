"""The database under the fleet's tests: what they build on when they kill, restart and cut it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import psutil
import psycopg
import pytest

from tests.cut import Cut, Mode
from tests.postgres import Postgres, Server, lives
from tests.process.tool import until

# SKIP LOCKED is older; dropping a database with somebody connected is the newest thing we use.
OLDEST = 130_000


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, connect_timeout=10)


def value_of(url: str, query: str) -> object:
    with connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


class Aside:
    """A call in a thread of its own, which may hang."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.found: object = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.found = self._call()
        except psycopg.Error as error:
            self.found = error

    def finish(self) -> object:
        self.thread.join(30)
        assert not self.thread.is_alive(), "the call still hangs"
        return self.found


@pytest.fixture
def network(database: str) -> Iterator[Cut]:
    with Cut(database) as network:
        yield network


def test_it_answers_and_is_new_enough(database: str) -> None:
    assert str(value_of(database, "SELECT version()")).startswith("PostgreSQL")
    with connect(database) as connection:
        assert connection.info.server_version >= OLDEST


def test_what_was_committed_survives_a_kill_and_nothing_else_does(
    server: Server, database_to_lose: str
) -> None:
    with closing(connect(database_to_lose)) as connection:
        connection.execute("CREATE TABLE notes (id int)")
        connection.execute("INSERT INTO notes SELECT generate_series(1, 1000)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO notes VALUES (1001)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(database_to_lose)
    server.start()
    assert value_of(database_to_lose, "SELECT max(id) FROM notes") == 1000


def test_a_kill_leaves_no_process(server: Server) -> None:
    processes = [psutil.Process(server.pid)]
    processes += processes[0].children(recursive=True)
    server.kill()
    assert len(processes) > 1
    assert not any(map(lives, processes))


def test_a_restart_ends_connections_and_keeps_the_address(
    server: Server, database_to_lose: str
) -> None:
    with closing(connect(database_to_lose)) as connection:
        connection.execute("CREATE TABLE notes AS SELECT 7 AS id")
        server.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert value_of(database_to_lose, "SELECT id FROM notes") == 7


def test_connections_to_one_database_can_be_ended(postgres: Postgres, database: str) -> None:
    with closing(connect(database)) as one, closing(connect(postgres.url())) as elsewhere:
        assert postgres.terminate_connections(database) == 1
        with pytest.raises(psycopg.OperationalError):
            one.execute("SELECT 1")
        elsewhere.execute("SELECT 1")


def test_a_black_hole_holds_what_is_sent_until_it_is_mended(database: str, network: Cut) -> None:
    with connect(network.url) as connection:
        connection.execute("CREATE TABLE notes (id int)")
        network.cut()
        sent = Aside(lambda: connection.execute("INSERT INTO notes VALUES (1)").rowcount)
        # A cut that let the statement through would let it be seen here, or at the latest below.
        assert value_of(database, "SELECT count(*) FROM notes") == 0
        assert sent.thread.is_alive()
        network.mend()
        assert sent.finish() == 1
    assert value_of(database, "SELECT count(*) FROM notes") == 1
    with connect(database) as connection:
        connection.execute("DROP TABLE notes")


def test_a_black_hole_says_nothing_to_who_connects_until_it_is_mended(network: Cut) -> None:
    network.cut()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(network.url, connect_timeout=2)
    waits = Aside(lambda: value_of(network.url, "SELECT 5"))
    network.mend()
    assert waits.finish() == 5


def test_a_reset_ends_connections_and_refuses_new_ones(database: str, network: Cut) -> None:
    with closing(connect(network.url)) as connection:
        network.cut(Mode.RESET)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connect(network.url)
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    until(lambda: value_of(database, others) == 0, "the server to see the reset")
    network.mend()
    assert value_of(network.url, "SELECT 3") == 3


@pytest.mark.parametrize("mode", Mode)
def test_a_proxy_that_ends_while_cut_lets_go_of_its_connections(
    database: str, mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    network = Cut(database)
    with closing(connect(network.url)) as connection:
        network.cut(mode)
        network.end()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not caplog.records


def test_a_dead_server_is_a_reset_to_who_comes_through_the_proxy(
    server: Server, database_to_lose: str
) -> None:
    with Cut(database_to_lose) as network:
        with closing(connect(network.url)) as connection:
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            connect(network.url)
        server.start()
        assert value_of(network.url, "SELECT 1") == 1
