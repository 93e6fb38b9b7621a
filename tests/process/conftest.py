"""Every test of this folder gets the command in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.tool import Tool


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[Tool]:
    folder, logs = tmp_path / "work", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    tool = Tool(folder, logs)
    try:
        yield tool
    finally:
        tool.end()
