"""The paths of one command: what each must be, and held against each other before any is opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from harvester.disk import file_id
from harvester.errors import UsageError
from harvester.sanitize import sanitize
from harvester.sides import Side

_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})
_STANDARD_INPUT = "-"
# What is put behind OUTPUT's name has so many bytes at most: that of a ledger set aside, as where
# its short links lead to is an OUTPUT, too.
_BESIDE = len(f"{Side.LINKS}{Side.LEDGER}.damaged9-wal")
_SHOWN = 40
_WHAT_IT_IS = (
    "OUTPUT is a JSONL file on a disk, to be read again and appended to. Name one, such as -o "
    "notes.jsonl; pack or pipe it afterwards."
)


def place_of(path: str | os.PathLike[str]) -> Path:
    """A path as typed, `~` for the home folder; raises UsageError for one that cannot be used."""
    try:
        # As shells do: what stands for nobody's home is a name like others.
        place = Path(os.path.expanduser(path))  # noqa: PTH111
        # Surrogates are also what good UTF-8 becomes in a locale that knows ASCII alone.
        os.fsencode(place.absolute()).decode()
        place.resolve()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            place.stat()
    except UnicodeError:
        shown = ascii(os.fspath(path))
        raise UsageError(f"the name {shown} is not UTF-8: rename it, or its folder.") from None
    except (OSError, RuntimeError, ValueError) as error:
        # Until 3.12, Python finds a loop of links where it resolves them; later, the system does.
        told = "followed: is it a link to itself?"
        if isinstance(error, OSError) and error.errno != errno.ELOOP:
            told = f"a file's name: {error.strerror}."
        raise UsageError(f"{path} cannot be {told}") from None
    return place


def output_of(path: str | os.PathLike[str]) -> Path:
    """The same of an OUTPUT: there is room in its name for what is put behind it.

    A pipe in its place, or in that of a file beside it, would be waited for without end.
    """
    place = place_of(path)
    try:
        os.lstat(f"{place}{'x' * _BESIDE}")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            shown = sanitize(place.name, _SHOWN)
            raise UsageError(f"the name {shown} is too long: choose a shorter one.") from None
    whole = place.resolve()
    for file in (whole, *(side.of(whole) for side in Side)):
        with suppress(OSError):
            if not stat.S_ISREG(file.stat().st_mode):
                way_out = _WHAT_IT_IS if file == whole else "move it away, or name another OUTPUT."
                raise UsageError(f"{file} is not a regular file: {way_out}")
    return place


def check_output(output: Path) -> None:
    """Raise UsageError unless a path can be an OUTPUT: a plain file that lines are appended to."""
    if str(output) == _STANDARD_INPUT:
        what = "-o - is no file"
    elif output.suffix.lower() in _PACKED:
        what = f"-o {output} would not be compressed"
    else:
        return
    raise UsageError(f"{what}: {_WHAT_IT_IS}")


def check_apart(
    written: Mapping[str, Path | None],
    read: Iterable[tuple[str, str | os.PathLike[str] | None]] = (),
    *,
    output: Path | None = None,
) -> None:
    """Raise UsageError where a file that is written is also meant by another name.

    Both are options or arguments with their paths; `output` is the harvest's, whose side files are
    written, too. Links, hard links and other spellings of a path are seen through.
    """
    seen: dict[object, str] = {}
    for name, path in _all_written(written, output):
        for key in _keys(path):
            if seen.setdefault(key, name) != name:
                raise _same(name, seen[key], path)
    given = ((name, path) for name, path in read if path is not None)
    for name, path_read in given:
        for key in _keys(path_read):
            if key in seen:
                raise _same(name, seen[key], path_read)
    for path in filter(None, written.values()):
        check_no_output(path)


def check_no_output(place: Path) -> None:
    """Raise UsageError for an OUTPUT, whose lines were paid for: it is no place for other files."""
    whole = place.resolve()
    for side in (Side.LEDGER, Side.PART_MARKER):
        if side.of(whole).exists():
            raise UsageError(
                f"{place} is an OUTPUT that runs go on with ({whole.name}{side} is beside it): "
                "name another file."
            )


def is_same(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Tell whether two names mean the same file, which is there or is not."""
    return not {*_keys(path)}.isdisjoint(_keys(other))


def _all_written(
    written: Mapping[str, Path | None], output: Path | None
) -> Iterator[tuple[str, Path]]:
    if output is not None:
        yield "OUTPUT", output
        whole = output.resolve()
        # What links lead to is also a list of notes.
        sides = (side for side in Side if side is not Side.LINKS)
        yield from ((f"OUTPUT's {side}", side.of(whole)) for side in sides)
    yield from ((name, path) for name, path in written.items() if path is not None)


def _keys(path: str | os.PathLike[str]) -> Iterator[object]:
    """What tells a file: its path without links and, if it is there, its place on the disk."""
    try:
        place = 0 if os.fspath(path) == _STANDARD_INPUT else place_of(path).resolve()
    except UsageError:
        # What cannot be opened is told by whoever opens it: it may be the token, by mistake.
        return
    # Of pipes and terminals any number may be one.
    if os.path.isfile(place):  # noqa: PTH113 - of standard input, too
        yield file_id(place)
    elif place and not os.path.exists(place):  # noqa: PTH110 - where nobody may look, too
        yield str(place)


def _same(name: str, other: str, path: str | os.PathLike[str]) -> UsageError:
    shown = "standard input" if os.fspath(path) == _STANDARD_INPUT else str(path)
    return UsageError(
        f"{name} and {other} are the same file ({shown}), which would be overwritten: "
        f"name another file for {name}."
    )
