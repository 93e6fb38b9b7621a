"""Pages of input, read on a thread of their own so that no slow pipe holds the line up."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator

from harvester.model import Page

_AHEAD = 2


async def pages_from(pages: Iterator[Page]) -> AsyncIterator[Page]:
    """The same pages, read ahead a little.

    The thread is a daemon: a read that never returns must not keep a finished run alive.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    read: queue.Queue[Page | BaseException | None] = queue.Queue(_AHEAD)

    def read_all() -> None:
        last: BaseException | None = None
        try:
            for page in pages:
                read.put(page)
                loop.call_soon_threadsafe(ready.set)
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            last = error
        read.put(last)
        loop.call_soon_threadsafe(ready.set)

    def guarded() -> None:
        try:
            read_all()
        except RuntimeError:
            return  # the loop is closed: the run ended while a read was still going on

    threading.Thread(target=guarded, name="harvester-input", daemon=True).start()
    while True:
        ready.clear()
        while not read.empty():
            page = read.get_nowait()
            if page is None:
                return
            if isinstance(page, BaseException):
                raise page
            yield page
        await ready.wait()
