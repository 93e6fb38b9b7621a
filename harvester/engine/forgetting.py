"""Erases forgotten notes from OUTPUT and from what lies beside it.

The ledger erases a note first, keeps a mark of it, and that lines are still to be erased; then
OUTPUT is replaced, and read anew. A crash anywhere between leaves that to whoever opens it next.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

import orjson
from msgspec import Struct

from harvester.disk import replacing
from harvester.ledger.keys import MARK_BYTES
from harvester.ledger.protocol import Ledger
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.output.file import OutputFile
from harvester.output.lines import lines_of, read_head
from harvester.results import writing
from harvester.sides import Side


class Forgotten(Struct, frozen=True):
    """What was erased: notes that the ledger knew, lines of OUTPUT, links that led to such notes.

    `left` names the files that may hold more, and are no business of the program's.
    """

    notes: int
    lines: int
    links: int
    left: list[Path]


_BESIDE = (Side.SPOOL, Side.KEPT, Side.CUT, Side.UNREAD)
# What may be named in a line that is torn, or is no line of OUTPUT.
_NAMES = re.compile(rb'"noteId":\s*("(?:[^"\\]|\\.)*")|(?<![0-9a-f])([0-9a-f]{24})(?![0-9a-f])')

_MARK = re.compile(rf"(?m)^[0-9a-f]{{{2 * MARK_BYTES}}}$")


def keep_marks(output: Path, ledger: SqliteLedger) -> None:
    """Have the marks of forgotten notes in the ledger and beside OUTPUT, for when one is lost.

    Raises LocalIOError.
    """
    place = Side.FORGOTTEN.of(output)
    with writing(place):
        kept = marks_in(place)
        if lost := kept - ledger.marks():
            # One that was put back from a copy knows the notes yet.
            if known := ledger.marked(lost):
                ledger.forget(known)
            ledger.remember_marks(lost)
        if ledger.marks() - kept:
            with replacing(place) as file:
                file.writelines(b"%s\n" % mark.hex().encode() for mark in sorted(ledger.marks()))


def marks_in(place: Path) -> set[bytes]:
    """The marks in a file, if it is there; whatever else is in it is none. Raises OSError."""
    try:
        return set(map(bytes.fromhex, _MARK.findall(place.read_text("ascii", "replace"))))
    except FileNotFoundError:
        return set()


def left_beside(output: Path) -> list[Path]:
    """The files that may hold notes and that nothing is erased from."""
    found = output.parent.glob(f"{glob.escape(output.name)}.*")
    known = {side.of(whole).name for whole in (output, Side.LINKS.of(output)) for side in Side}
    return sorted(path for path in found if path.name not in known)


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
        return any(map(ledger.forgets, _notes_of(line)))

    for side in _BESIDE:
        _erase_beside(side.of(output.path), is_gone)
    return output.change(lambda _line: b"", lambda line, _end: is_gone(line))


def end_forgetting(ledger: Ledger) -> None:
    """Say that all is erased, and OUTPUT was read anew."""
    if isinstance(ledger, SqliteLedger) and ledger.is_forgetting():
        ledger.end_forgetting()


def _notes_of(line: bytes) -> Iterator[str]:
    """Whose a line is; of a piece of one, all notes that it names."""
    head = read_head(line)
    if head is not None:
        yield head.note_id
        return
    for name, bare in _NAMES.findall(line):
        with suppress(ValueError):
            yield str(orjson.loads(name)) if name else bare.decode()


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    return takewhile(lambda line: line.endswith(b"\n"), (line for line, _ in lines_of(file)))


def _erase_beside(path: Path, is_gone: Callable[[bytes], bool]) -> None:
    """Erase lines of a side file; what stands behind its last line is room, and goes."""
    with writing(path):
        if path.is_symlink() or not path.is_file():
            return
        with path.open("rb") as file:
            if not any(is_gone(line) for line in _whole_lines(file)):
                return
            file.seek(0)
            with replacing(path) as fresh:
                fresh.writelines(line for line in _whole_lines(file) if not is_gone(line))
