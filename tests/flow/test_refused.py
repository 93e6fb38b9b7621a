"""A call that nobody can go on with ends the run with its reason, and no other call."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.disk import Disk
from harvester.engine.held import Environment, OpenOutput
from harvester.model import Answer

from .conftest import Night, note_ids, upstream


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "the system gives no more memory"),
        (RuntimeError("can't start new thread"), "the system gives no more memory"),
        (KeyError("s3cret"), "an error of harvester's own (KeyError"),
    ],
)
def test_what_others_have_in_flight_is_saved(night: Night, error: Exception, told: str) -> None:
    api = upstream()

    def script(_note: str, _nth: int, _now: float) -> Answer | None:
        if len(api.starts) == 20:
            raise error
        return None

    api.script = script
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.unanswered) == (74, 1)
    assert told in summary.detail
    assert "s3cret" not in summary.detail
    assert summary.done == len(night.lines()) == len(api.starts) - 1
    assert 19 <= summary.done < 100


class AlmostFull(Disk):
    """Has so little left that an answer may find no room."""

    def free(self, folder: Path) -> int:
        del folder
        return 1_000


class ShortNight(Night):
    def open(self, host: Environment, config: RunConfig) -> OpenOutput:
        return super().open(replace(host, disk=AlmostFull()), config)


def test_no_answer_is_paid_for_that_may_find_no_room(night: Night) -> None:
    ids = note_ids(10)
    assert night.run(ids[:5], upstream()).exit_code == 0
    api = upstream()
    summary = ShortNight(night.folder, clock=night.clock).run(ids, api)
    assert (summary.exit_code, summary.done, summary.queued, api.calls) == (74, 5, 5, {})
    assert summary.detail == "the disk has no room to be sure of for one more answer: make room"


class Unreadable(bytes):
    """A body that there is no memory to look into."""

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise MemoryError


def test_an_answer_that_nobody_can_judge_gives_its_room_back(night: Night) -> None:
    released: list[str] = []

    def script(note: str, _nth: int, _now: float) -> Answer:
        return Answer(200, Unreadable(b"{}"), release=lambda: released.append(note))

    api = upstream()
    api.script = script
    summary = night.run(note_ids(5), api)
    assert summary.exit_code == 74
    assert sorted(released) == sorted(note for _, note in api.starts) != []
