"""No exception comes out of a signal handler: not even of Ctrl-C while modules are loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

# It is heard in the middle of something that keeps whatever is raised to itself.
_SWALLOWED = """
import os, signal
from harvester.leaving import leave_on_signals
leave_on_signals()
class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        sum(range(1000))
held = Held()
del held
print("went on")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_a_signal_ends_the_program_wherever_it_is_heard(name: str, code: int) -> None:
    script = ("-c", _SWALLOWED.format(name=name))
    ended = subprocess.run([sys.executable, *script], capture_output=True, check=False, text=True)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith("harvester: stopped by ")


# The first library that the command line needs is where Ctrl-C comes.
_LOADING = """
import os, signal, sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))
sys.meta_path.insert(0, Interrupted())
from harvester.__main__ import main
main()
"""


def test_ctrl_c_while_the_command_line_is_loaded_ends_it_without_a_traceback() -> None:
    script = ("-c", _LOADING)
    ended = subprocess.run([sys.executable, *script], capture_output=True, check=False, text=True)
    told = "harvester: stopped by Ctrl-C (SIGINT) before the first call.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", told)
