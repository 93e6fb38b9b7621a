"""Options and fixtures of the whole suite."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import import_module
from itertools import chain, groupby
from pathlib import Path

import pytest
from hypothesis import settings

from tests.contract.fleet import Stage
from tests.postgres import GIVEN, Postgres, Server, clear, shared

# What lands must not hang on a die, nor on how busy the machine is: in CI the same examples are
# tried each time, and none has a deadline anywhere.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("here", deadline=None, max_examples=50)
# For `make soak`; histories, whose every example is long, keep to a part of it.
settings.register_profile("soak", max_examples=2000, deadline=None)


# Where files are kept in memory, if the system has such a place and room in it: most of what tests
# wait for is else a disk, that has what they wrote made durable.
_MEMORY, _ROOM = Path("/dev/shm"), 2 << 30  # noqa: S108 - pytest makes a folder of its own in it


def pytest_configure(config: pytest.Config) -> None:
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    if config.getoption("--hypothesis-profile") is None:
        settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection(session: pytest.Session) -> None:
    """Where all tests are run by several workers, have each begin with other files.

    What takes long about reading a test is to rewrite its assertions: done once, it is kept for
    the others. All together, and each file at the same time, each would do all of it.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    files = sorted((session.config.rootpath / "tests").rglob("test_*.py"))
    first = int(worker[2:]) * len(files) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for path in files[first:] + files[:first]:
        name = path.relative_to(session.config.rootpath).with_suffix("")
        # Whatever is wrong with it, or is not there for it, is told when it is collected.
        with suppress(Exception, pytest.skip.Exception):
            if "soak" not in name.parts:
                import_module(".".join(name.parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests out to the workers, so that each begins with its part of the long ones.

    A worker's part is what stands together; what is left of it at the end is short, and stolen.
    The short ones are dealt file by file, as those of a file often share what takes its time; what
    stops a server is for one worker, as each that has such a test makes a server of its own.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files = [list(of_file) for _, of_file in groupby(items, lambda item: item.path)]
    short = [of_file for of_file in files if of_file[0].path.parent.name == "unit"]
    long = [item for of_file in files if of_file not in short for item in of_file]
    stopping = [item for item in long if "server_to_kill" in getattr(item, "fixturenames", ())]
    long = [item for item in long if item not in stopping]
    items[:] = stopping + [
        item
        for first in range(workers)
        for item in chain(long[first::workers], *short[first::workers])
    ]


def pytest_collection_finish() -> None:
    """Keep what was read, of thousands of tests, out of each look for garbage from here on."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("crash simulation (tests/crashes)")
    group.addoption("--seed", type=int, help="Play the story of one seed, and tell it.")
    group.addoption("--seeds", type=int, default=200, help="Play so many stories.")
    group.addoption("--first-seed", type=int, default=0, help="The first of them.")
    group = parser.getgroup("schedules (tests/process)")
    group.addoption(
        "--with-cron",
        action="store_true",
        help="As root: start a cron daemon for a minute, with a crontab of the test's own.",
    )


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real server, one for all workers, from the first test that asks for it on."""
    if given := os.environ.get(GIVEN):
        yield Postgres(given)
        return
    folder = tmp_path_factory.getbasetemp()
    with shared(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as server:
        yield server


@pytest.fixture(scope="session")
def server_to_kill() -> Iterator[Server]:
    """A server that a test may stop; each worker whose tests ask for it has its own."""
    if GIVEN in os.environ:
        pytest.skip(f"the server that {GIVEN} names is not ours to stop; unset it to run this test")
    server = Server()
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def server(server_to_kill: Server) -> Server:
    """The same, and it runs, whoever killed it before."""
    server_to_kill.start()
    return server_to_kill


@pytest.fixture
def database_to_lose(server: Server) -> Iterator[str]:
    """The URL of a database on a server that a test may stop."""
    url = server.new_database()
    yield url
    server.start()
    server.drop_database(url)


@pytest.fixture(scope="session")
def fleet_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a database for tests that make harvests of names that nobody else has."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def stage(fleet_url: str) -> Iterator[Stage]:
    """A harvest in which a worker's tests play, one after another; each leaves it as it likes."""
    with closing(Stage(fleet_url)) as stage:
        yield stage


@pytest.fixture(scope="session")
def database_of_worker(postgres: Postgres) -> Iterator[str]:
    """The URL of a database for all tests of this worker, as making one takes longer than most."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def database(database_of_worker: str, postgres: Postgres) -> Iterator[str]:
    """The URL of a database in which no harvest holds anything."""
    yield database_of_worker
    postgres.terminate_connections(database_of_worker)
    clear(database_of_worker)
