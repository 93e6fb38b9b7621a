"""A machine that fails when its story says so: its disk under OUTPUT and SQLite, and its power."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from harvester.disk import Disk
from tests.crashes.edits import COPY, OUTPUT, edit, notes_in
from tests.crashes.story import Fault, Kind, Phase

T = TypeVar("T")
LEDGER, WAL = "notes.jsonl.ledger", "notes.jsonl.ledger-wal"
SPOOL, KEPT = "notes.jsonl.ledger-reserve", "notes.jsonl.kept"
_PAGE = 4096
_WAL_HEADER = 32
# No story needs a tenth of this many; a run that does more goes round in circles.
_MOST_OPERATIONS = 20_000


class CrashError(BaseException):
    """The process is gone: nothing it does from here on reaches the disk."""


class RunawayError(Exception):
    """The run does things to its disk without end."""


class World:
    """One start of the process; counts the operations that change the disk.

    `durable` holds what a power cut leaves of each file, at least; what was there at the start has
    long been written out by the system.
    """

    def __init__(self, folder: Path, fault: Fault | None, stall: Callable[[float], None]) -> None:
        self.folder = folder
        self.operations = self.looks = 0
        self.is_dead = False
        self.durable: dict[str, bytes] = {}
        self.connections: list[sqlite3.Connection] = []
        self._fault = fault
        self.stall = stall
        self.removed: set[str] = set()
        self._dice = random.Random(fault.at if fault else 0)
        self.disk = _FaultyDisk(self)
        self.synced(OUTPUT, LEDGER, WAL, SPOOL)

    @property
    def died_of(self) -> Kind | None:
        """What ended the process, if anything did."""
        return self._fault.kind if self.is_dead and self._fault else None

    @property
    def may_be_edited(self) -> bool:
        """Whether somebody changes OUTPUT."""
        return self._fault is not None and self._fault.kind is Kind.EDIT

    def read(self, name: str) -> bytes:
        path = self.folder / name
        return path.read_bytes() if path.exists() else b""

    def synced(self, *names: str) -> None:
        """Those files are durable as they stand."""
        if self._fault is not None:
            self.durable.update((name, self.read(name)) for name in names)

    def log_begun(self, header: bytes) -> None:
        """If SQLite began its log anew, it made the new header durable before anything else.

        Else old frames under their old header could come back over newer pages.
        """
        new = self.read(WAL)[:_WAL_HEADER]
        if self._fault is not None and new != header:
            self.durable[WAL] = new + self.durable.get(WAL, b"")[_WAL_HEADER:]

    def operate(
        self, do: Callable[[], T], tear: Callable[[random.Random], None], full: Callable[[], T]
    ) -> T:
        """Do something to the disk, unless the story has other plans."""
        self.check_alive()
        self.operations += 1
        if self.operations > _MOST_OPERATIONS:
            raise RunawayError
        fault = self._fault
        if fault is None or self.operations < fault.at:
            return do()
        if fault.kind is Kind.FULL:
            is_full = self.operations < fault.at + fault.length
            return full() if is_full else do()
        if fault.kind in (Kind.STALL, Kind.EDIT):
            return self._meddled_with(do, fault)
        if fault.phase is Phase.TORN:
            tear(self._dice)
        elif fault.phase is Phase.AFTER:
            do()
        self.is_dead = True
        raise CrashError

    def _meddled_with(self, do: Callable[[], T], fault: Fault) -> T:
        """Do something to the disk, and meanwhile what the process knows nothing of."""
        if self.operations != fault.at or fault.phase is Phase.READING:
            return do()
        done = [do()] if fault.phase is Phase.AFTER else []
        if fault.kind is Kind.STALL:
            self.stall(fault.length)
        else:
            self._edit(fault)
        return done[0] if done else do()

    def look(self) -> None:
        """What a run does between the lines that it reads."""
        self.looks += 1
        fault = self._fault
        if fault is not None and fault.phase is Phase.READING and self.looks == fault.at // 3:
            self._edit(fault)

    def _edit(self, fault: Fault) -> None:
        output = self.folder / OUTPUT
        before = notes_in(output)
        edit(output, fault.how)
        self.removed = before - notes_in(output, output.with_name(COPY))

    def check_alive(self) -> None:
        if self.is_dead:
            raise CrashError

    def bury(self) -> None:
        """Close what the dead process held open."""
        for connection in self.connections:
            sqlite3.Connection.close(connection)
        for link in list(Path("/proc/self/fd").iterdir()):
            # The descriptor of the listing itself is gone by now.
            with suppress(FileNotFoundError):
                if link.readlink().parent == self.folder:
                    os.close(int(link.name))

    def remains(self) -> dict[str, bytes]:
        """The files as the next start finds them."""
        names = (OUTPUT, LEDGER, WAL, SPOOL, KEPT, COPY)
        found = {name: self.read(name) for name in names if (self.folder / name).exists()}
        if self.died_of is Kind.POWER:
            for name in (OUTPUT, WAL, SPOOL):
                if name in found:
                    found[name] = _mixed(self.durable.get(name, b""), found[name], self._dice)
        return found

    def connection(self) -> type[sqlite3.Connection]:
        """What SQLite is opened with in this world."""
        world = self

        class Connection(_FaultyConnection):
            def __init__(self, *args: Any, **how: Any) -> None:  # noqa: ANN401 - sqlite3's own
                world.check_alive()
                super().__init__(*args, **how)
                self.world = world
                world.connections.append(self)

        return Connection


def _mixed(durable: bytes, current: bytes, dice: random.Random) -> bytes:
    """What a power cut leaves: of each page that was not synced the new, the old, or zeros."""
    if dice.random() < 0.3:
        return current
    pairs = enumerate(zip(durable, current, strict=False))
    same = next((n for n, (a, b) in pairs if a != b), min(len(durable), len(current)))
    length = dice.randrange(same, max(len(durable), len(current)) + 1)
    mixed = bytearray(current[:same])
    while len(mixed) < length:
        start = len(mixed)
        size = min(length - start, _PAGE - start % _PAGE)
        page = dice.choice((current, current, durable, b""))[start : start + size]
        mixed += page.ljust(size, b"\0")
    return bytes(mixed)


class _FaultyDisk(Disk):
    def __init__(self, world: World) -> None:
        self._world = world

    def _full(self) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, fd: int, data: memoryview) -> int:
        def do() -> int:
            return os.write(fd, data)

        def full() -> int:
            # What still fits goes in. The spool has its room already.
            if len(data) > 100 and _name(fd) != SPOOL:
                return os.write(fd, data[:50])
            return do() if _name(fd) == SPOOL else self._full()

        return self._world.operate(do, lambda dice: _tear_write(fd, data, dice), full)

    def truncate(self, fd: int, length: int) -> None:
        def do() -> None:
            os.ftruncate(fd, length)

        self._world.operate(do, lambda _dice: None, do)

    def allocate(self, _fd: int, _length: int) -> None:
        self._world.check_alive()

    def sync(self, fd: int, *, is_full: bool = False) -> None:  # noqa: ARG002 - of macOS alone
        def do() -> None:
            self._world.synced(_name(fd))

        self._world.operate(do, lambda _dice: None, do)

    @contextmanager
    def replacing(self, path: Path, mode: int) -> Iterator[BinaryIO]:
        self._world.check_alive()
        with super().replacing(path, mode) as file:
            yield file
        self._world.synced(path.name)

    def remove(self, path: Path) -> None:
        def do() -> None:
            path.unlink(missing_ok=True)

        self._world.operate(do, lambda _dice: None, do)


def _name(fd: int) -> str:
    return Path(f"/proc/self/fd/{fd}").readlink().name


def _tear_write(fd: int, data: memoryview, dice: random.Random) -> None:
    os.write(fd, data[: dice.randrange(len(data))] if len(data) else data)


class _FaultyConnection(sqlite3.Connection):
    world: World

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's own
        self.world.check_alive()
        if sql == "COMMIT":
            return self._commit()
        if sql.startswith("PRAGMA wal_checkpoint"):
            return self._checkpoint(sql)
        return super().execute(sql, *args)

    def _commit(self) -> sqlite3.Cursor:
        world = self.world

        def do() -> sqlite3.Cursor:
            before = world.read(WAL)[:_WAL_HEADER]
            cursor = super(_FaultyConnection, self).execute("COMMIT")
            world.log_begun(before)
            if self._syncs_commits():
                world.synced(WAL)
            return cursor

        def tear(dice: random.Random) -> None:
            before = world.read(WAL)
            super(_FaultyConnection, self).execute("COMMIT")
            after = world.read(WAL)
            new = next(
                (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
                len(before),
            )
            cut = dice.randrange(min(new, len(after)), len(after) + 1)
            # The rest is as it was: what the process had not handed over yet.
            (world.folder / WAL).write_bytes(after[:cut] + before[cut:])
            if cut >= _WAL_HEADER:
                world.log_begun(before[:_WAL_HEADER])

        def full() -> sqlite3.Cursor:
            raise sqlite3.OperationalError("database or disk is full")

        return world.operate(do, tear, full)

    def _syncs_commits(self) -> bool:
        (level,) = super().execute("PRAGMA synchronous").fetchone()
        return bool(level >= 2)

    def _checkpoint(self, sql: str) -> sqlite3.Cursor:
        world = self.world

        def do() -> sqlite3.Cursor:
            cursor = super(_FaultyConnection, self).execute(sql)
            world.synced(WAL, LEDGER)
            return cursor

        def tear(dice: random.Random) -> None:
            # SQLite syncs the log before it copies pages from it, in any order.
            world.synced(WAL)
            before = world.read(LEDGER)
            super(_FaultyConnection, self).execute(sql)
            after = world.read(LEDGER)
            pages = [
                (after if dice.random() < 0.5 else before)[start : start + _PAGE]
                for start in range(0, max(len(before), len(after)), _PAGE)
            ]
            (world.folder / LEDGER).write_bytes(b"".join(pages))

        def full() -> sqlite3.Cursor:
            raise sqlite3.OperationalError("disk I/O error")

        return world.operate(do, tear, full)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's own
        self.world.check_alive()
        return super().executemany(sql, *args)

    def executescript(self, sql: str) -> sqlite3.Cursor:
        self.world.check_alive()
        return super().executescript(sql)

    def close(self) -> None:
        self.world.check_alive()
        super().close()
        self.world.synced(LEDGER, WAL)
