"""The whole product in a process of its own, as it is run; and how much memory it took.

`python -m tests.bench.product ARGUMENTS` is `harvester ARGUMENTS` and prints its peak at the end.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.cli import main
from tests.bench.memory import peak


def harvest(url: str, ids: Path, output: Path, *options: str, module: str = "harvester") -> str:
    """Harvest the ids of a file; gives what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, "run", str(ids), "-o", str(output), *options],
        env={**os.environ, "JUSTONEAPI_TOKEN": "benchmark-token", "JUSTONEAPI_BASE_URL": url},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 7), done.stdout + done.stderr
    return done.stdout


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Start processes on one core, where there are two or more and they can be chosen."""
    have = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(have) < 2:
        yield
        return
    os.sched_setaffinity(0, {have[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, have)


def print_peak() -> None:
    """Print the peak, as the last line there is."""
    print(peak())


if __name__ == "__main__":
    atexit.register(print_peak)
    main()
