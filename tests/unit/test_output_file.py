"""OUTPUT as an open file: a group of lines is in it whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from harvester.disk import Disk
from harvester.errors import LocalIOError, OutputChangedError
from harvester.output.file import OutputFile

# What this process has open.
FILES = Path("/proc/self/fd")


class FillingDisk(Disk):
    """Takes some bytes, and then none."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, data[: self.room])
        self.room -= written
        return written


def test_a_group_that_the_disk_takes_half_of_is_taken_back(tmp_path: Path) -> None:
    disk = FillingDisk(room=8)
    output = OutputFile(tmp_path / "notes.jsonl", disk)
    assert output.append([b"{1}\n"]) == [4]
    with pytest.raises(LocalIOError, match="make room on the disk"):
        output.append([b"{2}\n", b"{3}\n"])
    assert output.path.read_bytes() == b"{1}\n"
    disk.room = 100
    assert output.append([b"{2}\n"]) == [8]
    output.close()


class MeddledDisk(Disk):
    """Somebody takes the last newline away just before the second write."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, fd: int, data: memoryview) -> int:
        self.writes += 1
        if self.writes == 2:
            os.ftruncate(fd, os.fstat(fd).st_size - 1)
        return super().write(fd, data)


def test_a_group_behind_what_somebody_else_just_did_is_taken_back(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "notes.jsonl", MeddledDisk())
    output.append([b"{1}\n"])
    with pytest.raises(OutputChangedError, match="cut short"):
        output.append([b"{2}\n"])
    assert output.path.read_bytes() == b"{1}"
    output.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_fd: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(list(FILES.iterdir()))
    with pytest.raises(LocalIOError) as caught:
        OutputFile(tmp_path / "notes.jsonl", Disk())
    told = str(caught.value)
    assert f"has no locks ({os.strerror(number)})" in told
    assert "choose an --output on a local disk" in told
    assert "check the disk" not in told
    assert len(list(FILES.iterdir())) == before


def test_where_the_system_has_a_full_sync_it_is_asked_for_with_sync_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    outputs = [OutputFile(tmp_path / name, Disk(), sync=name == "sync") for name in ("sync", "no")]
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, what: asked.append(what))
    for output in outputs:
        output.sync()
        output.close()
    assert asked == [51]
