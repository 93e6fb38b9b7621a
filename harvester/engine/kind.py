"""Of what kind the notes of an OUTPUT are: kinds must not mix."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from harvester.config import RunConfig
from harvester.engine.held import OpenOutput
from harvester.errors import OutputMismatchError, UsageError
from harvester.ledger.protocol import Identity
from harvester.output.beside import kept_lines
from harvester.output.file import OutputFile
from harvester.output.lines import read_head


def kind_of(held: OpenOutput, config: RunConfig) -> Identity:
    """What OUTPUT holds, or is to hold; raises UsageError where this run's notes must not mix."""
    beside = chain(held.spool.saved(), kept_lines(held.output.path))
    found = identity_of(held.output) or _first_identity(beside) or held.ledger.identity()
    if found is None:
        return identity_asked(config)
    check_kind(found, config)
    return found


def identity_asked(config: RunConfig) -> Identity:
    """What the notes of a run are said to be."""
    return Identity(config.endpoint, config.simulate)


def check_kind(found: Identity, config: RunConfig) -> None:
    """Raise UsageError unless a run's notes may be added to those found."""
    may_be_simulated = config.simulate or config.is_local
    if found.simulated != config.simulate and not (found.simulated and may_be_simulated):
        kinds = ("simulated", "real") if found.simulated else ("real", "simulated")
        raise UsageError(
            f"{config.output} holds {kinds[0]} notes, this run would add {kinds[1]} ones: "
            "choose another --output."
        )
    if found.endpoint != config.endpoint:
        raise UsageError(
            f"{config.output} holds notes of the endpoint {found.endpoint}, not of "
            f"{config.endpoint}: say --endpoint {found.endpoint}, or choose another --output, "
            "where each note is paid for anew."
        )


def identity_of(output: OutputFile) -> Identity | None:
    """What OUTPUT's first line says it holds."""
    return _first_identity(line for line, _ in output.pieces(0))


def _first_identity(lines: Iterable[bytes]) -> Identity | None:
    first = next((line for line in lines if line.strip()), b"")
    head = read_head(first)
    return None if head is None else head.of


def of_kind(line: bytes, kind: Identity, place: str, output: OutputFile) -> bytes:
    """A line of the kind that OUTPUT holds; raises OutputMismatchError for another."""
    head = read_head(line)
    if head is not None and head.of != kind:
        raise OutputMismatchError(
            f"{output.path} has one of the {head.of} {place}, but holds {kind}: move it to a file "
            "of its own."
        )
    return line
