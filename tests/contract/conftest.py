"""One database for the tests of a module; each makes a harvest of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Postgres


@pytest.fixture(scope="module")
def fleet_url(postgres: Postgres) -> Iterator[str]:
    """The URL of the module's database."""
    postgres.start()
    url = postgres.new_database()
    yield url
    postgres.start()
    postgres.drop_database(url)
