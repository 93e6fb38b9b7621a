"""Signals: the first one drains the run, the second one stops it at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import TracebackType
from typing import Self

from harvester.engine.run import Run
from harvester.model import StopReason

_REASONS = {
    signal.SIGINT: StopReason.SIGINT,
    signal.SIGTERM: StopReason.SIGTERM,
    # A terminal that is closed asks for the same as a service manager.
    signal.SIGHUP: StopReason.SIGTERM,
}


class Signals:
    """Turns signals into stops of the attached run; before there is one, they act as usual."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._handled: list[signal.Signals] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number in self._handled:
            asyncio.get_running_loop().remove_signal_handler(number)

    def attach(self, run: Run) -> None:
        """Let signals act on this run from now on."""
        self._run = run
        for number in _REASONS:
            # nohup means it; a shell's `&` ignores SIGINT too, but whoever sends one wants a stop.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            asyncio.get_running_loop().add_signal_handler(number, self._act, number)
            self._handled.append(number)

    def _act(self, number: signal.Signals) -> None:
        run = self._run
        if run is None:
            return
        if run.stop_reason in _REASONS.values():
            run.abort()
            return
        run.stop(_REASONS[number])
        flying = len(run.progress.flying)
        sys.stderr.write(
            f"harvester: {number.name}: sending nothing new, waiting for {flying} calls in flight; "
            "once more stops at once.\n"
        )
        sys.stderr.flush()
