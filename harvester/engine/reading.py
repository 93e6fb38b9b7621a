"""Pages of input, read on a thread of their own so that no slow pipe holds the line up."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial

from harvester.errors import HarvesterError, LocalIOError
from harvester.model import Page

_Read = queue.Queue[Page | BaseException | None]
_AHEAD = 2
_LOOK_EVERY = 1.0


async def pages_from(pages: Iterator[Page]) -> AsyncIterator[Page]:
    """The same pages, read ahead a little; raises HarvesterError, also where the thread dies.

    The thread is a daemon: a read that never returns must not keep a finished run alive.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    read = _Read(_AHEAD)
    work = partial(_read_all, pages, read, partial(loop.call_soon_threadsafe, ready.set))
    thread = threading.Thread(target=work, name="harvester-input", daemon=True)
    thread.start()
    while True:
        ready.clear()
        was_alive = thread.is_alive()
        while not read.empty():
            page = read.get_nowait()
            if page is None:
                return
            if isinstance(page, BaseException):
                raise page
            yield page
        if not was_alive:
            raise LocalIOError("INPUT cannot be read on: its thread died, for want of memory")
        await _heard(ready)


async def _heard(ready: asyncio.Event) -> None:
    """Wait for more, but not for ever: a thread that dies may not even be able to say so."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_EVERY):
            await ready.wait()


def _read_all(pages: Iterator[Page], read: _Read, tell: Callable[[], object]) -> None:
    last: BaseException | None = None
    # The loop may be closed: the run ended while a read was still going on.
    with suppress(RuntimeError):
        try:
            for page in pages:
                read.put(page)
                tell()
        except HarvesterError as error:
            last = error
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            last = LocalIOError(f"INPUT cannot be read on: {type(error).__name__}")
        read.put(last)
        tell()
