"""The end of the program by a signal that nobody hears yet: a word, an exit code, no traceback.

Loaded before all else, so that this holds from the first moment on.
"""

from __future__ import annotations

import os
import signal

_ERROR = 2
_SIGNALLED = 128


def stopped_line(number: int) -> str:
    """What is said where nothing was begun that could be told of."""
    name = "Ctrl-C (SIGINT)" if number == signal.SIGINT else "SIGTERM"
    return f"harvester: stopped by {name} before the first call."


def leave_on_signals() -> None:
    """Let signals end the program with a word, where the system would without one.

    Ctrl-C, too: an exception out of its handler, in the middle of a module's loading, was seen to
    crash the interpreter.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, _frame: object) -> None:
    # A terminal that is closed asks for the same as a service manager.
    number = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    try:
        os.write(_ERROR, f"{stopped_line(number)}\n".encode())
    finally:
        os._exit(_SIGNALLED + number)
