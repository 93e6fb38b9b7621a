"""Python as it is on macOS: the program runs, and its tests pass, without what only Linux has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.process.tool import Tool
from tests.process.warm import ROOT

TAKEN_AWAY = """\
import os
for name in ("fdatasync", "posix_fallocate", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
"""
# `make soak` has the others of what is written pass, too.
TESTS = ("tests/crashes/test_crashes.py", "--seeds=6")


def without(folder: Path) -> str:
    """A PYTHONPATH with a sitecustomize that takes them away."""
    (folder / "sitecustomize.py").write_text(TAKEN_AWAY)
    return f"{folder}{os.pathsep}{ROOT}"


def test_a_harvest_runs_and_is_durable(tool: Tool, tmp_path: Path) -> None:
    env = {**tool.env, "PYTHONPATH": without(tmp_path)}
    ran = tool.run("run", tool.notes(5), "-o", tool.output, "--simulate", "--sync", env=env)
    assert ran.code == 0, ran.text
    assert sorted(tool.saved()) == tool.note_ids(5)


def test_the_stories_of_crashes_pass(tmp_path: Path) -> None:
    check_pass(tmp_path, *TESTS)


def check_pass(folder: Path, *tests: str) -> None:
    """Tests pass on such a Python."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        *tests,
    ]
    env = {**os.environ, "PYTHONPATH": without(folder)}
    ran = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout[-2000:]
