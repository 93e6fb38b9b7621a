"""Options and fixtures of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import GIVEN, Given, Postgres, Server

# What lands must not hang on a die, nor on how busy the machine is: in CI the same examples are
# tried each time, and none has a deadline anywhere.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
# For `make soak`; histories, whose every example is long, keep to a part of it.
settings.register_profile("soak", max_examples=2000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile") is None:
        settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests out to the workers, so that each begins with its part of the long ones.

    A worker's part is what stands together; what is left of it at the end is short, and stolen.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = [item for first in range(workers) for item in items[first::workers]]


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
def postgres() -> Iterator[Postgres]:
    """A real server, from the first test that asks for it on; each worker process has its own."""
    if given := os.environ.get(GIVEN):
        yield Given(given)
        return
    server = Server()
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a database of this test's own, on a server that runs, whoever killed it before."""
    postgres.start()
    url = postgres.new_database()
    yield url
    postgres.start()
    postgres.drop_database(url)
