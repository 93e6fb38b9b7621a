"""Waits until another run lets go of OUTPUT."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from harvester.engine.opening import Opened
from harvester.engine.ports import Notice
from harvester.errors import OutputLockedError

# A lock of the system's can be asked for, or waited for without end; so it is asked for again.
_LOOK_EVERY = 0.5
# Seconds that opening has to come to its end when it is cancelled.
_MOMENT = 1.0


async def open_when_free(
    open_now: Callable[[], Opened], patience: float, tell: Callable[[Notice], None]
) -> Opened:
    """Open as soon as nobody else holds OUTPUT, trying for at most `patience` seconds.

    `open_now` is called in a thread, so that whatever holds it up can be cancelled: after a moment
    it is then left to itself, and what it opens is closed again. It may also be cut off anywhere,
    as by a crash. `tell` is told once, and only if there is something to wait for. Raises
    OutputLockedError when the time is over, and whatever else `open_now` raises, at once.
    """
    end = asyncio.get_running_loop().time() + patience
    is_told = False
    while True:
        try:
            return await _opened(open_now)
        except OutputLockedError as error:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                raise _still_locked(error, patience) from None
        if not is_told:
            tell(Notice("waiting", f"another run holds OUTPUT: trying again for {patience:g} s"))
            is_told = True
        await asyncio.sleep(min(_LOOK_EVERY, left))


async def _opened(open_now: Callable[[], Opened]) -> Opened:
    future = _started(open_now)
    opening = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening], timeout=_MOMENT)
        future.add_done_callback(_close)
        raise


def _started(open_now: Callable[[], Opened]) -> Future[Opened]:
    future = Future[Opened]()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(open_now())
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            future.set_exception(error)

    # A daemon: a disk or a lock that holds it up must not keep the program from ending.
    threading.Thread(target=work, name="harvester-opening", daemon=True).start()
    return future


def _close(opening: Future[Opened]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _still_locked(error: OutputLockedError, patience: float) -> OutputLockedError:
    if not patience:
        return OutputLockedError(f"{error} With --wait-for-lock 10m a run waits for it.")
    return OutputLockedError(f"{error} It was waited for {patience:g} s.")
