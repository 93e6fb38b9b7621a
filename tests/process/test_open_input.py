"""A pipe that nobody closes keeps no run, whatever it ended for."""

from __future__ import annotations

import os
import subprocess
import sys

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
