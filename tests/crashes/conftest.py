"""Where the stories of crashes are played."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stories are played."""
    return tmp_path_factory.mktemp("stories")
