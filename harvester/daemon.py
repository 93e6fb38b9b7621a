"""A thread that has begun, or an error: nobody waits in vain for one that could not."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

# Seconds in which a thread has begun, however busy the machine is.
_BEGUN = 15.0


def begin_thread(work: Callable[[], object]) -> threading.Event:
    """Have a thread do some work; returns what is set when it is over. Raises MemoryError.

    `threading.Thread.start` waits for ever for a thread that dies for want of memory before it has
    said that it has begun. What holds this one up does not keep the program from ending.
    """
    begun, over = threading.Event(), threading.Event()

    def live() -> None:
        try:
            begun.set()
            work()
        finally:
            over.set()

    try:
        _thread.start_new_thread(live, ())
    except RuntimeError as error:
        raise MemoryError from error
    if not begun.wait(_BEGUN):
        raise MemoryError
    return over
