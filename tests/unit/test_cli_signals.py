"""What the first signal says is waited for."""

from __future__ import annotations

import pytest

from harvester.cli.stopping import draining_line


@pytest.mark.parametrize(
    ("flying", "oldest", "words"),
    [
        (0, 0.0, "SIGINT: sending nothing new; no call is in flight: closing."),
        (1, 0.4, "waiting for 1 call in flight (sent under 1 s ago; a call may take up to 2 min"),
        (5, 12.2, "waiting for 5 calls in flight (the oldest sent 12 s ago; a call may take up"),
        (1024, 61.0, "waiting for 1,024 calls in flight (the oldest sent 1 min 1 s ago; a call"),
    ],
)
def test_it_is_said_what_is_waited_for(flying: int, oldest: float, words: str) -> None:
    line = draining_line("SIGINT", flying, oldest, 120.0)
    assert words in line
    assert line.endswith("once more stops at once.") is (flying > 0)
