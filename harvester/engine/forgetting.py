"""Erases forgotten notes from OUTPUT and from what lies beside it.

The ledger erases a note first, keeps a mark of it, and that lines are still to be erased; then
OUTPUT is replaced, and read anew. A crash anywhere between leaves that to whoever opens it next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

import orjson
from msgspec import Struct

from harvester.disk import reason_of, replacing
from harvester.errors import LocalIOError
from harvester.ledger.protocol import Ledger
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.output.file import OutputFile
from harvester.output.lines import lines_of, read_head
from harvester.sides import Side


class Forgotten(Struct, frozen=True):
    """What was erased: notes that the ledger knew, and lines of OUTPUT."""

    notes: int
    lines: int


_BESIDE = (Side.SPOOL, Side.KEPT, Side.CUT, Side.UNREAD)
# Where a line is torn, or is no line of OUTPUT.
_NAME = re.compile(rb'"noteId":\s*("(?:[^"\\]|\\.)*")')
_SEARCHED = 4096


def erase_forgotten(output: OutputFile, ledger: Ledger) -> int | None:
    """Erase the lines of forgotten notes, if any may be there; gives how many were in OUTPUT.

    None where none may be. OUTPUT does not fit the ledger then, and is to be read anew. Raises
    LocalIOError.
    """
    # Of a fleet's harvest nothing is forgotten.
    if not isinstance(ledger, SqliteLedger) or not ledger.is_forgetting():
        return None
    # A power cut must not leave the lines gone and their notes known.
    ledger.settle(ledger.synced())

    def is_gone(line: bytes) -> bool:
        note_id = _note_of(line)
        return note_id is not None and ledger.forgets(note_id)

    for side in _BESIDE:
        _erase_beside(side.of(output.path), is_gone)
    return output.erase(is_gone)


def end_forgetting(ledger: Ledger) -> None:
    """Say that all is erased, and OUTPUT was read anew."""
    if isinstance(ledger, SqliteLedger) and ledger.is_forgetting():
        ledger.end_forgetting()


def _note_of(line: bytes) -> str | None:
    head = read_head(line)
    if head is not None:
        return head.note_id
    match = _NAME.search(line, 0, _SEARCHED)
    try:
        return None if match is None else str(orjson.loads(match[1]))
    except ValueError:
        return None


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    return takewhile(lambda line: line.endswith(b"\n"), (line for line, _ in lines_of(file)))


def _erase_beside(path: Path, is_gone: Callable[[bytes], bool]) -> None:
    """Erase lines of a side file; what stands behind its last line is room, and goes."""
    try:
        if path.is_symlink() or not path.is_file():
            return
        with path.open("rb") as file:
            if not any(is_gone(line) for line in _whole_lines(file)):
                return
            file.seek(0)
            with replacing(path) as fresh:
                fresh.writelines(line for line in _whole_lines(file) if not is_gone(line))
    except OSError as error:
        raise LocalIOError(
            f"{path} cannot be written ({reason_of(error)}): make room, then try again."
        ) from error
