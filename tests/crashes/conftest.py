"""Where the stories of crashes are played."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.fleet import Stage


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stories are played."""
    return tmp_path_factory.mktemp("stories")


@pytest.fixture(scope="session")
def stage(fleet_url: str) -> Iterator[Stage]:
    """Where the stories of a fleet are played, one after another."""
    with closing(Stage(fleet_url)) as stage:
        yield stage
