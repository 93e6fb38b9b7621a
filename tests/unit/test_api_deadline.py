"""Calls that take too long are hurried, each by its own time, on virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from harvester.api.deadline import Deadline
from tests.virtual import run_virtually


@dataclass(eq=False)
class Call:
    """A call that takes note of when it was hurried."""

    hurried: list[int] = field(default_factory=list)

    def hurry(self) -> None:
        self.hurried.append(round(asyncio.get_running_loop().time()))


async def call(deadline: Deadline, seconds: float) -> list[int]:
    """Work for some seconds under a deadline; gives when it was hurried."""
    made = Call()
    deadline.begin(made)
    await asyncio.sleep(seconds)
    deadline.end(made)
    # What comes after is not the deadline's.
    await asyncio.sleep(100)
    return made.hurried


def test_each_call_has_its_own_time() -> None:
    async def main() -> list[list[int]]:
        deadline = Deadline(10)
        calls = []
        async with asyncio.TaskGroup() as group:
            for seconds in (9, 11, 3, 50):
                calls.append(group.create_task(call(deadline, seconds)))
                await asyncio.sleep(1)
        return [done.result() for done in calls]

    assert run_virtually(main()) == [[], [11], [], [13]]


def test_one_task_may_have_one_deadline_after_another() -> None:
    async def main() -> list[list[int]]:
        deadline = Deadline(10)
        return [await call(deadline, seconds) for seconds in (11, 1, 12)]

    assert run_virtually(main()) == [[10], [], [222]]
