"""A thread of its own for what blocks; whatever goes wrong there ends in an error."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from harvester.daemon import begin_thread
from harvester.errors import HaltedError, HarvesterError, UnforeseenError, is_want_of_memory
from harvester.halt import Halt

# Seconds that a call has to come to its end when it is told to leave off.
_MOMENT = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Runner(Executor):
    """An executor whose calls are awaited."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await what a call gives; raises HarvesterError for whatever keeps it from being done.

        An answer in hand is worth more than the place of a fault: the run ends with its reason.
        """
        try:
            return await asyncio.wrap_future(self.submit(call, *args, **kwargs))
        except HarvesterError:
            raise
        except Exception as error:
            raise died(error) from error


class OneThread(Runner):
    """An executor that runs one call at a time, in order, on one thread, begun at once.

    A thread of the standard library's pool that dies, as for want of memory, leaves its callers
    waiting for ever. This one fails them all, and every later call.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._is_ending = False
        self._died: BaseException | None = None
        try:
            self._over = begin_thread(self._live)
        except MemoryError as error:
            raise died(error) from error

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`; raises UnforeseenError if the thread is dead."""
        future: Future[T] = Future()
        with self._changed:
            if self._died is not None:
                raise died(self._died)
            self._calls.append((future, partial(fn, *args, **kwargs)))
            self._changed.notify()
        return future

    def _live(self) -> None:
        try:
            while self._do_next():
                pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, callers wait
            with self._changed:
                self._died = error
                for future, _ in self._calls:
                    _fail(future, error)

    def _do_next(self) -> bool:
        with self._changed:
            while not self._calls:
                if self._is_ending:
                    return False
                self._changed.wait()
            future, call = self._calls[0]
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - the caller's to judge
                future.set_exception(error)
            else:
                future.set_result(result)
        with self._changed:
            self._calls.popleft()
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard library's
        """See `Executor.shutdown`."""
        with self._changed:
            self._is_ending = True
            if cancel_futures:
                for future, _ in self._calls:
                    future.cancel()
            self._changed.notify()
        if wait:
            self._over.wait()


def _fail(future: Future[Any], error: BaseException) -> None:
    if not future.done():
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        future.set_exception(died(error))


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
    thread = OneThread()
    future = thread.submit(call)
    thread.shutdown(wait=False)
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
        await _left_off(future, halt, undo)
        raise
    await _left_off(future, halt, undo)
    raise HaltedError


async def _left_off(future: Future[T], halt: Halt, undo: Callable[[T], None]) -> None:
    undone = Future[None]()

    def undo_it(done: Future[T]) -> None:
        try:
            if done.exception() is None:
                undo(done.result())
        finally:
            undone.set_result(None)

    halt.ask()
    future.add_done_callback(undo_it)
    await asyncio.wait([asyncio.wrap_future(undone)], timeout=_MOMENT)


def died(error: BaseException) -> UnforeseenError:
    """What to say of an error that nobody foresaw; never its text, which could hold anything."""
    if isinstance(error, UnforeseenError):
        return error
    if is_want_of_memory(error):
        return UnforeseenError(
            "the system gives no more memory: close other programs, or raise the limit (ulimit "
            "-v), then run again."
        )
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {last[0].filename.rpartition('harvester/')[2]}:{last[0].lineno}" if last else ""
    return UnforeseenError(
        f"an error of harvester's own ({type(error).__name__}{place}): report it."
    )
