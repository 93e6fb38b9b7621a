"""The names of all files that lie beside an OUTPUT; no other module makes one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Side(StrEnum):
    """A file beside OUTPUT, by what is put behind OUTPUT's name.

    The ledger, with SQLite's own two beside it; the room kept free for answers that OUTPUT does not
    take; which part of a fleet's harvest OUTPUT is; OUTPUT itself, kept when it was removed under a
    run; what was cut off it; the answers that arrived, may be paid for, and cannot be read; the
    marks of notes that were forgotten; and what the short links of its lists lead to, which is an
    OUTPUT of its own.
    """

    LEDGER = ".ledger"
    LEDGER_LOG = ".ledger-wal"
    LEDGER_INDEX = ".ledger-shm"
    SPOOL = ".ledger-reserve"
    PART_MARKER = ".fleet"
    KEPT = ".kept"
    CUT = ".cut"
    UNREAD = ".unread.jsonl"
    FORGOTTEN = ".forgotten"
    LINKS = ".links.jsonl"

    def of(self, output: Path) -> Path:
        """Where the file of an OUTPUT is."""
        return output.with_name(output.name + self)
