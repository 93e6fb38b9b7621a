"""The marker beside an OUTPUT that is one part of a fleet's harvest: which part, of which."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from harvester.disk import replacing
from harvester.errors import LocalIOError, OutputMismatchError, UsageError
from harvester.results import writing
from harvester.sides import Side


class PartMarker(Struct, frozen=True):
    """A part's own name, and the name of the harvest that it belongs to."""

    part: str
    harvest: str

    @classmethod
    def fresh(cls, harvest: str) -> PartMarker:
        """A part that nobody knows yet."""
        return cls(os.urandom(16).hex(), harvest)


def read_part_marker(output: Path) -> PartMarker | None:
    """The marker of an OUTPUT, None if it is no part; raises OutputMismatchError for a broken one.

    Raises LocalIOError where it cannot be read.
    """
    path = Side.PART_MARKER.of(output)
    try:
        return msgspec.json.decode(path.read_bytes(), type=PartMarker)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalIOError(
            f"{path} cannot be read ({error.strerror}): check its permissions."
        ) from error
    except ValueError:
        raise OutputMismatchError(
            f"{path} is damaged: it tells which part of a fleet's harvest {output.name} is. Remove "
            "it and run again with the same --harvest: the lines of the part are known by what "
            "they hold."
        ) from None


def check_no_part(output: Path) -> None:
    """Refuse an OUTPUT whose ledger is elsewhere: to an empty one, all of it would be news.

    Raises UsageError, and what `read_part_marker` does.
    """
    marker = read_part_marker(output)
    if marker is not None:
        raise UsageError(
            f"{output} is a part of the fleet's harvest {marker.harvest}: name its ledger with "
            f"--ledger or HARVESTER_LEDGER, and --harvest {marker.harvest}."
        )


def write_part_marker(output: Path, marker: PartMarker) -> None:
    """Write the marker of an OUTPUT, whole or not at all; raises LocalIOError."""
    path = Side.PART_MARKER.of(output)
    with writing(path, "make room, or choose another --output"), replacing(path) as file:
        file.write(msgspec.json.encode(marker) + b"\n")
