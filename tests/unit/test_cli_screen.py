"""What is shown of a run is no part of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from harvester.cli.screen import Screen, shown
from harvester.engine.run import Run


class Hidden:
    """Stands where a run should: nothing of it can be shown."""


@pytest.mark.parametrize("form", ["plain", "json", "bar"])
def test_a_view_that_raises_is_told_and_ends_nothing(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    screen = Screen(Path("notes.jsonl"), None, form, False, False, None, "text", None)  # noqa: FBT003
    gone_on = []

    async def main() -> None:
        async with shown(screen, None) as show:
            show(cast("Run", Hidden()))
            for _ in range(10):
                await asyncio.sleep(0)
            gone_on.append(True)

    asyncio.run(main())
    assert gone_on == [True]
    said = capsys.readouterr().err
    assert said == "harvester: warning: the progress of the run is shown no more: AttributeError\n"
