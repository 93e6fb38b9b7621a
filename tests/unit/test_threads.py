"""A thread that dies leaves nobody waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from harvester.errors import LocalIOError, UsageError
from harvester.threads import OneThread


def named(number: int) -> tuple[int, str]:
    return number, threading.current_thread().name


def test_calls_are_done_in_order_on_one_thread() -> None:
    with OneThread("own") as thread:
        names = [thread.submit(named, number) for number in range(5)]
        assert [future.result(5) for future in names] == [(n, "own") for n in range(5)]


def test_what_a_call_raises_is_its_callers_and_always_one_of_ours() -> None:
    def raised(error: BaseException) -> Exception:
        def fail() -> None:
            raise error

        async def main() -> None:
            with OneThread("own") as thread:
                await thread.run(fail)

        with pytest.raises(UsageError if isinstance(error, UsageError) else LocalIOError) as info:
            asyncio.run(main())
        return info.value

    assert str(raised(UsageError("as it is"))) == "as it is"
    assert "memory" in str(raised(MemoryError()))
    assert "memory" in str(raised(RuntimeError("can't start new thread")))
    assert "memory" in str(raised(ExceptionGroup("of a run's tasks", [MemoryError()])))
    told = str(raised(KeyError("secret")))
    assert "KeyError" in told
    assert "secret" not in told


def test_a_thread_that_dies_fails_its_calls_and_every_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()

    def die(_self: OneThread) -> bool:
        gate.wait(5)
        raise MemoryError

    monkeypatch.setattr(OneThread, "_do_next", die)
    with OneThread("own") as thread:
        waiting = thread.submit(int)
        gate.set()
        with pytest.raises(LocalIOError, match="memory"):
            waiting.result(5)
        with pytest.raises(LocalIOError, match="memory"):
            thread.submit(int)
