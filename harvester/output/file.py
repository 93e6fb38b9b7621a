"""OUTPUT as an open file: locked for one run, appended to, measured, cut."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path

from harvester.disk import Disk, file_id, reason_of
from harvester.errors import LocalIOError, OutputChangedError, OutputLockedError
from harvester.halt import Look, go_on
from harvester.ledger.protocol import Checkpoint
from harvester.output.beside import PADDING, keep_cut, keep_whole, leave_link, moved_to
from harvester.output.ending import LONGEST, holds, line_before, mark_of
from harvester.output.lines import between_holes, has_holes, lines_of, may_be_torn, read_line
from harvester.sides import Side

# What to do where OUTPUT's folder is not there.
NO_FOLDER = (
    "create its folder or, if that was moved, name OUTPUT where it is (in a new folder, all would "
    "be fetched, and paid for, again)"
)
_BUFFER = 1 << 20
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
# Lines in so many last bytes tell how long the next ones may be.
_LATELY = 1 << 20


class OutputFile:
    """OUTPUT, held for this run alone.

    The lock is on the file itself: it needs no file of its own, and ends with the process however
    that ends. Raises OutputLockedError, LocalIOError. With `sync` it is made as durable
    as the system can. Whoever reads its lines looks between them.
    `link` is what it was named by, if that leads there.
    """

    def __init__(
        self,
        path: Path,
        disk: Disk,
        *,
        sync: bool = False,
        look: Look = go_on,
        link: Path | None = None,
    ) -> None:
        self.path = path
        self._link = link or path
        self._look = look
        self._disk = disk
        self._is_full_sync = sync
        with self._errors():
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_apart = False
        self._is_elsewhere = False
        self._lock()
        if file_id(self._link) != file_id(self._fd):
            os.close(self._fd)
            raise _locked(path)  # just now replaced by who held it
        self.length = os.fstat(self._fd).st_size

    def longest(self) -> int:
        """How long the longest of the latest lines is, in bytes."""
        latest = os.pread(self._fd, _LATELY, max(0, self.length - _LATELY))
        return max(map(len, latest.split(b"\n")))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise LocalIOError for what the system refuses."""
        try:
            yield
        except OSError as error:
            raise _failed(self.path, error) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise _locked(self.path) from None
        except OSError as error:
            os.close(self._fd)
            if error.errno in _NO_LOCKS:
                raise LocalIOError(
                    f"the file system of {self.path} has no locks ({reason_of(error)}), so "
                    "two runs could pay for the same notes: choose an --output on a local disk, or "
                    "have locks turned on there (NFS: mount without nolock, start rpc.statd)."
                ) from None
            raise _failed(self.path, error) from error

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Append whole lines and hand them to the system; gives where each ends.

        All or nothing: on an error OUTPUT is cut back to what it was, and LocalIOError raised. It
        is OutputChangedError where OUTPUT is no longer the file that was written so far; if that
        file is only without its name, lines go on to it, or to a copy, the next time.
        """
        data = memoryview(b"".join(lines))
        self._check_unchanged(self.length)
        with self._errors():
            try:
                self._disk.write_all(self._fd, data)
            except OSError:
                self._cut_quietly(self.length)
                raise
        if data:
            self._check_written(data)
        ends = list(accumulate(map(len, lines), initial=self.length))[1:]
        self.length += len(data)
        return ends

    def _check_written(self, data: memoryview) -> None:
        """Raise OutputChangedError for a change since the look before the write, which is undone.

        Lines behind half of another's, or behind one that lost its newline, could not be told.
        """
        try:
            self._check_unchanged(self.length + len(data))
        except OutputChangedError:
            start = os.fstat(self._fd).st_size - len(data)
            if start >= 0 and os.pread(self._fd, len(data), start) == data:
                self._cut_quietly(start)
            raise

    def _check_unchanged(self, length: int) -> None:
        """Raise OutputChangedError unless the path still names this file, as long as it should be.

        What goes on being written to a file that has lost its name is gone when the run ends.
        """
        held = os.fstat(self._fd)
        if not self._is_apart and file_id(self._link) != (held.st_dev, held.st_ino):
            self._cut_quietly(self.length)
            raise OutputChangedError(self._part(held))
        if held.st_size != length:
            raise OutputChangedError(self._told_of_length(is_less=held.st_size < length))

    def _part(self, held: os.stat_result) -> str:
        """See that the file has a name that can be given back to it; says what to do."""
        path = shlex.quote(str(self.path))
        if held.st_nlink:
            self._is_apart = True
            if file_id(self.path) == file_id(self._fd):
                return (
                    f"{self._link} does not lead to {path} any more, which this run wrote. What to "
                    f"do: run again with `-o {path}`, which pays for nothing twice."
                )
            place = moved_to(self._fd)
            name = "WHERE_IT_IS" if place is None else shlex.quote(str(place))
            if not any(side.of(self.path).exists() for side in (Side.LEDGER, Side.PART_MARKER)):
                return self._moved_with_all(place, name)
            return (
                f"{self.path} was moved away while the run was on. What to do: `mv {name} {path}`, "
                "then run again, which pays for nothing twice."
            )
        try:
            copy = keep_whole(self._fd, self.length, self.path)
        except OSError as error:
            return (
                f"{self.path} was removed or replaced while the run was on, and could not be kept "
                f"({error.strerror}): what it held is lost, but for what replaced it."
            )
        os.dup2(copy, self._fd, inheritable=False)
        os.close(copy)
        self._is_apart = True
        kept = shlex.quote(str(Side.KEPT.of(self.path)))
        return (
            f"{self.path} was removed or replaced while the run was on; all that it held is kept. "
            f"What to do: `mv {kept} {path}`, then run again, which pays for nothing twice."
        )

    def _moved_with_all(self, place: Path | None, name: str) -> str:
        """Have a link lead to where OUTPUT and its ledger are now; says what to do."""
        self._is_elsewhere = True
        if leave_link(self.path, place):
            old = "a link in its old place leads there, too"
        else:
            old = "in its old place all would be fetched, and paid for, again"
        return (
            f"{self.path} was moved away with all that lies beside it while the run was on. What "
            f"to do: run again with `-o {name}`, which pays for nothing twice; {old}."
        )

    def _told_of_length(self, *, is_less: bool) -> str:
        if is_less:
            return (
                f"{self.path} was cut short while the run was on. What to do: put the good copy "
                f"back (logrotate's is {self.path.name}.1), then run again. The answers that were "
                "still to be written are kept beside it."
            )
        return (
            f"{self.path} was written to by somebody else while the run was on. What to do: see "
            "that nobody else writes it, then run again, which pays for nothing twice."
        )

    def _cut_quietly(self, length: int) -> None:
        """Take a half-written group back; if even that fails, the next run cuts the torn line."""
        try:
            self._disk.truncate(self._fd, length)
        except OSError:
            return

    def checkpoint(self, last_line: bytes = b"") -> Checkpoint:
        """The length of OUTPUT and its last line's mark; `last_line` saves reading it back."""
        if last_line:
            return Checkpoint(self.length, mark_of(last_line))
        return self.checkpoint_at(self.length)

    def checkpoint_at(self, length: int) -> Checkpoint:
        """OUTPUT up to a place, and the mark of the line that ends there."""
        return Checkpoint(length, mark_of(line_before(self._fd, length)))

    def line_before(self, place: int) -> bytes:
        """The line that ends at a place."""
        return line_before(self._fd, place)

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Whether OUTPUT still has the line that a checkpoint ends with, where it ends."""
        return holds(self._fd, checkpoint)

    def has_line_end(self, place: int) -> bool:
        """Whether a line ends at a place, or OUTPUT begins there."""
        return not place or os.pread(self._fd, 1, place - 1) == b"\n"

    def mend_holes(self, known: int) -> int:
        """Take out NUL bytes past a `known` length, which a power cut leaves, and what they tore.

        What is left of torn lines is kept beside OUTPUT. Gives how many bytes are gone.
        """
        before = self.length
        holed = [between_holes(piece)[1] for piece, _ in self.pieces(known) if has_holes(piece)]
        if holed:
            torn = b"".join(part for parts in holed for part in parts)
            with self._errors():
                keep_cut(self.path, self._disk, torn)
            self.change(
                lambda piece: b"".join(between_holes(piece)[0]),
                lambda piece, end: end > known and has_holes(piece),
            )
        return before - self.length

    def mend_end(self, known: int) -> int:
        """See that OUTPUT ends in a whole line, as far as that is past a `known` length.

        A line that is whole but for its newline gets one; NUL bytes, which a power cut leaves, the
        ^Z of DOS and a torn line are cut. Gives how many bytes were cut.
        """
        start, piece = self._unended()
        text = piece.rstrip(PADDING)
        cut = 0
        if piece != text and start + len(text) >= known - 1:
            cut = self.cut(start + len(text))
        if read_line(text) is not None and start + len(text) >= known - 1:
            self._end_line()
        elif text and start >= known and may_be_torn(text):
            cut += self.cut(start)
        return cut

    def change(
        self, change: Callable[[bytes], bytes], is_changed: Callable[[bytes, int], bool]
    ) -> int:
        """Write OUTPUT anew with some of its lines changed, and hold that one; gives how many.

        Which these are is told of a line and where it ends. There is the one or the other at any
        moment.
        """
        many = sum(is_changed(piece, end) for piece, end in self.pieces(0))
        if many:
            mode = os.fstat(self._fd).st_mode & 0o777
            with self._errors(), self._disk.replacing(self.path, mode) as file:
                for piece, end in self.pieces(0):
                    file.write(change(piece) if is_changed(piece, end) else piece)
            fresh = OutputFile(self.path, self._disk)
            # The lock goes with it.
            os.dup2(fresh._fd, self._fd, inheritable=False)
            fresh.close()
            self.length = fresh.length
        return many

    def _unended(self) -> tuple[int, bytes]:
        """What stands behind the last newline, and where it begins."""
        piece = line_before(self._fd, self.length) if self.length else b""
        piece = b"" if piece.endswith(b"\n") else piece
        return self.length - len(piece), piece

    def _end_line(self) -> None:
        with self._errors():
            self._disk.write(self._fd, memoryview(b"\n"))
        self.length += 1

    def cut(self, length: int) -> int:
        """Cut OUTPUT to a length in bytes, and keep what is cut beside it; gives how much."""
        many = self.length - length
        with self._errors():
            keep_cut(self.path, self._disk, os.pread(self._fd, min(many, LONGEST), length))
            self._disk.truncate(self._fd, length)
        self.length = length
        return many

    def sync(self) -> int:
        """Make OUTPUT durable; gives its length.

        Raises OutputChangedError unless it still is what was opened, and written so far.
        """
        length = self.length
        with self._errors():
            self._disk.sync(self._fd, is_full=self._is_full_sync)
        self._check_unchanged(length)
        return length

    def pieces(self, start: int) -> Iterator[tuple[bytes, int]]:
        """Lines from a place on, each with where it ends; the last may lack its newline.

        They are read one after another: nothing else may read lines meanwhile.
        """
        with open(self._fd, "rb", buffering=_BUFFER, closefd=False) as file:
            file.seek(start)
            for line, end in lines_of(file):
                self._look()
                yield line, end

    def close(self) -> None:
        """Let go of OUTPUT and its lock."""
        # What it lost its name to may have come after the last look, its old folder only now.
        with suppress(OutputChangedError):
            self._check_unchanged(self.length)
        if self._is_elsewhere:
            leave_link(self.path, moved_to(self._fd))
        os.close(self._fd)


def _locked(path: Path) -> OutputLockedError:
    return OutputLockedError(
        f"another run holds {path}: wait for it to end; `harvester status "
        f"{shlex.quote(str(path))}` tells how far it is."
    )


def _failed(path: Path, error: OSError) -> LocalIOError:
    advice = {
        errno.ENOSPC: "make room on the disk",
        errno.EDQUOT: "make room in your disk quota",
        errno.EFBIG: "raise the file size limit (ulimit -f)",
        errno.EACCES: "check the permissions of the file and its folder",
        errno.EROFS: "choose an --output on a writable disk",
        errno.ENOENT: NO_FOLDER,
        errno.ELOOP: "choose another --output: this one is a link to itself",
    }.get(error.errno or 0, "check the disk")
    return LocalIOError(
        f"cannot write {path}: {reason_of(error)}. What to do: {advice}, then run again."
    )
