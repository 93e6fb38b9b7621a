"""Signals: each is kept and looked at, or handed to who acts on it; none raises anything."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from harvester.model import StopReason

REASONS = {
    signal.SIGINT: StopReason.SIGINT,
    signal.SIGTERM: StopReason.SIGTERM,
    # A terminal that is closed asks for the same as a service manager.
    signal.SIGHUP: StopReason.SIGTERM,
}

Act = Callable[[signal.Signals], object]


class Stopped(Exception):  # noqa: N818 - no error: somebody wanted it
    """A signal came where there is no run to drain; `reason` says which."""

    def __init__(self, number: signal.Signals) -> None:
        self.reason = REASONS[number]
        super().__init__(f"stopped by {self.reason.value}")


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
