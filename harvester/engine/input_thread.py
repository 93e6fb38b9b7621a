"""Pages of input, read on a thread of their own so that no slow pipe holds the line up."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress

from harvester.daemon import begin_thread
from harvester.errors import HarvesterError, LocalIOError
from harvester.halt import Halt
from harvester.model import Page
from harvester.threads import died

_AHEAD = 2
_LOOK_EVERY = 1.0


class _Reader:
    """The thread's side: a daemon, since a read that never returns must not keep a finished run.

    It ends with the next page, or where the pages look, once no more are wanted.
    """

    def __init__(self, pages: Iterator[Page]) -> None:
        self._pages = pages
        self._loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self.read: queue.Queue[Page | BaseException | None] = queue.Queue(_AHEAD)
        self.is_over = threading.Event()

    def run(self) -> None:
        """Read all, then give None, or what went wrong."""
        last: BaseException | None = None
        try:
            for page in self._pages:
                self._give(page)
                if self.is_over.is_set():
                    return
        except HarvesterError as error:
            last = error
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            last = LocalIOError(f"INPUT cannot be read on: {type(error).__name__}")
        finally:
            # What they have open is let go of now, not when somebody looks for what is left over.
            if isinstance(self._pages, Generator):
                self._pages.close()
        self._give(last)

    def _give(self, item: Page | BaseException | None) -> None:
        while not self.is_over.is_set():
            with suppress(queue.Full):
                self.read.put(item, timeout=_LOOK_EVERY)
                break
        # The loop is closed where the run ended while a read was still going on.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.ready.set)


async def pages_from(pages: Iterator[Page], halt: Halt) -> AsyncIterator[Page]:
    """The same pages, read ahead a little; raises HarvesterError, also where the thread dies.

    Once no more are wanted, `halt` has the reading leave off where it looks.
    """
    reader = _Reader(pages)
    try:
        over = begin_thread(reader.run)
    except MemoryError as error:
        raise died(error) from error
    try:
        while True:
            reader.ready.clear()
            was_over = over.is_set()
            while not reader.read.empty():
                page = reader.read.get_nowait()
                if page is None:
                    return
                if isinstance(page, BaseException):
                    raise page
                yield page
            if was_over:
                raise LocalIOError("INPUT cannot be read on: its thread died, for want of memory")
            await _heard(reader.ready)
    finally:
        reader.is_over.set()
        halt.ask()


async def _heard(ready: asyncio.Event) -> None:
    """Wait for more, but not for ever: a thread that dies may not even be able to say so."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_EVERY):
            await ready.wait()
