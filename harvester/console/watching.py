"""The status of a run that is on, drawn again and again on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harvester.console.status_text import status_lines
from harvester.status.model import Status

EVERY = 2.0
_ON = {"running", "unknown"}


def watch(look: Callable[[], Status], stream: TextIO, wait: Callable[[float], bool]) -> None:
    """Draw what `look` finds until no run is on, or `wait` says that it is enough.

    Given seconds, `wait` lets them pass. What was drawn last stays.
    """
    console = Console(file=stream)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status = look()
            lines = status_lines(status, console.width - 1)
            live.update(Text("\n".join(lines), no_wrap=True), refresh=True)
            if not any(run.state in _ON for run in status.runs) or wait(EVERY):
                return
