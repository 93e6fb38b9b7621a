"""The window holds the rate whatever asks for calls, and however greedily."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.pace import Throttle
from harvester.pace.window import Window
from harvester.parsing import Rate

PERIODS = st.sampled_from([1.0, 60.0, 3600.0, 86400.0])


def greedy(rate: Rate, burst: int, pauses: list[float], calls: int) -> list[float]:
    """The starts of a caller that obeys `delay` to the letter and rests now and then."""
    window, now, starts = Window(rate, burst), 1000.0, []
    for nth in range(calls):
        now += pauses[nth % len(pauses)] if pauses else 0.0
        while delay := window.delay(now):
            now += delay
        window.add(now)
        starts.append(now)
    return starts


def most_in_any_window(starts: list[float], period: float) -> int:
    """The most starts in any half-open window of the period."""
    return max(bisect_left(starts, start + period) - nth for nth, start in enumerate(starts))


@given(
    st.integers(1, 300),
    PERIODS,
    st.integers(1, 20),
    st.lists(st.floats(0, 2) | st.floats(0, 0.02), max_size=8),
)
def test_greedy_calls_never_start_faster_than_allowed(
    calls: int, period: float, burst: int, pauses: list[float]
) -> None:
    starts = greedy(Rate(calls, period), burst, pauses, 3 * (calls + burst))
    assert most_in_any_window(starts, period) <= calls + burst - 1


@pytest.mark.parametrize("calls", [4096, 4097, 5000, 8192, 9999, 20_000])
@pytest.mark.parametrize("period", [1.0, 3600.0, 86400.0])
@pytest.mark.parametrize("pauses", [[], [0.3, 0.0, 0.0, 7.0], [0.0] * 4000 + [1000.0]])
def test_a_limit_too_long_for_one_log_is_held_in_parts(
    calls: int, period: float, pauses: list[float]
) -> None:
    starts = greedy(Rate(calls, period), 1, pauses, 3 * calls)
    assert most_in_any_window(starts, period) <= calls


@pytest.mark.parametrize(("calls", "burst"), [(1, 1), (5, 1), (5, 3), (4096, 1)])
def test_as_many_calls_as_allowed_may_start_at_once(calls: int, burst: int) -> None:
    starts = greedy(Rate(calls, 60), burst, [], calls + burst)
    assert starts.count(1000.0) == calls + burst - 1
    assert starts[-1] == pytest.approx(1060, abs=0.1)


def test_calls_at_the_rate_never_wait() -> None:
    window = Window(Rate(5, 1), burst=1)
    for nth in range(1000):
        assert window.delay(nth * 0.202) == 0
        window.add(nth * 0.202)


def test_a_call_waits_until_the_oldest_of_the_window_has_left_it() -> None:
    window = Window(Rate(2, 60), burst=1)
    window.add(100)
    window.add(130)
    assert window.delay(140) == pytest.approx(20, abs=0.1)
    assert window.delay(200) == 0


def test_a_process_that_is_held_up_as_it_sends_does_not_bring_its_next_call_nearer() -> None:
    async def main() -> None:
        loop, throttle = asyncio.get_running_loop(), Throttle(Rate(1, 0.2))
        assert throttle.start() == 0
        # As where a busy machine has no time for us between the turn and the call.
        time.sleep(0.05)  # noqa: ASYNC251
        sent = loop.time()
        await asyncio.sleep(0)
        delay = throttle.start()
        assert delay is not None
        assert loop.time() + delay >= sent + 0.2

    asyncio.run(main())
