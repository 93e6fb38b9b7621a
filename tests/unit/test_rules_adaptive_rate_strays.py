"""Refusals that come at any pace leave it alone; a hidden limit is held all the same."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest

from harvester.rules.adaptive_rate import AdaptiveRate

LATENCY = 0.3


@dataclass
class Server:
    """Refuses what is above a limit in any second, where there is one, and strays beside."""

    limit: Callable[[float], int | None]
    strays: float
    random: random.Random = field(default_factory=lambda: random.Random(1))
    accepted: deque[float] = field(default_factory=deque)

    def refuses(self, now: float) -> bool:
        limit = self.limit(now)
        if self.random.random() < self.strays:
            return True
        if limit is None:
            return False
        while self.accepted and self.accepted[0] <= now - 1:
            self.accepted.popleft()
        if len(self.accepted) >= limit:
            return True
        self.accepted.append(now)
        return False


@dataclass
class Seen:
    calls: int = 0
    refused: int = 0
    pauses: float = 0.0


def night(asked: float, seconds: float, server: Server, tell_from: float = 0.0) -> Seen:
    """Calls as `Pace` makes them: evenly spread, resting after what is news."""
    rate, now, seen = AdaptiveRate(asked), 0.0, Seen()
    answers: list[tuple[float, float, bool]] = []
    while now < seconds:
        while answers and answers[0][0] <= now:
            landed, began, is_refused = heappop(answers)
            if not is_refused:
                rate.accept(began)
            elif rate.refuse(landed, began):
                now = max(now, landed + rate.pause)
                seen.pauses += rate.pause
        rate.start(now)
        is_refused = server.refuses(now)
        heappush(answers, (now + LATENCY, now, is_refused))
        if now >= tell_from:
            seen.calls += 1
            seen.refused += is_refused
        now += 1 / rate.at(now)
    return seen


@pytest.mark.parametrize("asked", [5, 50])
@pytest.mark.parametrize("strays", [0.001, 0.01])
def test_strays_leave_nearly_all_of_the_allowed_calls(asked: int, strays: float) -> None:
    seconds = 100_000 / asked
    seen = night(asked, seconds, Server(lambda _now: None, strays))
    assert seen.calls >= 0.95 * asked * seconds


@pytest.mark.parametrize("asked", [5, 50])
@pytest.mark.parametrize("strays", [0.03, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_strays_that_are_as_many_at_a_slower_pace_leave_most_of_the_calls(
    asked: int, strays: float, seed: int
) -> None:
    seconds = 50_000 / asked
    seen = night(asked, seconds, Server(lambda _now: None, strays, random.Random(seed)))
    assert seen.calls >= 0.85 * asked * seconds


@pytest.mark.parametrize("asked", [5, 50])
def test_even_the_first_minutes_with_strays_are_used(asked: int) -> None:
    seen = night(asked, 600, Server(lambda _now: None, 0.01))
    assert seen.calls >= 0.85 * asked * 600


@pytest.mark.parametrize("asked", [10, 100])
@pytest.mark.parametrize("strays", [0.0, 0.0005])
def test_a_hidden_limit_at_half_the_pace_is_held_and_used(asked: int, strays: float) -> None:
    limit = asked // 2
    seconds = 50_000 / limit
    seen = night(asked, seconds, Server(lambda _now: limit, strays), 10)
    assert seen.refused / seen.calls < 0.01
    assert seen.calls - seen.refused > 0.9 * limit * (seconds - 10)


def test_a_limit_that_comes_after_hours_of_strays_is_held_within_moments() -> None:
    server = Server(lambda now: None if now < 3600 else 10, 0.01)
    seen = night(20, 7200, server, 3605)
    assert seen.refused / seen.calls < 0.03
    assert seen.calls - seen.refused > 0.9 * 10 * (7200 - 3605)


def test_after_a_limit_is_gone_the_pace_is_back_within_minutes_although_strays_go_on() -> None:
    server = Server(lambda now: 5 if now < 600 else None, 0.01)
    seen = night(20, 1500, server, 900)
    assert seen.calls > 0.93 * 20 * 600
