"""As on macOS, for longer than every day allows: what is written, and what is found changed."""

from __future__ import annotations

from pathlib import Path

from tests.process.test_macos import check_pass


def test_the_tests_of_what_is_written_pass(tmp_path: Path) -> None:
    check_pass(tmp_path, "tests/unit/test_engine_open_output.py", "tests/flow/test_changed.py")
