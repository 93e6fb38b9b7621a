"""What the embedded ledger does when other programs hold its file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.errors import LocalIOError
from harvester.ledger.sqlite import SqliteLedger

NOW = 1_795_363_200.0


def test_a_ledger_that_another_program_locks_is_called_locked_and_is_written_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.ledger"
    with (
        closing(SqliteLedger(path, lambda: NOW, busy_seconds=0.05)) as ledger,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LocalIOError, match="locked by another program") as raised:
            ledger.enrol(["a"], None)
        assert "free space" not in str(raised.value)
        other.execute("ROLLBACK")
        assert ledger.enrol(["a"], None).added == 1
