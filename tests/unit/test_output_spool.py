"""The room beside OUTPUT holds the answers of all calls that may be in flight."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harvester.disk import Disk
from harvester.output.spool import EmergencySpool

CALLS = 64
LONG = [b"x" * 100_000] * 100


class ShortDisk(Disk):
    """Has so many bytes, and one file."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = 0

    def free(self, folder: Path) -> int:
        del folder
        return self.room - self.taken

    def allocate(self, fd: int, length: int) -> None:
        self.taken = length
        super().allocate(fd, length)


class FullDisk(Disk):
    """Has no room left."""

    def allocate(self, fd: int, length: int) -> None:
        del fd, length
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class LockedFolder(Disk):
    """Lets no name be taken away."""

    def remove(self, path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "notes.jsonl"


def test_lines_that_are_longer_than_guessed_make_the_room_grow(output: Path) -> None:
    spool = EmergencySpool(output, Disk())
    assert not spool.prepare(CALLS)
    assert spool.calls == CALLS
    spool.see(LONG)
    assert spool.calls >= CALLS
    assert spool.path.stat().st_size >= CALLS * len(LONG[0])


def test_where_the_disk_has_no_more_room_fewer_calls_are_allowed(output: Path) -> None:
    spool = EmergencySpool(output, ShortDisk(8 << 20))
    spool.prepare(CALLS, 2_000)
    assert spool.calls == CALLS
    spool.see(LONG)
    assert 1 < spool.calls * len(LONG[0]) <= spool.path.stat().st_size <= 2 << 20


def test_on_a_short_disk_few_calls_tell_first_how_long_lines_are(output: Path) -> None:
    spool = EmergencySpool(output, ShortDisk(4 << 20))
    spool.prepare(CALLS)
    assert spool.calls == 4
    spool.see([b"x" * 1_000] * 500)
    assert spool.calls >= CALLS


def test_without_any_room_one_call_at_a_time_is_allowed(output: Path) -> None:
    spool = EmergencySpool(output, FullDisk())
    assert "no room could be kept free" in spool.prepare(CALLS)
    assert spool.calls == 1


def test_what_is_saved_stays_as_it_is_when_longer_lines_come(output: Path) -> None:
    spool = EmergencySpool(output, Disk())
    spool.prepare(CALLS, 2_000)
    assert spool.save([b"{}\n"])
    spool.see(LONG)
    assert list(spool.saved()) == [b"{}\n"]


def test_a_folder_that_keeps_the_room_ends_no_run(output: Path) -> None:
    spool = EmergencySpool(output, LockedFolder())
    spool.prepare(CALLS)
    spool.close()
    assert not EmergencySpool(output, Disk()).is_used


def test_on_a_short_disk_each_call_has_room_for_the_longest_line_and_without_it_there_is_none(
    output: Path,
) -> None:
    spool = EmergencySpool(output, ShortDisk(1 << 20))
    spool.prepare(CALLS, 20_000, 60_000)
    assert spool.calls == (1 << 18) // 60_000
    spool.see([b"x" * 200_000])
    assert spool.calls == 1
    spool.see([b"x" * 300_000])
    assert spool.calls == 0
    wide = EmergencySpool(output, Disk())
    wide.prepare(CALLS, 20_000, 60_000)
    assert wide.calls >= CALLS
