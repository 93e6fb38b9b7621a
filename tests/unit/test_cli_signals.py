"""What the first signal says is waited for."""

from __future__ import annotations

import pytest

from harvester.cli.stopping import Departures, draining_line
from harvester.model import Job


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


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


def test_the_oldest_call_is_the_one_seen_first() -> None:
    clock = Clock()
    flying = {1: Job(1, "a")}
    departures = Departures(flying, clock)
    departures.look()
    clock.now += 5
    flying[2] = Job(2, "b")
    departures.look()
    clock.now += 2
    assert departures.oldest() == 7.0
    del flying[1]
    assert departures.oldest() == 2.0
    flying.clear()
    assert departures.oldest() == 0.0


def test_a_job_that_is_sent_again_is_not_as_old_as_its_first_call() -> None:
    clock = Clock()
    flying = {1: Job(1, "a")}
    departures = Departures(flying, clock)
    departures.look()
    clock.now += 60
    flying[1] = Job(1, "a", claim_id=1, attempts=1)
    assert departures.oldest() == 0.0
