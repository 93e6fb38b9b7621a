"""Signals: each is kept and looked at, or handed to who acts on it; none raises anything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

from harvester.model import StopReason

REASONS = {
    signal.SIGINT: StopReason.SIGINT,
    signal.SIGTERM: StopReason.SIGTERM,
    # A terminal that is closed asks for the same as a service manager.
    signal.SIGHUP: StopReason.SIGTERM,
}
_ERROR = 2

Act = Callable[[signal.Signals], object]


class Stopped(Exception):  # noqa: N818 - no error: somebody wanted it
    """A signal came where there is no run to drain; `reason` says which."""

    def __init__(self, number: signal.Signals) -> None:
        self.reason = REASONS[number]
        super().__init__(f"stopped by {self.reason.value}")


def stopped_line(reason: StopReason) -> str:
    """What is said where nothing was begun that could be told of."""
    name = "Ctrl-C (SIGINT)" if reason is StopReason.SIGINT else reason.value
    return f"harvester: stopped by {name} before the first call."


def leave_on_signals() -> None:
    """Let signals end the program with a word, where the system would without one.

    Ctrl-C, too: an exception out of its handler, in the middle of a module's loading, was seen to
    crash the interpreter.
    """
    for number in REASONS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    reason = REASONS[signal.Signals(number)]
    with suppress(OSError):
        os.write(_ERROR, f"{stopped_line(reason)}\n".encode())
    os._exit(reason.exit_code)


class Signals:
    """Hears signals while it is entered: each is kept, and handed to who acts on it now.

    A handler runs in the middle of anything: what it raises may be swallowed there, and what it
    interrupts is half done. So whoever works looks (`check`), or acts by setting something.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._act: Act | None = None
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        for number in REASONS:
            # nohup means it; a shell's `&` ignores SIGINT too, but whoever sends one wants a stop.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        heard = signal.Signals(number)
        self.first = self.first or heard
        if self._act is not None:
            self._act(heard)

    def check(self) -> None:
        """Raise Stopped if a signal was heard."""
        if self.first is not None:
            raise Stopped(self.first)

    @contextmanager
    def acting(self, act: Act) -> Iterator[None]:
        """Have signals acted on by `act`, which is called in the middle of anything."""
        self._act = act
        try:
            yield
        finally:
            self._act = None
