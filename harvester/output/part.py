"""The pointer beside an OUTPUT that is one part of a fleet's harvest: which part, of which."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import orjson

from harvester.errors import LocalIOError, OutputMismatchError


@dataclass(frozen=True, slots=True)
class Pointer:
    """A part's own name, and the name of the harvest that it belongs to."""

    part: str
    harvest: str

    @classmethod
    def fresh(cls, harvest: str) -> Pointer:
        """A part that nobody knows yet."""
        return cls(uuid.uuid4().hex, harvest)


def pointer_path(output: Path) -> Path:
    """Where the pointer of an OUTPUT is."""
    return output.with_name(output.name + ".fleet")


def read_pointer(output: Path) -> Pointer | None:
    """The pointer of an OUTPUT, None if it is no part; raises OutputMismatchError for a broken one.

    Raises LocalIOError where it cannot be read.
    """
    path = pointer_path(output)
    try:
        said = orjson.loads(path.read_bytes())
        return Pointer(str(said["part"]), str(said["harvest"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalIOError(
            f"{path} cannot be read ({error.strerror}): check its permissions."
        ) from error
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise OutputMismatchError(
            f"{path} is damaged: it tells which part of a fleet's harvest {output.name} is. Remove "
            "it and run again with the same --harvest: the lines of the part are known by what "
            "they hold."
        ) from None


def write_pointer(output: Path, pointer: Pointer) -> None:
    """Write the pointer of an OUTPUT, whole or not at all; raises LocalIOError."""
    path = pointer_path(output)
    fresh = path.with_name(path.name + ".new")
    text = orjson.dumps({"harvest": pointer.harvest, "part": pointer.part}) + b"\n"
    try:
        with fresh.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise LocalIOError(
            f"{path} cannot be written ({error.strerror}): make room, or choose another --output."
        ) from error
