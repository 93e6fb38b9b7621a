"""Opening can be cancelled, whatever holds it up; what it opens all the same is closed again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harvester import threads
from harvester.config import RunConfig
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.open_output import open_output
from harvester.engine.open_run import open_when_free
from harvester.errors import HaltedError
from harvester.halt import Halt
from harvester.threads import done_in_time


async def opened(open_now: Callable[[], OpenOutput], longest: float = 0.0) -> OpenOutput:
    return await open_when_free(open_now, longest, lambda _: None, Halt(), lambda: None)


class Slow:
    """Opens once the gate is open."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.gate = threading.Event()
        self.has_begun = threading.Event()
        self.is_open = threading.Event()

    def __call__(self) -> OpenOutput:
        self.has_begun.set()
        assert self.gate.wait(60)
        opened = open_output(RunConfig(output=self.output, simulate=True), Environment(lambda: 1e9))
        self.is_open.set()
        return opened

    async def opened(self) -> OpenOutput:
        return await opened(self)


def test_what_was_being_opened_when_it_was_cancelled_holds_nobody_up(tmp_path: Path) -> None:
    slow = Slow(tmp_path / "notes.jsonl")

    async def main() -> None:
        opening = asyncio.create_task(slow.opened())
        await asyncio.to_thread(slow.has_begun.wait)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(main())
    slow.gate.set()
    assert slow.is_open.wait(60)
    asyncio.run(opened(slow, 60.0)).close()


def test_cancelling_is_told_once_what_was_opened_too_late_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow this machine is.
    monkeypatch.setattr(threads, "_MOMENT", 60.0)
    has_begun, may_end, is_undone = threading.Event(), threading.Event(), threading.Event()

    def undo(_: object) -> None:
        has_begun.set()
        assert may_end.wait(60)
        is_undone.set()

    async def main() -> None:
        gate = threading.Event()
        waiting = asyncio.create_task(done_in_time(partial(gate.wait, 60), Halt(), None, undo))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.to_thread(has_begun.wait)
        for _ in range(9):
            await asyncio.sleep(0)
        assert not waiting.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert is_undone.is_set()

    asyncio.run(main())


def test_what_is_opened_in_time_is_given(tmp_path: Path) -> None:
    slow = Slow(tmp_path / "notes.jsonl")
    slow.gate.set()
    asyncio.run(slow.opened()).close()


class Endless:
    """Work that goes on until it is told to leave off where it looks."""

    def __init__(self) -> None:
        self.halt = Halt()
        self.has_begun, self._has_ended = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.has_begun.set()
        try:
            while True:
                self.halt.look()
        finally:
            self._has_ended.set()

    def has_ended(self) -> bool:
        return self._has_ended.wait(60)


def test_work_whose_time_is_over_leaves_off_where_it_looks() -> None:
    work = Endless()
    with pytest.raises(HaltedError, match="--max-runtime was reached before the first call"):
        asyncio.run(done_in_time(work, work.halt, 0.0))
    assert work.has_ended()
    assert HaltedError.exit_code == 7


def test_work_that_is_cancelled_leaves_off_where_it_looks() -> None:
    work = Endless()

    async def main() -> None:
        waiting = asyncio.create_task(done_in_time(work, work.halt, None))
        await asyncio.to_thread(work.has_begun.wait)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert work.has_ended()
