"""What is shown of a run is no part of it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from harvester.cli.screen import shown
from harvester.config import ConsoleOptions
from harvester.engine.run import Run


class Hidden:
    """Stands where a run should: nothing of it can be shown."""


@pytest.mark.parametrize("form", ["plain", "json", "bar"])
def test_a_view_that_raises_is_told_and_ends_nothing(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    console = ConsoleOptions(progress=form)
    gone_on = []

    async def main() -> None:
        async with shown(console, None) as show:
            show(cast("Run", Hidden()))
            for _ in range(10):
                await asyncio.sleep(0)
            gone_on.append(True)

    asyncio.run(main())
    assert gone_on == [True]
    said = capsys.readouterr().err
    assert said == "harvester: warning: the progress of the run is shown no more: AttributeError\n"
