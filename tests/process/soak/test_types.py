"""The Python face's types serve whoever has installed it: mypy reads all of it anew, twice.

`make check` holds the same of `users_script.py`, on the files here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("users_script.py").read_text("utf-8")


def check(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says of a user's script that stands outside of the project."""
    path = folder / "script.py"
    path.write_text(script)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder / "cache", path],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "MYPYPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_types_serve_a_users_strict_mypy(tmp_path: Path) -> None:
    sound = check(SCRIPT, tmp_path)
    assert sound.returncode == 0, sound.stdout
    wrong = check(re.sub("  # type: ignore.*", "", SCRIPT), tmp_path)
    assert wrong.returncode == 1
    assert 'has incompatible type "int"; expected "str | None"' in wrong.stdout
    assert 'Unexpected keyword argument "max_charge"' in wrong.stdout
