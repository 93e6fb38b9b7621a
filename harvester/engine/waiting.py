"""Waits until another run lets go of OUTPUT."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harvester.engine.opening import Opened
from harvester.engine.ports import Notice
from harvester.errors import OutputLockedError

# A lock of the system's can be asked for, or waited for without end; so it is asked for again.
_LOOK_EVERY = 0.5


async def open_when_free(
    open_now: Callable[[], Opened], patience: float, tell: Callable[[Notice], None]
) -> Opened:
    """Open as soon as nobody else holds OUTPUT, trying for at most `patience` seconds.

    `tell` is told once, and only if there is something to wait for. Raises OutputLockedError when
    the time is over, and whatever else `open_now` raises, at once.
    """
    end = asyncio.get_running_loop().time() + patience
    is_told = False
    while True:
        try:
            return open_now()
        except OutputLockedError as error:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                raise _still_locked(error, patience) from None
        if not is_told:
            tell(Notice("waiting", f"another run holds OUTPUT: trying again for {patience:g} s"))
            is_told = True
        await asyncio.sleep(min(_LOOK_EVERY, left))


def _still_locked(error: OutputLockedError, patience: float) -> OutputLockedError:
    if not patience:
        return OutputLockedError(f"{error} With --wait-for-lock 10m a run waits for it.")
    return OutputLockedError(f"{error} It was waited for {patience:g} s.")
