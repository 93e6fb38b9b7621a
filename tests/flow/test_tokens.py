"""Several tokens in one run, of one account or of several."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.engine.ports import Notice, Stopping
from harvester.model import Answer

from .conftest import CONFIG, Night, Upstream, code, note_ids, saved_ids, upstream


def charged(*upstreams: Upstream) -> list[int]:
    return [api.simulated.charges()["charged"] for api in upstreams]


def test_two_tokens_are_twice_as_fast_and_each_keeps_to_the_rate(night: Night) -> None:
    one, two = upstream(), upstream()
    night.more_upstreams = (two,)
    summary = night.run(note_ids(400), one)
    assert (summary.exit_code, summary.done) == (0, 400)
    assert saved_ids(night) == sorted(note_ids(400))
    assert summary.elapsed == pytest.approx(4.0, abs=0.4)
    for api in (one, two):
        starts = [when for when, _ in api.starts]
        assert all(b - a >= 1.0 for a, b in zip(starts, starts[50:], strict=False))


def test_a_token_whose_quota_is_used_up_rests_while_the_other_goes_on(night: Night) -> None:
    one, two = upstream(daily_quota=30, latency=0.5), upstream()
    night.more_upstreams = (two,)
    summary = night.run(note_ids(200), one)
    assert (summary.exit_code, summary.done, summary.queued) == (0, 200, 0)
    assert charged(one, two) == [30, 170]
    refused_at = one.starts[30][0]
    assert max(when for when, _ in one.starts) <= refused_at + 0.501
    (notice,) = [event for event in night.events if isinstance(event, Notice)]
    assert notice.text.startswith("token 1 is disabled (quota")


def test_the_run_stops_when_every_token_rests(night: Night) -> None:
    one, two = upstream(daily_quota=30), upstream(balance=50)
    night.more_upstreams = (two,)
    summary = night.run(note_ids(200), one)
    assert (summary.exit_code, summary.done, summary.queued) == (4, 80, 120)
    assert "all 2 tokens are disabled" in summary.detail
    assert sum(isinstance(event, Stopping) for event in night.events) == 1
    assert len(set(saved_ids(night))) == 80
    assert charged(one, two) == [30, 50]


@pytest.mark.parametrize(
    ("limit", "exit_code", "code"), [({"daily_quota": 30}, 3, "303"), ({"balance": 30}, 4, "601")]
)
def test_tokens_of_one_account_are_asked_once_each_when_quota_or_balance_are_used_up(
    night: Night, limit: dict[str, int], exit_code: int, code: str
) -> None:
    quick = upstream(latency=0.05, **limit)
    slow = [replace(quick, token=f"t{n}", latency=0.5, starts=[]) for n in range(3)]
    night.more_upstreams = tuple(slow)
    summary = night.run(note_ids(400), quick)
    assert (summary.exit_code, summary.done, summary.queued) == (exit_code, 30, 370)
    calls = sorted((at, api.latency) for api in (quick, *slow) for at, _ in api.starts)
    told = min(at + latency for at, latency in calls[30:])
    assert [sum(at > told for at, _ in api.starts) <= 1 for api in (quick, *slow)] == [True] * 4
    assert summary.by_code[code] == len(calls) - 30


def test_a_token_of_another_account_goes_on_once_it_was_asked(night: Night) -> None:
    one, two = upstream(daily_quota=30), upstream(latency=0.5)
    night.more_upstreams = (two,)
    summary = night.run(note_ids(400), one)
    assert (summary.exit_code, summary.done) == (0, 400)
    assert summary.elapsed < 10


def test_a_budget_takes_one_token_alone_out_of_use(night: Night) -> None:
    one = upstream(token_budget=20)
    night.more_upstreams = (replace(one, token=f"t{2}", starts=[]),)
    summary = night.run(note_ids(100), one)
    assert (summary.exit_code, summary.done) == (4, 40)
    assert summary.by_code["602"] >= 2


def test_a_token_that_is_refused_rests_at_its_first_call(night: Night) -> None:
    one, two = upstream(), upstream()
    one.script = lambda _note, _nth, _now: code(100)
    night.more_upstreams = (two,)
    summary = night.run(note_ids(100), one)
    assert (summary.exit_code, summary.done) == (0, 100)
    assert len(one.starts) <= 4


@pytest.mark.parametrize("limit", ["max_notes", "max_calls", "max_charged", "max_charged_daily"])
def test_limits_hold_over_all_tokens(night: Night, limit: str) -> None:
    apis = [upstream(latency) for latency in (0.9, 0.4, 0.05)]
    night.more_upstreams = (apis[1], apis[2])
    limits: dict[str, Any] = {limit: 97}
    settings = replace(CONFIG, **limits)
    summary = night.run(note_ids(300), apis[0], settings)
    assert (summary.exit_code, sum(charged(*apis))) == (7, 97)
    assert sum(len(api.starts) for api in apis) == 97


def test_probes_go_one_at_a_time_over_all_tokens(night: Night) -> None:
    apis = [upstream(), upstream()]
    for api in apis:
        api.script = lambda _note, _nth, _now: code(500)
    night.more_upstreams = (apis[1],)
    summary = night.run(note_ids(300), apis[0])
    assert summary.exit_code == 6
    starts = sorted(when for api in apis for when, _ in api.starts)
    probes = starts[-10:]
    assert all(b - a >= 0.05 for a, b in pairwise(probes))
    assert len(starts) < 30 + 2 * 50 + 10


def test_a_302_on_one_token_slows_that_token_alone(night: Night) -> None:
    one, two = upstream(rate_limit=20), upstream()
    night.more_upstreams = (two,)
    summary = night.run(note_ids(1000), one)
    assert summary.exit_code == 0
    in_ten_seconds = [sum(when < 10 for when, _ in api.starts) for api in (one, two)]
    assert in_ten_seconds[0] < 260
    assert in_ten_seconds[1] > 480
    assert summary.sustained_rate is not None
    assert summary.sustained_rate < 30


def test_no_call_is_made_beyond_the_limit_by_many_tokens_whose_connections_are_new(
    night: Night,
) -> None:
    apis = [replace(upstream(fail={301: 0.3}), connecting=wait) for wait in (0.9, 0.3, 0.0, 0.1)]
    night.more_upstreams = tuple(apis[1:])
    settings = replace(CONFIG, max_calls=20)
    summary = night.run(note_ids(300), apis[0], settings)
    assert (summary.exit_code, summary.calls) == (7, 20)
    assert sum(len(api.starts) for api in apis) == 20


def test_a_token_that_waits_as_it_was_told_keeps_no_note_in_hand(night: Night) -> None:
    # By the local clock that date would be long over.
    told = Answer(
        429,
        b'{"code":302,"message":"x","data":null}',
        retry_after="Sun, 06 Nov 1994 09:39:37 GMT",
        date="Sun, 06 Nov 1994 08:49:37 GMT",
    )
    one, two = upstream(), upstream()
    one.script = lambda _note, _nth, _now: told
    one.connecting = 0.5
    night.more_upstreams = (two,)
    summary = night.run(note_ids(100), one)
    assert (summary.exit_code, summary.done) == (0, 100)
    assert len({when // 3000 for when, _ in one.starts}) == 1
    assert summary.elapsed < 200
