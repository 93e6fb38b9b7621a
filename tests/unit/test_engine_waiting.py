"""Opening can be cancelled, whatever holds it up; what it opens all the same is closed again."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from harvester.engine.opening import Host, Opened, open_harvest
from harvester.engine.waiting import open_when_free
from harvester.ledger.protocol import Identity


class Slow:
    """Opens once the gate is open."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.gate = threading.Event()
        self.has_begun = threading.Event()
        self.is_open = threading.Event()

    def __call__(self) -> Opened:
        self.has_begun.set()
        assert self.gate.wait(60)
        opened = open_harvest(self.output, Identity("x/y/v1", simulated=True), Host(lambda: 1e9))
        self.is_open.set()
        return opened

    async def opened(self) -> Opened:
        return await open_when_free(self, 0.0, lambda _: None)


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
    asyncio.run(open_when_free(slow, 60.0, lambda _: None)).close()


def test_what_is_opened_in_time_is_given(tmp_path: Path) -> None:
    slow = Slow(tmp_path / "notes.jsonl")
    slow.gate.set()
    asyncio.run(slow.opened()).close()
