"""Writes from a thread of its own: what is shown and logged holds nobody up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from harvester.daemon import begin_thread

T = TypeVar("T")

# What waits must not fill the memory; what is taken together makes progress that can be seen.
_MOST_WAITING = 10_000
_MOST_AT_ONCE = 100


class Outlet(Generic[T]):
    """Things on their way to `write`, which may take as long as it likes.

    `write` is given some of those that wait, in their order. Of more than `most`, later ones are
    left out; `left_out` makes the thing that says how many, for when it goes on. What `write`
    raises is kept as `failure`, and ends the outlet: what comes later is dropped.
    """

    # Seconds in which not one thing was taken: then nobody reads, or the disk hangs.
    patience = 5.0

    def __init__(
        self,
        write: Callable[[Sequence[T]], object],
        left_out: Callable[[int], T] | None = None,
        most: int = _MOST_WAITING,
    ) -> None:
        self._write = write
        self._left_out = left_out
        self._most = most
        self._waiting: deque[T] = deque()
        self._missing = 0
        self._taken = 0
        self._given_up = -1
        self._is_busy = False
        self._is_begun = False
        self._changed = threading.Condition()
        self.failure: BaseException | None = None

    @property
    def is_behind(self) -> bool:
        """Whether something still waits, or is being written."""
        return self._is_busy or bool(self._waiting)

    def put(self, thing: T) -> None:
        """Have something written, or left out; never waits."""
        with self._changed:
            if self.failure is not None:
                return
            if len(self._waiting) >= self._most:
                self._missing += 1
                return
            self._mark_gap(self._waiting)
            self._waiting.append(thing)
            if not self._is_begun:
                self._begin()
            self._changed.notify_all()

    def _begin(self) -> None:
        self._is_begun = True
        try:
            begin_thread(self._run)
        except MemoryError as error:
            self._fail(error)

    def drain(self) -> bool:
        """Wait until all is written; gives up after `patience` seconds in which nothing was.

        What was given up is not waited for again, unless it has gone on meanwhile.
        """
        with self._changed:
            while self.is_behind and self.failure is None:
                taken = self._taken
                wait = 0 if self._given_up == taken else self.patience
                if not self._changed.wait_for(partial(self._has_moved, taken), wait):
                    self._given_up = taken
                    return False
        return self.failure is None

    def _has_moved(self, taken: int) -> bool:
        return self._taken > taken or self.failure is not None

    def _run(self) -> None:
        try:
            while True:
                self._write(self._next())
                with self._changed:
                    self._is_busy = False
                    self._taken += 1
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - whoever drains is told
            with self._changed:
                self._fail(error)

    def _next(self) -> list[T]:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            taken = [self._waiting.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._waiting)))]
            if not self._waiting:
                self._mark_gap(taken)
            self._is_busy = True
            return taken

    def _mark_gap(self, things: deque[T] | list[T]) -> None:
        """Say where something was left out, and how much."""
        if self._missing and self._left_out is not None:
            things.append(self._left_out(self._missing))
            self._missing = 0

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self._is_busy = False
        self._waiting.clear()
        self._changed.notify_all()
