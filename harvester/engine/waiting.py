"""Waits for what may take long before a run can begin, as for another one to let go of OUTPUT."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from harvester.engine.opening import Opened
from harvester.engine.ports import Notice
from harvester.errors import HaltedError, OutputLockedError
from harvester.halt import Halt

# A lock of the system's can be asked for, or waited for without end; so it is asked for again.
_LOOK_EVERY = 0.5
# Seconds that a call has to come to its end when it is told to leave off.
_MOMENT = 1.0

T = TypeVar("T")


async def open_when_free(
    open_now: Callable[[], Opened],
    patience: float,
    tell: Callable[[Notice], None],
    halt: Halt,
    left: Callable[[], float | None],
) -> Opened:
    """Open as soon as nobody else holds OUTPUT, trying for at most `patience` seconds.

    `open_now` is called as `done_in_time` does, with what is `left` of the run's time, and may be
    cut off anywhere, as by a crash. `tell` is told once, and only if there is something to wait
    for. Raises OutputLockedError when the time is over, HaltedError, and whatever else `open_now`
    raises, at once.
    """
    end = asyncio.get_running_loop().time() + patience
    is_told = False
    while True:
        try:
            return await done_in_time(open_now, halt, left(), Opened.close)
        except OutputLockedError as error:
            waits = end - asyncio.get_running_loop().time()
            if waits <= 0:
                raise _still_locked(error, patience) from None
        if not is_told:
            tell(Notice("waiting", f"another run holds OUTPUT: trying again for {patience:g} s"))
            is_told = True
        await asyncio.sleep(min(_LOOK_EVERY, waits))


async def done_in_time(
    call: Callable[[], T],
    halt: Halt,
    seconds: float | None,
    undo: Callable[[T], None] = lambda _: None,
) -> T:
    """What a call gives on a thread of its own, which whatever holds it up leaves behind.

    Where the time is over or this is cancelled, `halt` has it leave off, and it gets a moment to
    come to its end; after that it is left to itself, and what it gives is undone. Raises
    HaltedError, at the earliest after that moment, and what `call` raises.
    """
    future = _started(call)
    working = asyncio.wrap_future(future)
    # Nobody may be left who asks.
    working.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        if seconds is not None:
            seconds = max(seconds, _MOMENT)
        await asyncio.wait([working], timeout=seconds)
        if working.done():
            return working.result()
    except asyncio.CancelledError:
        await _left_off(future, working, halt, undo)
        raise
    await _left_off(future, working, halt, undo)
    raise HaltedError


async def _left_off(
    future: Future[T], working: asyncio.Future[T], halt: Halt, undo: Callable[[T], None]
) -> None:
    def undone(done: Future[T]) -> None:
        if done.exception() is None:
            undo(done.result())

    halt.ask()
    future.add_done_callback(undone)
    await asyncio.wait([working], timeout=_MOMENT)


def _started(call: Callable[[], T]) -> Future[T]:
    future = Future[T]()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            future.set_exception(error)

    # A daemon: a pipe, a disk or a lock that holds it up must not keep the program from ending.
    threading.Thread(target=work, name="harvester-waiting", daemon=True).start()
    return future


def _still_locked(error: OutputLockedError, patience: float) -> OutputLockedError:
    if not patience:
        return OutputLockedError(f"{error} With --wait-for-lock 10m a run waits for it.")
    return OutputLockedError(f"{error} It was waited for {patience:g} s.")
