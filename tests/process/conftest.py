"""Every test of this folder gets the command in a folder of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.tool import Tool
from tests.process.warm import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The parent of warm starts, one in each worker process."""
    # Under nohup, or behind a shell's `&`, these are ignored by whatever is started.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warm = Warm()
    yield warm
    warm.end()


@pytest.fixture
def tool(tmp_path: Path, warm: Warm) -> Iterator[Tool]:
    folder, logs = tmp_path / "work", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    tool = Tool(folder, logs, warm)
    try:
        yield tool
    finally:
        tool.end()
