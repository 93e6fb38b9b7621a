"""A log that nobody reads while the run is on: whoever writes to it waits."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence

from harvester.engine.ports import Event
from harvester.observe.log import as_text
from harvester.observe.outlet import Outlet

# So little room that lines are left out.
_ROOM = 10
_LEFT_OUT = re.compile(r"(\d+) left out\n")
# For so many seconds a run stands still that waits for whoever reads.
_WAIT = 300.0


class UnreadLog:
    """Keeps what a run writes of itself; `stall` lets time pass for whoever waits here."""

    def __init__(self, stall: Callable[[float], None]) -> None:
        self._stall = stall
        self._home = threading.get_ident()
        self._is_read, self._is_gone = threading.Event(), False
        self._held_up = self._told = 0
        self._lines: list[str] = []
        self._outlet = Outlet[str](self._write, lambda many: f"{many} left out\n", _ROOM)

    def tell(self, event: Event) -> None:
        """An observer's part."""
        self._told += 1
        self._outlet.put(f"{as_text(event)}\n")

    def _write(self, lines: Sequence[str]) -> None:
        if self._is_gone:
            raise BrokenPipeError
        if threading.get_ident() == self._home:
            self._held_up += 1
            self._stall(_WAIT)
        else:
            self._is_read.wait()
        self._lines += lines

    def end(self) -> Iterator[str]:
        """Read it at last; gives what is wrong with it."""
        self._is_read.set()
        self._outlet.drain()
        if self._held_up:
            yield f"waited {self._held_up} times for whoever reads its log"
        gaps = [int(gap[1]) for line in self._lines if (gap := _LEFT_OUT.fullmatch(line))]
        if len(self._lines) - len(gaps) + sum(gaps) != self._told:
            yield f"logged {len(self._lines)} lines, and left out {gaps}, of {self._told}"
        # Its thread ends with this.
        self._is_gone = True
        self._outlet.put("")
