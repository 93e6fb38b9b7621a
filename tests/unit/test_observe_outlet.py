"""What is written from a thread of its own: in order, without waiting, and never silently less."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from harvester.observe.outlet import Outlet


class Reader:
    """Takes things once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.is_reading = threading.Event()
        self.has_all = threading.Event()
        self.read: list[str] = []

    def __call__(self, things: Sequence[str]) -> None:
        self.is_reading.set()
        assert self.gate.wait(60)
        self.read += things
        if "1" in things:
            self.has_all.set()


def left_out(many: int) -> str:
    return f"{many} left out"


def test_all_is_written_in_its_order() -> None:
    reader = Reader()
    reader.gate.set()
    outlet = Outlet[str](reader)
    for number in range(1000):
        outlet.put(str(number))
    assert outlet.drain()
    assert reader.read == [str(number) for number in range(1000)]
    assert not outlet.is_behind


def test_what_finds_no_room_is_left_out_and_counted_when_it_goes_on() -> None:
    reader = Reader()
    outlet = Outlet[str](reader, left_out, most=2)
    outlet.put("0")
    assert reader.is_reading.wait(60)
    for number in range(1, 8):
        outlet.put(str(number))
    reader.gate.set()
    assert outlet.drain()
    outlet.put("more")
    assert outlet.drain()
    assert reader.read == ["0", "1", "2", "5 left out", "more"]


def test_nobody_is_waited_for_for_ever() -> None:
    reader = Reader()
    outlet = Outlet[str](reader)
    outlet.put("0")
    outlet.patience = 0.01
    assert not outlet.drain()
    outlet.patience = 600
    assert not outlet.drain()
    assert outlet.is_behind
    outlet.put("1")
    reader.gate.set()
    assert reader.has_all.wait(60)
    assert outlet.drain()
    assert reader.read == ["0", "1"]


def test_a_thread_that_dies_says_why_and_takes_nothing_more() -> None:
    def die(_: Sequence[str]) -> None:
        raise MemoryError

    outlet = Outlet[str](die)
    outlet.put("0")
    assert not outlet.drain()
    assert isinstance(outlet.failure, MemoryError)
    outlet.put("1")
    assert not outlet.is_behind
