"""The server under the tests and its end, which takes a server of its own to see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.contract.test_postgres_server import value_of
from tests.postgres import lives, shared
from tests.process.tool import until
from tests.process.warm import ROOT


def test_a_server_outlives_who_made_it_and_dies_with_the_last_who_shares_it(tmp_path: Path) -> None:
    """Not even a `kill -9` of the tests leaves a server or its folder behind."""
    maker = (
        "import sys, time; from pathlib import Path; from tests.postgres import lives, shared\n"
        "with shared(Path(sys.argv[1])) as server: print(server.url(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        (sys.executable, "-c", maker, tmp_path), stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as tests:
        try:
            assert tests.stdout is not None
            url = tests.stdout.readline().strip()
            with shared(tmp_path) as joined:
                assert joined.url() == url
                os.kill(tests.pid, signal.SIGKILL)
                tests.wait()
                folder = Path(str(value_of(url, "SHOW data_directory"))).parent
                server = psutil.Process(
                    int((folder / "data/postmaster.pid").read_text().split()[0])
                )
        finally:
            tests.kill()
    until(lambda: not folder.exists(), "the folder to be removed")
    until(lambda: not lives(server), "the server to be gone")
