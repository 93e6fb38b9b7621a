"""One harvest for the tests of a worker; each finds it as a new one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.contract.fleet import Stage


@pytest.fixture(scope="session")
def stage(fleet_url: str) -> Iterator[Stage]:
    """Where all play, one after another."""
    with closing(Stage(fleet_url)) as stage:
        yield stage
