"""Virtual time: an event loop whose clock jumps, and an executor that runs calls in place."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

from harvester.threads import Runner

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
_MOMENT = 1e-6


class NothingScheduledError(Exception):
    """The loop would wait for ever."""


class _JumpingSelector(selectors.SelectSelector):
    """Returns at once; the loop's clock jumps over the time it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise NothingScheduledError
        # Doing anything takes a moment; were it none, rounding could make a timer fire for ever.
        self.now += _MOMENT + (0 if events else timeout or 0)
        return events


class InlineExecutor(Runner):
    """Runs each call where it is made."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on to whoever awaits it
            future.set_exception(error)
        return future


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time only moves when nothing else is to do; no thread is waited for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self._inline = InlineExecutor()
        super().__init__(self._jumping)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        return super().run_in_executor(executor or self._inline, func, *args)

    def time(self) -> float:
        return self._jumping.now

    def elapse(self, seconds: float) -> None:
        """Let time pass in the middle of something: a slow disk, a stopped process."""
        self._jumping.now += seconds


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
