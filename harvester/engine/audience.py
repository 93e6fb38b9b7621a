"""Tells the observers what happens; one that raises is heard no more, and the run is stopped."""

from __future__ import annotations

from collections.abc import Callable

from harvester.engine.ports import Event, Observer


class Audience:
    """The observers of one run; `fail` is called once, when the first of them has raised.

    What an observer raises must not break the line: answers that are paid for are still in it.
    """

    def __init__(self, observers: tuple[Observer, ...], fail: Callable[[], None]) -> None:
        self._observers = list(observers)
        self._fail = fail
        self.failure: Exception | None = None

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""
        return bool(self._observers)

    def tell(self, event: Event) -> None:
        """Tell every observer."""
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - raised again when the run has drained
                self._observers.remove(observer)
                if self.failure is None:
                    self.failure = error
                    self._fail()
