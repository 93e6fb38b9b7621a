"""Long work that can be told to leave off: between its pieces it looks whether it is."""

from __future__ import annotations

from collections.abc import Callable

from harvester.errors import HaltedError

# Called between the pieces of long work; raises HaltedError where it is to be left off.
Look = Callable[[], None]


def go_on() -> None:
    """Look where nobody tells to leave off."""


class Halt:
    """Tells work on another thread to leave off."""

    def __init__(self) -> None:
        self._is_asked = False

    def ask(self) -> None:
        """Have it leave off where it looks next."""
        self._is_asked = True

    def look(self) -> None:
        """See `Look`."""
        if self._is_asked:
            raise HaltedError
