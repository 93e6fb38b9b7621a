"""Holds OUTPUT against its ledger: every done note on one good line, every line known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harvester.ledger.reader import LedgerReader
from harvester.output.lines import is_json, may_be_torn, read_head
from harvester.plain import plain

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing wrong: its name, the line it is on (1-based, 0 for none), and what it is."""

    name: str
    line: int
    text: str


@dataclass(slots=True)
class Checked:
    """What was looked at: all lines, and those that are a note's current one."""

    lines: int = 0
    current: int = 0


def verify(path: Path, reader: LedgerReader, checked: Checked) -> Iterator[Damage]:
    """Everything that is wrong, in the order of OUTPUT; fills `checked` as it goes."""
    length = reader.length()
    size = path.stat().st_size if path.exists() else 0
    if size < length:
        yield Damage("shorter", 0, f"{size} bytes are there, the ledger knows {length}")
    for number, (line, end) in enumerate(_lines(path), 1):
        checked.lines += 1
        damage = _check_line(line, end, number, reader, checked)
        if damage is not None:
            yield damage
    notes, _ = reader.expected_lines()
    if checked.current < notes:
        yield Damage("missing", 0, f"{notes - checked.current} done notes have no line")


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    end = 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            yield line, end


def _check_line(
    line: bytes, end: int, number: int, reader: LedgerReader, checked: Checked
) -> Damage | None:
    shown = plain(line[:_SHOWN].decode("utf-8", "replace"))
    head = read_head(line, end)
    if head is None:
        torn = not line.endswith(b"\n") and may_be_torn(line)
        return Damage("torn" if torn else "foreign", number, shown)
    if not is_json(line):
        return Damage("garbled", number, shown)
    known = reader.line_of(head.note_id)
    if known is None or end > reader.length():
        return Damage("unknown", number, f"{plain(head.note_id)} is not in the ledger yet")
    _, line_end, lines = known
    checked.current += line_end == end
    if line_end == end or lines > 1:
        return None
    return Damage("duplicate", number, f"{plain(head.note_id)} has another line, or none to have")
