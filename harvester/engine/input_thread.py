"""Pages of input, read on a thread of their own so that no slow pipe holds the line up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress

from harvester.errors import HarvesterError, LocalIOError
from harvester.halt import Halt
from harvester.model import Page
from harvester.threads import OneThread


async def pages_from(pages: Iterator[Page], halt: Halt) -> AsyncIterator[Page]:
    """The same pages, one of them read ahead; raises HarvesterError, also where the thread dies.

    Once no more are wanted, `halt` has the reading leave off where it looks; a read that never
    returns is left to itself.
    """
    thread = OneThread()
    ahead = thread.submit(next, pages, None)
    try:
        while (page := await _read(ahead)) is not None:
            ahead = thread.submit(next, pages, None)
            yield page
    finally:
        halt.ask()
        ahead.cancel()
        # What they have open is let go of now, not when somebody looks for what is left over.
        if isinstance(pages, Generator):
            with suppress(HarvesterError):
                thread.submit(pages.close)
        thread.shutdown(wait=False)


async def _read(page: Future[Page | None]) -> Page | None:
    try:
        return await asyncio.wrap_future(page)
    except (HarvesterError, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise LocalIOError(f"INPUT cannot be read on: {type(error).__name__}") from error
