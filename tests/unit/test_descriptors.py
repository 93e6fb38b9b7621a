"""A process that may have few open files makes as many calls at once as these are for."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """\
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
kept = [os.open(os.devnull, os.O_RDONLY) for _ in range({kept})]
from harvester.descriptors import raise_limit
calls = raise_limit()
for _ in range(2 * calls):
    os.open(os.devnull, os.O_RDONLY)
print(calls)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "kept", "least"),
    [(40, 40, 8, 8), (64, 64, 30, 8), (256, 256, 8, 100), (40, 256, 8, 100)],
)
def test_few_descriptors_are_all_used_and_never_too_many(
    soft: int, hard: int, kept: int, least: int
) -> None:
    script = SCRIPT.format(soft=soft, hard=hard, kept=kept)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= least


def test_where_there_are_none_one_call_at_a_time_is_made() -> None:
    script = SCRIPT.format(soft=20, hard=20, kept=10).replace("2 * calls", "0")
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(ended.stdout) == 1
