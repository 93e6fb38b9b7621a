"""Calls that take too long are ended, each by its own time, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from harvester.api.deadline import Deadline
from tests.virtual import run_virtually


async def call(deadline: Deadline, seconds: float) -> str:
    """Work for some seconds under a deadline; gives how it ended and when."""
    task = asyncio.current_task()
    assert task is not None
    deadline.begin(task)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not deadline.is_late(task):
            raise
        return f"late at {asyncio.get_running_loop().time():.3g}"
    finally:
        deadline.end(task)
    # What comes after is not the deadline's.
    await asyncio.sleep(100)
    return "in time"


def test_each_call_has_its_own_time() -> None:
    async def main() -> list[str]:
        deadline = Deadline(10)
        calls = []
        async with asyncio.TaskGroup() as group:
            for seconds in (9, 11, 3, 50):
                calls.append(group.create_task(call(deadline, seconds)))
                await asyncio.sleep(1)
        return [done.result() for done in calls]

    assert run_virtually(main()) == ["in time", "late at 11", "in time", "late at 13"]


def test_a_call_cancelled_by_another_is_cancelled() -> None:
    async def main() -> None:
        task = asyncio.create_task(call(Deadline(10), 50))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(main())


def test_a_call_cancelled_by_another_when_its_time_is_up_is_cancelled() -> None:
    async def main() -> None:
        task = asyncio.create_task(call(Deadline(10), 50))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(10, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(main())


def test_one_task_may_have_one_deadline_after_another() -> None:
    async def main() -> list[str]:
        deadline = Deadline(10)
        return [await call(deadline, seconds) for seconds in (11, 1, 12)]

    assert run_virtually(main()) == ["late at 10", "in time", "late at 121"]
