"""A pipe that nobody closes keeps no run, whatever it ended for."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.process.tool import Tool


def test_a_run_that_reads_an_open_pipe_ends_at_its_limit(tool: Tool) -> None:
    reads, writes = os.pipe()
    os.write(writes, "".join(f"{note}\n" for note in tool.note_ids(30)).encode())
    options = ["--simulate", "--rate", "100/s", "--max-notes", "5"]
    command = [sys.executable, "-m", "harvester", "run", "-", "-o", str(tool.output), *options]
    try:
        done = subprocess.run(
            command, stdin=reads, env=tool.env, capture_output=True, timeout=60, check=False
        )
    finally:
        os.close(reads)
        os.close(writes)
    assert done.returncode == 7, done.stderr
    assert len(tool.saved()) == 5


@pytest.fixture
def long_list(tool: Tool) -> Path:
    """A small file of a hundred million blank lines."""
    path = tool.folder / "long.txt.gz"
    path.write_bytes(gzip.compress(b"\n" * (1 << 20)) * 100)
    return path


@pytest.mark.parametrize("how", ["--strict", "--dry-run"])
def test_what_is_read_before_the_first_call_keeps_to_max_runtime(
    tool: Tool, long_list: Path, how: str
) -> None:
    started = time.monotonic()
    run = ("run", long_list, "-o", tool.output, "--simulate", "--max-runtime", "1s", how)
    ended = tool.run(*run, env=tool.env)
    assert (ended.code, time.monotonic() - started < 10) == (7, True), ended.text
    assert "--max-runtime was reached before the first call" in ended.err
    assert not tool.output.exists()


def test_a_dry_run_that_is_stopped_leaves_nothing_behind(tool: Tool, long_list: Path) -> None:
    place = tool.folder / "temporary"
    place.mkdir()
    env = {**tool.env, "TMPDIR": str(place)}
    dry = tool.start("run", long_list, "-o", tool.output, "--simulate", "--dry-run", env=env)
    tool.until(lambda: any(place.glob("*/*.ledger")), "the copy of the ledger")
    dry.signal(signal.SIGTERM)
    ended = dry.finish()
    assert ended.code == 143, ended.text
    assert "stopped by SIGTERM before the first call" in ended.err
    assert list(place.iterdir()) == []
