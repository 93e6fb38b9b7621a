"""SIGTERM where there is no run to drain yet, or no more: it ends the program as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harvester.model import StopReason

# A terminal that is closed asks for the same as a service manager.
_NUMBERS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(SystemExit):
    """SIGTERM or SIGHUP arrived; what is open is closed on the way out (exit 143).

    A SystemExit, because asyncio hands no other exception of a signal's on from wherever it is.
    """

    def __init__(self) -> None:
        super().__init__(StopReason.SIGTERM.exit_code)


@contextmanager
def terminating() -> Iterator[None]:
    """Raise Terminated wherever the program is when a signal comes; one that is ignored stays so.

    Without this the system would end the process there and then. But a shell's `&` ignores SIGINT,
    and whoever sends one wants a stop.
    """
    before = {number: signal.getsignal(number) for number in (*_NUMBERS, signal.SIGINT)}
    heard = [number for number in _NUMBERS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, _raise)
    if before[signal.SIGINT] is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        heard.append(signal.SIGINT)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
