"""Checks of OUTPUT's place: locks, room for what is queued, the ledger, and whether both fit."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.doctor.check import Check, bad, doubt, good
from harvester.engine.rehearsal import rehearsed
from harvester.errors import HarvesterError
from harvester.formatting import count
from harvester.halt import go_on
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.reader import LedgerReader
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.output.ending import holds
from harvester.source.given import pages_of

# Beside a line's bytes, the ledger and its log take so much of them; and a little is always wanted.
_WITH_LEDGER = 1.3
_LEAST = 100 << 20
_MIB = 1 << 20
_ELSEWHERE = "put OUTPUT on a disk of this machine"


def check_place(output: Path) -> Iterator[Check]:
    """All that is to be said of an OUTPUT that is there, or is to be made."""
    place = output.resolve()
    if not place.parent.is_dir():
        told = f"there is no folder {place.parent}"
        yield bad("OUTPUT", told, "make it, or name another OUTPUT")
        return
    yield _locks(place.parent)
    ledger = ledger_path(place)
    for name, path in (("OUTPUT", place), ("ledger", ledger)):
        if path.exists() and not os.access(path, os.W_OK):
            yield bad(name, f"{path} cannot be written", "check its permissions")
    if not ledger.exists():
        if place.exists():
            remedy = "put it back; else a run rebuilds it from OUTPUT"
            yield doubt("ledger", "OUTPUT is there, its ledger is not", remedy)
        else:
            yield good("ledger", "none yet")
        yield _room(place.parent, 0, None)
        return
    try:
        with reading(ledger) as reader:
            reader.check()
            yield from _checked(place, reader)
    except HarvesterError as error:
        text, _, remedy = str(error).partition(": ")
        yield bad("ledger", text, remedy)


def check_run(config: RunConfig) -> Check:
    """Whether a run would begin that is told the same: all but its calls is tried on a copy."""
    try:
        # Nobody may be there to write to standard input.
        is_strict = config.strict and ("INPUT", "-") not in config.files_read()
        pages_of(config.inputs, replace(config.input_options, strict=is_strict))
        with rehearsed(config, go_on):
            return good("run", "it would begin")
    except HarvesterError as error:
        text, _, remedy = str(error).partition(": ")
        return bad("run", text, remedy)


def check_written(name: str, path: Path) -> Iterator[Check]:
    """Whether another file of a run can be written: nothing is said where it can."""
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        yield bad(name, f"{path} cannot be written", "choose another place")


def _checked(place: Path, reader: LedgerReader) -> Iterator[Check]:
    counts, checkpoint = reader.counts(time.time()), reader.checkpoint()
    lines = reader.expected_lines()
    known = f"{count(counts.total, 'note')} known, {counts.queued:,} queued"
    yield good("ledger", f"whole; {known}")
    yield _output(place, checkpoint)
    many = lines.current + lines.older
    yield _room(place.parent, counts.queued, checkpoint.length / many if many else None)


def _output(place: Path, checkpoint: Checkpoint) -> Check:
    """Whether OUTPUT ends, at least, as the ledger knows it; `verify` looks at every line."""
    try:
        with place.open("rb") as file:
            size, fits = os.fstat(file.fileno()).st_size, holds(file.fileno(), checkpoint)
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
        return Check("OUTPUT", not checkpoint.length, text, "put it back where it was")
    if size < checkpoint.length or not fits:
        return bad("OUTPUT", "it does not hold what the ledger knows", "harvester verify says more")
    more = size - checkpoint.length
    told = f", and {more:,} bytes more, which the next run takes in" if more else ""
    return good("OUTPUT", f"as the ledger knows it{told}")


def _room(folder: Path, queued: int, line: float | None) -> Check:
    """Room for what is queued, by the size of the lines so far."""
    free = shutil.disk_usage(folder).free
    wanted = _LEAST + int(queued * (line or 0.0) * _WITH_LEDGER)
    told = f"{free // _MIB:,} MiB free"
    if queued and line is not None:
        told += f", {wanted // _MIB:,} MiB wanted for {count(queued, 'queued note')}"
    return good("disk", told) if free >= wanted else bad("disk", told, "make room, or move OUTPUT")


def _locks(folder: Path) -> Check:
    """Whether the file system keeps a second run out, and lets us write."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".harvester-") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with Path(held.name).open("rb") as other:
                try:
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return good("locks", "the file system keeps them")
    except OSError as error:
        return bad("locks", f"{folder} cannot be written or locked: {error.strerror}", _ELSEWHERE)
    return bad("locks", "the file system keeps none: two runs could write at once", _ELSEWHERE)
