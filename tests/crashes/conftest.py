"""Where the stories of crashes are played."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.fleet import Stage


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Where stories are played: in memory where the system has such a folder."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def stage(fleet_url: str) -> Iterator[Stage]:
    """Where the stories of a fleet are played, one after another."""
    with closing(Stage(fleet_url)) as stage:
        yield stage
