"""The whole product in a process of its own, as it is run; and how much memory it took.

`python -m tests.bench.product ARGUMENTS` is `harvester ARGUMENTS` and prints its peak at the end.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
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


def print_peak() -> None:
    """Print the peak, as the last line there is."""
    print(peak())


if __name__ == "__main__":
    atexit.register(print_peak)
    main()
