"""The log file: whole lines only, and never a run held up by it."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, cast

from harvester.engine.ports import Notice
from harvester.errors import LocalIOError
from harvester.observe.log import record_of
from harvester.observe.outlet import Outlet
from harvester.sanitize import LONGEST_PATH, sanitize

if TYPE_CHECKING:
    import threading

    from _typeshed import ReadableBuffer


class _WholeLines(io.FileIO):
    """A file that takes a line with each write, at its end; one that was torn is ended first."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "a", opener=_for_its_owner_alone)
        self._is_torn = _is_torn(Path(path))

    def write(self, data: ReadableBuffer, /) -> int:
        line = b"\n" * self._is_torn + bytes(data)
        # As a full disk leaves it.
        self._is_torn = super().write(line) < len(line)
        if self._is_torn:
            raise OSError(errno.ENOSPC, "no space is left")
        return len(line)


def _for_its_owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_torn(path: Path) -> bool:
    """Whether a file ends in the middle of a line."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class _NoLock(nullcontext[None]):
    """What `logging` takes for a lock: it uses one, if by other ways in each version of Python."""

    def acquire(self) -> None:
        """Have it at once."""

    def release(self) -> None:
        """Have nothing to give back."""


class LogFile(WatchedFileHandler):
    """A file that never hurts a run.

    Each line is one write to the end of the file, so it is whole though the process be killed, and
    lines of several runs do not mix. A file that was moved away or removed, as logrotate does, is
    opened anew; one that was cut short goes on at its beginning. What cannot be written is left
    out, and `warn` is told the first time.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Raises OSError."""
        self._path = path
        self._warn = warn
        self._has_failed = False
        super().__init__(path)

    def createLock(self) -> None:  # noqa: N802 - logging's own
        """Have none: one thread writes, and nobody waits for it if the disk hangs."""
        self.lock = cast("threading.RLock", _NoLock())

    def _open(self) -> io.TextIOWrapper:
        lines = _WholeLines(self.baseFilename)
        return io.TextIOWrapper(
            lines,
            "utf-8",
            "backslashreplace",
            newline="\n",
            write_through=True,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        try:
            super().emit(record)
        except OSError:
            # Its folder is gone.
            self.handleError(record)

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's own
        """Warn the first time that a line cannot be written."""
        error = sys.exc_info()[1]
        if not self._has_failed:
            self._has_failed = True
            name = sanitize(str(self._path), LONGEST_PATH)
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            self._warn(
                f"--log-file {name} takes no more lines: {reason}. The run goes on; lines are "
                "left out until it takes them again: make room."
            )


class _Aside(logging.Handler):
    """Hands records to who writes them on a thread of its own."""

    def __init__(self, outlet: Outlet[logging.LogRecord]) -> None:
        super().__init__()
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written as soon as the disk takes it."""
        self._outlet.put(record)


@contextmanager
def open_log(
    path: Path, warn: Callable[[str], None], formatter: logging.Formatter
) -> Iterator[logging.Handler]:
    """A handler that appends to a log file, a line at a time, and never waits.

    Where the disk takes none in time, lines are left out, which is told in their place. Raises
    LocalIOError if the file cannot be opened.
    """
    try:
        log = LogFile(path, warn)
    except OSError as error:
        raise LocalIOError(
            f"--log-file {path} cannot be written: {error.strerror}. Choose another place."
        ) from error
    log.setFormatter(formatter)

    def write(records: Sequence[logging.LogRecord]) -> None:
        for record in records:
            log.handle(record)

    outlet = Outlet[logging.LogRecord](write, _left_out)
    try:
        yield _Aside(outlet)
    finally:
        if outlet.drain():
            log.close()


def _left_out(many: int) -> logging.LogRecord:
    return record_of(Notice("left out", f"{many} lines, since the disk took none in time"))
