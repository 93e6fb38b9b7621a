"""OUTPUT that takes no more, or is changed, while a run is on: the run ends, nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.disk import Disk
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.ports import Notice
from harvester.engine.run import Run
from harvester.errors import LocalIOError
from harvester.model import Answer, StopReason, Summary
from harvester.money import Balance
from harvester.parsing import read_rate
from harvester.sides import Side
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import SimulatedApi
from tests.flow.conftest import CONFIG, Night, Upstream, note_ids

MANY = 60


class WeakMemoryDisk(Disk):
    """The system refuses memory to the thread that writes."""

    def write(self, fd: int, data: memoryview) -> int:
        del fd, data
        raise MemoryError


@dataclass
class On(Night):
    """A night on a disk of its own."""

    disk: Disk = field(default_factory=Disk)

    def open(self, host: Environment, config: RunConfig) -> OpenOutput:
        return super().open(replace(host, disk=self.disk), config)


def upstream() -> Upstream:
    return Upstream(SimulatedApi(SimulatorSettings()))


def changed(folder: Path, change: Callable[[Path], None]) -> tuple[Night, Summary, Upstream]:
    """A night whose OUTPUT is changed after half a second."""
    night, api = Night(folder), upstream()

    async def meddle(_run: Run) -> None:
        await asyncio.sleep(0.5)
        change(night.output)

    return night, night.run(note_ids(MANY), api, meddle=meddle), api


def sed(output: Path) -> None:
    text = output.read_bytes()
    output.unlink()
    output.write_bytes(text)


def moved(output: Path) -> None:
    output.rename(output.with_name("notes.jsonl.1"))


def rotated(output: Path) -> None:
    """As logrotate does with `create`."""
    moved(output)
    output.touch()


@pytest.mark.parametrize(
    "change",
    [sed, Path.unlink, moved, rotated, lambda output: shutil.rmtree(output.parent)],
    ids=["sed -i", "rm", "mv", "logrotate", "rm -rf"],
)
def test_an_output_that_goes_from_under_a_run_stops_it_and_nothing_is_paid_twice(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    night, summary, api = changed(folder, change)
    assert summary.reason == StopReason.LOCAL_IO.value
    assert "mv " in summary.detail
    assert summary.calls < MANY
    away = Side.KEPT.of(night.output)
    away = away if away.exists() else night.output.with_name("notes.jsonl.1")
    away.replace(night.output)
    again = night.run(note_ids(MANY), api)
    assert (again.reason, again.done) == (StopReason.DONE.value, MANY)
    assert len(api.starts) == MANY


@pytest.mark.parametrize("place", ["in", "in2"])
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "once it was noticed"])
@pytest.mark.parametrize("is_empty", [False, True], ids=["answers in hand", "none in hand"])
def test_an_output_that_is_moved_with_its_folder_is_gone_on_with_from_the_old_place_and_the_new(
    tmp_path: Path, place: str, *, is_late: bool, is_empty: bool
) -> None:
    folder, away = tmp_path / "in", tmp_path / "in2"
    folder.mkdir()
    paid: list[str] = []

    def script(note: str, nth: int, now: float) -> Answer | None:
        if is_empty and nth == 1 and now > 0.4:
            return Answer(200, b'{"code":301}')
        paid.append(note)
        return None

    night, api = Night(folder), Upstream(SimulatedApi(SimulatorSettings()), script=script)

    async def move(run: Run) -> None:
        await asyncio.sleep(0.5)
        folder.rename(away)
        if is_late:
            await run.state.stopped()
        folder.mkdir()

    summary = night.run(note_ids(MANY), api, meddle=move)
    assert summary.reason == StopReason.LOCAL_IO.value
    assert f"run again with `-o {away / 'notes.jsonl'}`" in summary.detail
    assert ("a link in its old place leads there" in summary.detail) is not is_late
    night = Night(tmp_path / place, clock=night.clock + 60)
    again = night.run(note_ids(MANY), api)
    assert (again.reason, again.done) == (StopReason.DONE.value, MANY)
    assert sorted(paid) == note_ids(MANY)
    assert [path.name for path in folder.iterdir()] == ["notes.jsonl"]


def test_an_output_whose_link_leads_elsewhere_is_told_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "link"
    folder.mkdir()
    (folder / "notes.jsonl").symlink_to(tmp_path / "notes.jsonl")

    def lead_elsewhere(link: Path) -> None:
        link.unlink()
        link.symlink_to(tmp_path / "other.jsonl")

    night, summary, api = changed(folder, lead_elsewhere)
    assert summary.reason == StopReason.LOCAL_IO.value
    assert f"run again with `-o {tmp_path / 'notes.jsonl'}`" in summary.detail
    again = Night(tmp_path, clock=night.clock + 60).run(note_ids(MANY), api)
    assert (again.done, len(api.starts)) == (MANY, MANY)


@pytest.mark.parametrize("is_replaced", [False, True], ids=["rm", "an older copy"])
def test_a_ledger_that_goes_from_under_a_run_is_put_back_with_all_it_knows(
    tmp_path: Path, *, is_replaced: bool
) -> None:
    ids, copy = note_ids(MANY), tmp_path / "copy"
    night, api = Night(tmp_path), upstream()
    # Charged, and on no line: only the ledger knows.
    api.script = lambda note, _nth, _now: (
        Answer(200, b'{"code":201}') if note in (ids[0], ids[-1]) else None
    )
    ledger = Side.LEDGER.of(night.output)

    async def meddle(_run: Run) -> None:
        copy.write_bytes(ledger.read_bytes())
        await asyncio.sleep(0.5)
        ledger.unlink()
        if is_replaced:
            copy.rename(ledger)

    summary = night.run(ids, api, meddle=meddle)
    again = Night(tmp_path, clock=night.clock + 60).run(ids, api)
    for told in (summary, again):
        assert (told.reason, told.done, told.rejected) == ("some failed", MANY - 2, 2)
    assert len(api.starts) == MANY
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    if is_replaced:
        asides = [ledger.with_name(f"{ledger.name}.replaced{n}") for n in ("", 1)]
        Night(tmp_path, clock=night.clock + 120).run(ids, api, meddle=meddle)
        assert [aside.stat().st_size > 0 for aside in asides] == [True, True]


def test_where_no_link_can_lead_to_an_output_that_was_moved_its_price_is_named(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def moved_for_good(output: Path) -> None:
        folder.rename(tmp_path / "in2")
        folder.mkdir()
        output.touch()

    _, summary, _ = changed(folder, moved_for_good)
    assert "in its old place all would be fetched, and paid for, again" in summary.detail
    with pytest.raises(LocalIOError, match="if that was moved, name OUTPUT where it is"):
        Night(tmp_path / "in3").run(note_ids(MANY), upstream())


class OneAccount:
    """Tells its balance; what happens when it is asked for the second time is done first."""

    def __init__(self, last: Callable[[], None]) -> None:
        self._asked = 0
        self._last = last

    async def balance(self, _timeout: float) -> Balance:
        self._asked += 1
        if self._asked == 2:
            self._last()
        return Balance(Decimal(100), "CNY")


class LastSyncDisk(Disk):
    """Something is done to OUTPUT once all its lines are durable."""

    def __init__(self, output: Path, change: Callable[[], None]) -> None:
        self.output, self.change = output, change

    def sync(self, fd: int, *, is_full: bool = False) -> None:
        super().sync(fd, is_full=is_full)
        if self.output.exists() and self.output.read_bytes().count(b"\n") == MANY:
            self.change()


@pytest.mark.parametrize("is_gone", [False, True], ids=["folder moved", "rm"])
@pytest.mark.parametrize("when", ["with the last sync", "while it waits", "while it ends"])
def test_an_output_that_goes_after_the_last_write_is_told_of_and_paid_for_once(
    tmp_path: Path, when: str, *, is_gone: bool
) -> None:
    folder, away = tmp_path / "in", tmp_path / "in2"
    folder.mkdir()
    ids = note_ids(MANY)

    def script(note: str, nth: int, _now: float) -> Answer | None:
        is_odd = when == "while it waits" and note == ids[0] and nth == 1
        return Answer(200, b'{"code":301}') if is_odd else None

    api = Upstream(SimulatedApi(SimulatorSettings()), script=script)

    def go() -> None:
        if is_gone:
            night.output.unlink()
        else:
            folder.rename(away)
            folder.mkdir()

    async def meddle(run: Run) -> None:
        if when == "while it waits":
            await asyncio.sleep(10)
            go()
            run.stop(StopReason.SIGINT)

    night = On(folder)
    if when == "with the last sync":
        night.disk = LastSyncDisk(night.output, go)
    if when == "while it ends":
        night.accounts = (OneAccount(go),)
    summary = night.run(ids, api, replace(CONFIG, backoff_base=60.0), meddle)
    if when != "while it ends":
        assert summary.reason == StopReason.LOCAL_IO.value
        assert "pays for nothing twice" in summary.detail
    if is_gone:
        Side.KEPT.of(night.output).replace(night.output)
    again = Night(folder, clock=night.clock + 120).run(ids, api)
    assert (again.reason, again.done) == (StopReason.DONE.value, MANY)
    assert len(api.starts) == MANY + (when == "while it waits")


def test_an_output_that_is_cut_under_a_run_stops_it_and_answers_are_kept(tmp_path: Path) -> None:
    def cut(output: Path) -> None:
        output.with_name("notes.jsonl.1").write_bytes(output.read_bytes())
        os.truncate(output, 0)

    night, summary, api = changed(tmp_path, cut)
    assert summary.reason == StopReason.LOCAL_IO.value
    night.output.with_name("notes.jsonl.1").replace(night.output)
    again = night.run(note_ids(MANY), api)
    assert (again.done, len(api.starts)) == (MANY, MANY)


def test_refused_memory_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    night = On(tmp_path, disk=WeakMemoryDisk())
    summary = night.run(note_ids(5), upstream())
    assert summary.reason == StopReason.LOCAL_IO.value
    assert "memory" in summary.detail
    assert "could not be written" in summary.detail
    assert summary.saved == 0


def test_what_a_full_disk_refuses_is_kept_at_once_not_when_the_run_ends(tmp_path: Path) -> None:
    night, api = Night(tmp_path), upstream()
    left: list[bytes] = []

    class Full(Disk):
        writes = 0

        def write(self, fd: int, data: memoryview) -> int:
            if os.fstat(fd).st_ino != night.output.stat().st_ino:
                return super().write(fd, data)
            self.writes += 1
            if self.writes > 3:
                if self.writes == 5:
                    # The run has not ended: a kill here leaves this behind.
                    left.append(Side.SPOOL.of(night.output).read_bytes().rstrip(b"\0"))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(fd, data)

    on = On(tmp_path, disk=Full())
    full = on.run(note_ids(MANY), api)
    assert full.reason == StopReason.LOCAL_IO.value
    assert left[0].endswith(b"}\n")
    assert full.saved == len(night.lines())
    again = night.run(note_ids(MANY), api)
    assert (again.done, len(api.starts)) == (MANY, MANY)


class SmallDisk(Disk):
    """So many bytes in all for OUTPUT and its spool, which keeps what it has taken."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.taken: dict[int, int] = {}

    def free(self, folder: Path) -> int:
        del folder
        return self.left

    def _take(self, fd: int, length: int) -> None:
        inode = os.fstat(fd).st_ino
        more = max(0, length - self.taken.get(inode, 0))
        if more > self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= more
        self.taken[inode] = self.taken.get(inode, 0) + more

    def allocate(self, fd: int, length: int) -> None:
        self._take(fd, length)
        super().allocate(fd, length)

    def write(self, fd: int, data: memoryview) -> int:
        is_appended = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
        start = os.fstat(fd).st_size if is_appended else os.lseek(fd, 0, os.SEEK_CUR)
        self._take(fd, start + len(data))
        return super().write(fd, data)


def test_a_full_disk_loses_no_long_answers_in_flight(tmp_path: Path) -> None:
    many, size = 900, 16 << 20
    body = b'{"code":0,"message":"ok","data":{"text":"%s"}}' % (b"x" * 30_000)
    api = Upstream(
        SimulatedApi(SimulatorSettings()), latency=2, script=lambda *_call: Answer(200, body)
    )
    settings = replace(CONFIG, rate=read_rate("300/s"))
    night = On(tmp_path, disk=SmallDisk(size))
    full = night.run(note_ids(many), api, settings)
    assert full.reason == StopReason.LOCAL_IO.value
    assert "paid answers are kept beside it" in full.detail
    assert "could not be written" not in full.detail
    assert full.calls > 300
    told = [event for event in night.events if isinstance(event, Notice) and event.kind == "disk"]
    assert len(told) == 1
    assert "little room" in told[0].text
    again = Night(tmp_path).run(note_ids(many), api, settings)
    assert (again.done, len(api.starts)) == (many, many)


def test_a_full_disk_loses_no_answer_that_cannot_be_read(tmp_path: Path) -> None:
    ids = note_ids(600)
    good = b'{"code":0,"message":"ok","data":{"text":"%s"}}' % (b"x" * 1_000)
    odd = set(ids[::2])
    arrived = []

    def script(note: str, nth: int, _now: float) -> Answer:
        if note not in odd or nth > 1:
            return Answer(200, good)
        arrived.append(note)
        return Answer(200, f"<p>{note}".encode() + b"x" * 60_000)

    api = Upstream(SimulatedApi(SimulatorSettings()), latency=2, script=script)
    settings = replace(CONFIG, rate=read_rate("300/s"))
    full = On(tmp_path, disk=SmallDisk(16 << 20)).run(ids, api, settings)
    assert full.reason == StopReason.LOCAL_IO.value
    assert "could not be written" not in full.detail
    before = list(arrived)
    odd.clear()
    night = Night(tmp_path)
    again = night.run(ids, api, settings)
    assert (again.reason, again.done) == (StopReason.DONE.value, len(ids))
    kept = [json.loads(line) for line in Side.UNREAD.of(night.output).read_bytes().splitlines()]
    assert sorted(line["noteId"] for line in kept) == sorted(before)
    assert not Side.SPOOL.of(night.output).exists()
