"""A thread that dies leaves nobody waiting."""

from __future__ import annotations

import _thread
import asyncio
import threading
from collections.abc import Callable

import pytest

from harvester import daemon
from harvester.daemon import begin_thread
from harvester.errors import LocalIOError, UsageError
from harvester.threads import OneThread


def placed(number: int) -> tuple[int, int]:
    return number, threading.get_ident()


def test_calls_are_done_in_order_on_one_thread() -> None:
    with OneThread() as thread:
        places = [thread.submit(placed, number) for number in range(5)]
        _, own = thread.submit(placed, 0).result(60)
        assert own != threading.get_ident()
        assert [future.result(60) for future in places] == [(n, own) for n in range(5)]


def test_what_a_call_raises_is_its_callers_and_always_one_of_ours() -> None:
    def raised(error: BaseException) -> Exception:
        def fail() -> None:
            raise error

        async def main() -> None:
            with OneThread() as thread:
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
        gate.wait(60)
        raise MemoryError

    monkeypatch.setattr(OneThread, "_do_next", die)
    with OneThread() as thread:
        waiting = thread.submit(int)
        gate.set()
        with pytest.raises(LocalIOError, match="memory"):
            waiting.result(60)
        with pytest.raises(LocalIOError, match="memory"):
            thread.submit(int)


def never_begun(_work: object, _args: object) -> int:
    return 0


def refused(_work: object, _args: object) -> int:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("start", [never_begun, refused])
def test_a_thread_that_dies_before_it_has_begun_is_not_waited_for(
    start: Callable[[object, object], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_thread, "start_new_thread", start)
    monkeypatch.setattr(daemon, "_BEGUN", 0.01)
    with pytest.raises(MemoryError):
        begin_thread(int)
    with pytest.raises(LocalIOError, match="memory"):
        OneThread()
