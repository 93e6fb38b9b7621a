"""Standard output and error as the program uses them: one clean door each, in any encoding."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from harvester.errors import LocalIOError, NobodyReadsError
from harvester.observe.outlet import Outlet
from harvester.sanitize import cleaned

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT, ERROR = 1, 2


class _Door(io.FileIO):
    """A standard stream's file; it is never closed, since it is not ours."""

    def __init__(self, file: int) -> None:
        super().__init__(file, "wb", closefd=False)

    def close(self) -> None:
        """Stay open."""


class _Direct(_Door):
    """Waits for whoever reads. The first failure is raised, and nothing is written after it.

    Raises NobodyReadsError, LocalIOError: as OSErrors, click would take them for its own.
    """

    _has_failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and not self._has_failed:
                left = left[os.write(self.fileno(), left) :]
        except BrokenPipeError:
            self._has_failed = True
            raise NobodyReadsError from None
        except OSError as error:
            self._has_failed = True
            raise LocalIOError(
                f"standard output cannot be written: {error.strerror}. Send it somewhere else."
            ) from error
        return size


class _Aside(_Door):
    """Waits for nobody: what is not read in time is left out, which is said in its place."""

    def __init__(self, file: int) -> None:
        super().__init__(file)
        self.outlet = Outlet(self._write_all, _left_out)

    def write(self, data: ReadableBuffer, /) -> int:
        written = bytes(data)
        self.outlet.put(written)
        return len(written)

    def _write_all(self, pieces: Sequence[bytes]) -> None:
        left = memoryview(b"".join(pieces))
        while left:
            left = left[os.write(self.fileno(), left) :]


def _left_out(many: int) -> bytes:
    return b"harvester: %d lines left out: nobody read them in time\n" % many


class Clean(io.TextIOWrapper):
    """Text without raw control characters, whoever wrote them; what cannot be encoded is escaped.

    `bare` is the same stream for what moves the cursor on purpose.
    """

    def __init__(self, door: _Door, encoding: str) -> None:
        # Errors, newline, line buffering.
        form: Any = (door, encoding, "backslashreplace", "\n", True)
        super().__init__(*form)
        self.bare: TextIO = io.TextIOWrapper(*form)

    def write(self, text: str, /) -> int:
        """Write text that may be from outside."""
        super().write(cleaned(text))
        return len(text)


def open_streams() -> None:
    """Put clean ones in the place of `sys.stdout` and `sys.stderr`; a closed one leads nowhere."""
    # Files that are opened later must not get their numbers.
    while (free := os.open(os.devnull, os.O_RDWR)) <= ERROR:
        os.set_inheritable(free, True)  # noqa: FBT003 - the system's own
    os.close(free)
    sys.stdout = Clean(_Direct(OUTPUT), _encoding(sys.stdout))
    sys.stderr = Clean(_Aside(ERROR), _encoding(sys.stderr))


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def fit(text: str, file: int = ERROR) -> str:
    """Text for standard output or error, its lines broken at words where that is a terminal."""
    if not os.isatty(file):
        return text
    from harvester.console.layout import wrapped

    # Some terminals break a line behind their last column.
    width = os.get_terminal_size(file).columns - 1
    return "\n".join(part for line in text.split("\n") for part in wrapped(line, width))


def complain(text: str) -> None:
    """Say something on standard error; nobody may be reading it, which ends nothing."""
    with suppress(OSError):
        sys.stderr.write(fit(text) + "\n")
        sys.stderr.flush()


def warn(text: str) -> None:
    """Say what is doubtful."""
    complain(f"harvester: warning: {text}")


def print_in_time(text: str | bytes) -> None:
    """Print what may find nobody who reads; raises as standard output does.

    What stands in standard error before it is let through first.
    """
    drain_errors()
    outlet = Outlet[str | bytes](_print)
    outlet.put(text)
    if not outlet.drain() and outlet.failure is not None:
        raise outlet.failure


def _print(texts: Sequence[str | bytes]) -> None:
    for text in texts:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
    sys.stdout.flush()


def drain_errors() -> None:
    """Wait until what was written to standard error is read, if anybody reads."""
    door = getattr(sys.stderr, "buffer", None)
    if isinstance(door, _Aside):
        door.outlet.drain()


def is_behind(stream: TextIO) -> bool:
    """Whether what was written to standard error is still on its way."""
    door = getattr(stream, "buffer", None)
    return isinstance(door, _Aside) and door.outlet.is_behind
