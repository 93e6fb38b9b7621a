"""Pages of input come from a thread; if that dies, it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from harvester.engine.input_thread import pages_from
from harvester.errors import InputError, LocalIOError
from harvester.halt import Halt
from harvester.model import Page


def pages(last: BaseException | None) -> Iterator[Page]:
    yield Page(["a"])
    yield Page(["b"])
    if last is not None:
        raise last


def read(last: BaseException | None) -> list[str]:
    found: list[str] = []

    async def main() -> None:
        async with asyncio.timeout(60):
            async for page in pages_from(pages(last), Halt()):
                found.extend(page.ids)

    try:
        asyncio.run(main())
    finally:
        assert found == ["a", "b"]
    return found


def test_all_pages_come_in_their_order() -> None:
    assert read(None) == ["a", "b"]


def test_what_is_wrong_with_the_input_is_raised_as_it_is() -> None:
    with pytest.raises(InputError, match="odd"):
        read(InputError("odd"))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(), SystemExit()])
def test_a_thread_that_dies_ends_the_reading_with_its_reason(error: BaseException) -> None:
    with pytest.raises(LocalIOError, match=f"cannot be read on: {type(error).__name__}"):
        read(error)


def test_the_thread_ends_when_no_more_pages_are_wanted() -> None:
    ended = threading.Event()

    def endless() -> Iterator[Page]:
        try:
            while True:
                yield Page(["a"])
        finally:
            ended.set()

    async def main() -> None:
        await anext(pages_from(endless(), Halt()))

    asyncio.run(main())
    assert ended.wait(30)
