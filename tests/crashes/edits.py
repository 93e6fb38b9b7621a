"""What people and their programs do to OUTPUT under a run; afterwards they do as they are told."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from harvester.output.lines import read_head

OUTPUT = "notes.jsonl"
# Where those who move or copy it leave it.
COPY = "notes.jsonl.1"
DOUBLED = "a line doubled"
_COMMAND = re.compile(r"`(mv [^`]+)`")
_LINE = re.compile(r"at (byte|line) (\d+): take it out")


def _replace(output: Path, text: bytes) -> None:
    other = output.with_name("sed")
    other.write_bytes(text)
    other.replace(output)


def _copy_and_truncate(output: Path) -> None:
    output.with_name(COPY).write_bytes(output.read_bytes())
    os.truncate(output, 0)


def _move(output: Path) -> None:
    output.rename(output.with_name(COPY))


def _append(output: Path, line: bytes) -> None:
    with output.open("ab") as file:
        file.write(line)


def _lines(output: Path) -> list[bytes]:
    return output.read_bytes().splitlines(keepends=True)


def _double(output: Path) -> None:
    first = _lines(output)[0]
    if first.endswith(b"\n"):
        _append(output, first)


def _strip(output: Path) -> None:
    size = output.stat().st_size
    os.truncate(output, size - output.read_bytes().endswith(b"\n"))


EDITS: dict[str, Callable[[Path], None]] = {
    "sed -i": lambda output: _replace(output, output.read_bytes()),
    "sed -i 1d": lambda output: _replace(output, b"".join(_lines(output)[1:])),
    "rm": Path.unlink,
    "mv": _move,
    "copytruncate": _copy_and_truncate,
    "appended by hand": lambda output: _append(output, b"by hand\n"),
    "last newline stripped": _strip,
}
# The same for those that are drawn apart.
RARE_EDITS: dict[str, Callable[[Path], None]] = {
    DOUBLED: _double,
}


def edit(output: Path, how: str) -> None:
    """Change OUTPUT in one of these ways, if anything is in it."""
    if output.exists() and output.stat().st_size:
        (EDITS | RARE_EDITS)[how](output)


def notes_in(*files: Path) -> set[str]:
    """The notes that have a line in one of some files."""
    heads = (read_head(line, 0) for file in files if file.exists() for line in _lines(file))
    return {head.note_id for head in heads if head is not None}


def doubled_in(output: Path) -> int:
    """How many lines are there that another line is a copy of."""
    text = output.read_bytes().replace(b"\0", b"") if output.exists() else b""
    heads = map(read_head, text.splitlines())
    found = [(head.note_id, head.fetched_at) for head in heads if head is not None]
    return len(found) - len(set(found))


def obey(output: Path, said: str) -> Iterator[str]:
    """Do what was said, the way that costs nothing first; gives what else to run with."""
    copy = output.with_name(COPY)
    if command := _COMMAND.search(said):
        _, source, target = shlex.split(command[1])
        Path(source).replace(target)
    elif line := _LINE.search(said):
        # Where it has gone meanwhile, the next run says so.
        if output.exists():
            _take_out(output, line[1], int(line[2]))
    elif "back" in said and copy.exists():
        copy.replace(output)
    elif "--rebuild" in said:
        yield "--rebuild"


def take_out(output: Path, numbers: Collection[int]) -> None:
    """Take lines out, by their numbers from 1."""
    lines = enumerate(_lines(output), 1)
    output.write_bytes(b"".join(line for number, line in lines if number not in numbers))


def _take_out(output: Path, unit: str, place: int) -> None:
    lines, at = _lines(output), 0
    for number, line in enumerate(lines, 1):
        if place == (at if unit == "byte" else number):
            output.write_bytes(b"".join(lines[: number - 1] + lines[number:]))
            return
        at += len(line)
