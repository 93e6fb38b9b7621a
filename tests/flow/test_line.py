"""The whole line on virtual time: what a night does in hours, here in moments."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.engine.ports import Notice
from harvester.engine.run import Run
from harvester.model import Answer, Fault, StopReason
from harvester.parsing import read_rate
from harvester.sides import Side

from .conftest import CONFIG, Night, code, note_ids, saved_ids, upstream


def test_every_note_is_on_one_line_although_a_fifth_of_the_calls_fail(night: Night) -> None:
    api = upstream(fail={301: 0.1, 500: 0.1})
    summary = night.run(note_ids(500), api)
    assert (summary.exit_code, summary.done, summary.queued) == (0, 500, 0)
    assert saved_ids(night) == sorted(note_ids(500))
    assert api.simulated.charges()["chargedTwice"] == []
    assert summary.calls == len(api.starts) > 500


def test_the_second_run_makes_no_call(night: Night) -> None:
    night.run(note_ids(50), upstream())
    again = upstream()
    assert night.run(note_ids(50), again).exit_code == 0
    assert again.starts == []


def test_requeued_notes_do_not_hold_up_healthy_ones(night: Night) -> None:
    ids = note_ids(200)
    api = upstream()
    api.script = lambda note, nth, _now: code(301) if note in ids[::5] and nth <= 3 else None
    night.run(ids, api)
    healthy = [when for when, note in api.starts if note not in ids[::5]]
    # 160 healthy notes and 40 first tries, at 50/s: 4 s; the requeues share the rate.
    assert max(healthy) < 6.5
    assert len(api.starts) == 200 + 3 * 40


def test_after_the_first_303_no_call_starts(night: Night) -> None:
    api = upstream(daily_quota=100, latency=0.2)
    summary = night.run(note_ids(300), api)
    assert (summary.exit_code, summary.done, summary.queued) == (3, 100, 200)
    first = api.starts[100][0]
    assert max(when for when, _ in api.starts) <= first + 0.201


def test_the_next_days_finish_what_a_quota_left(night: Night) -> None:
    api = upstream(daily_quota=100)
    codes = []
    for _ in range(4):
        codes.append(night.run(note_ids(300), api).exit_code)
        api.simulated.new_day()
    assert codes == [3, 3, 0, 0]
    assert api.simulated.charges()["chargedTwice"] == []
    assert saved_ids(night) == sorted(note_ids(300))


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(303, 3), (601, 4), (602, 4), (100, 5), (101, 5), (300, 5), (600, 5)],
)
def test_a_stop_leaves_the_notes_queued(night: Night, number: int, exit_code: int) -> None:
    api = upstream()
    api.script = lambda _note, _nth, _now: code(number)
    summary = night.run(note_ids(20), api)
    assert (summary.exit_code, summary.queued, summary.failed) == (exit_code, 20, 0)


@pytest.mark.parametrize("number", [202, 404])
def test_a_rejected_note_is_never_sent_again(night: Night, number: int) -> None:
    api = upstream()
    api.script = lambda note, _nth, _now: code(number) if note == note_ids(1)[0] else None
    assert night.run(note_ids(5), api).exit_code == 1
    assert night.run(note_ids(5), api).failed == 1
    assert api.calls[note_ids(1)[0]] == 1


def test_an_exhausted_note_is_tried_again_by_the_next_run(night: Night) -> None:
    settings = replace(CONFIG, max_attempts=3, max_unanswered=2)
    api = upstream()
    hopeless = note_ids(1)[0]
    api.script = lambda note, nth, _now: code(301) if note == hopeless and nth <= 5 else None
    first = night.run(note_ids(5), api, settings)
    assert (first.exit_code, first.exhausted, api.calls[hopeless]) == (1, 1, 3)
    second = night.run(note_ids(5), api, settings)
    assert (second.exit_code, second.exhausted, api.calls[hopeless]) == (0, 0, 6)
    assert json.loads(night.lines()[-1])["attempts"] == 6


def test_a_clock_set_back_between_runs_holds_a_note_up_no_longer_than_is_told(
    night: Night,
) -> None:
    api = upstream()
    api.script = lambda _note, nth, _now: code(301) if nth == 1 else None
    night.run(note_ids(1), api, replace(CONFIG, max_calls=1))
    night.clock -= 5 * 3600
    again = night.run(note_ids(1), api, replace(CONFIG, backoff_cap=90.0))
    assert (again.done, 90 <= again.elapsed < 91) == (1, True)
    (notice,) = [event.text for event in night.events if isinstance(event, Notice)]
    assert notice == "nothing to send for 1 min 30 s: what is left waits to be tried again"


def test_a_302_costs_no_attempt_and_pauses_all_calls(night: Night) -> None:
    api = upstream()
    api.script = lambda note, nth, _now: code(302) if note == note_ids(1)[0] and nth == 1 else None
    summary = night.run(note_ids(30), api, replace(CONFIG, max_attempts=1, max_unanswered=0))
    assert (summary.exit_code, summary.done) == (0, 30)
    starts = [when for when, _ in api.starts]
    assert max(b - a for a, b in pairwise(starts)) >= 0.25


def test_retry_after_is_honoured_and_told(night: Night) -> None:
    api = upstream()
    limited = Answer(429, b'{"code":302}', retry_after="7")
    api.script = lambda note, nth, _now: limited if note == note_ids(1)[0] and nth == 1 else None
    night.run(note_ids(30), api)
    starts = [when for when, _ in api.starts]
    assert max(b - a for a, b in pairwise(starts)) >= 6.9
    (notice,) = [event.text for event in night.events if isinstance(event, Notice)]
    assert notice.endswith(" calls/s from here, after a pause of 7 s")


def test_no_window_of_the_limit_holds_more_calls_than_allowed(night: Night) -> None:
    api = upstream()
    night.run(note_ids(600), api)
    starts = [when for when, _ in api.starts]
    window = max(sum(1 for t in starts if s <= t < s + 1) for s in starts)
    assert window <= 50
    assert starts[-1] - starts[0] <= 600 / 50 * 1.015


def test_a_slow_api_does_not_slow_the_calls(night: Night) -> None:
    api = upstream(latency=8.0)
    night.run(note_ids(500), api)
    starts = [when for when, _ in api.starts]
    assert starts[-1] - starts[0] <= 500 / 50 * 1.015


def test_the_breaker_stops_a_run_whose_upstream_is_down(night: Night) -> None:
    api = upstream()
    api.script = lambda _note, _nth, _now: code(500)
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.queued) == (6, 100)
    assert len(api.starts) <= 60
    assert "internal server error" in summary.detail
    assert "10 probes in a row failed" in summary.detail
    told = [event.text for event in night.events if isinstance(event, Notice)]
    probes = [text.partition(" in ")[0] for text in told if text.startswith("call ")]
    assert probes == [f"call {nth} of 10" for nth in range(1, 11)]


def test_redirects_before_any_other_answer_stop_the_run_as_refused(night: Night) -> None:
    api = upstream(latency=1.0)
    elsewhere = Answer(302, b"", location="https://h/login?token=t", elapsed=1.0)
    api.script = lambda _note, _nth, _now: elsewhere
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.queued, summary.unanswered) == (5, 100, 0)
    assert summary.detail == "redirected to https://h/login (HTTP 302); is --base-url right?"
    # Those in flight by then say the same, and cost their notes no attempt.
    assert 1 < len(api.starts) < 60
    again = night.run([], upstream())
    assert (again.exit_code, again.done) == (0, 100)


def test_a_redirect_after_another_answer_is_as_unreadable_as_any(night: Night) -> None:
    api = upstream()
    elsewhere = Answer(302, b"", location="https://h/login")
    late = note_ids(100)[50:70]
    api.script = lambda note, nth, _now: elsewhere if note in late and nth == 1 else None
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.done, summary.unanswered) == (0, 100, 0)


def test_the_breaker_closes_when_the_upstream_is_back(night: Night) -> None:
    api = upstream()
    api.script = lambda _note, _nth, now: code(503) if now < 30 else None
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.done) == (0, 100)


def test_probes_go_one_at_a_time(night: Night) -> None:
    api = upstream(latency=3.0)
    api.script = lambda _note, _nth, _now: code(500)
    night.run(note_ids(100), api)
    probes = sorted(when for when, _ in api.starts)[-10:]
    assert all(b - a >= 3.0 for a, b in pairwise(probes))


def test_a_list_that_ends_in_a_few_hopeless_notes_finishes_with_1(night: Night) -> None:
    api = upstream()
    api.script = lambda note, _nth, _now: code(301) if note in note_ids(100)[-10:] else None
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.done, summary.exhausted) == (1, 90, 10)


def test_twenty_first_answers_of_400_are_the_requests_fault(night: Night) -> None:
    api = upstream()
    api.script = lambda _note, _nth, _now: code(400)
    summary = night.run(note_ids(100), api)
    assert (summary.exit_code, summary.queued, summary.failed) == (5, 100, 0)


def test_a_400_after_another_answer_rejects_the_note(night: Night) -> None:
    api = upstream()
    api.script = lambda note, _nth, _now: code(400) if note != note_ids(1)[0] else None
    summary = night.run(note_ids(40), api)
    assert (summary.exit_code, summary.rejected) == (1, 39)


def test_unanswered_calls_are_counted_and_retried_only_so_often(night: Night) -> None:
    api = upstream()
    lost = Answer(fault=Fault.TIMEOUT, elapsed=90.0)
    api.script = lambda note, _nth, _now: lost if note == note_ids(1)[0] else None
    summary = night.run(note_ids(5), api)
    assert (summary.unanswered, summary.exhausted, api.calls[note_ids(1)[0]]) == (3, 1, 3)


def test_no_more_calls_are_in_flight_than_there_are_descriptors_for(night: Night) -> None:
    api = upstream(latency=1.0)
    night.descriptors = 3
    summary = night.run(note_ids(9), api)
    assert summary.done == 9
    begun = [now for now, _ in api.starts]
    assert all(later - earlier >= 1 for earlier, later in zip(begun, begun[3:], strict=False))


def test_calls_that_nobody_took_are_counted_apart_and_may_not_be_charged(night: Night) -> None:
    api = upstream()
    faults = [Fault.CLOSED, Fault.RESET, Fault.CLOSED]
    api.script = lambda _note, nth, _now: Answer(fault=faults[nth - 1]) if nth <= 3 else None
    summary = night.run(note_ids(2), api)
    assert (summary.done, summary.closed, summary.unanswered, summary.charged) == (2, 6, 0, 2)


def test_no_note_has_more_calls_than_max_attempts_whatever_they_fail_for(night: Night) -> None:
    api = upstream()
    lost = Answer(fault=Fault.TIMEOUT, elapsed=90.0)
    plan = [code(301), code(500), lost, code(301), lost, code(503), code(301)]
    api.script = lambda _note, nth, _now: plan[nth - 1]
    summary = night.run(note_ids(1), api)
    assert (summary.calls, summary.exhausted) == (6, 1)


def test_a_run_that_nothing_answered_ends_as_upstream(night: Night) -> None:
    api = upstream()
    away = Answer(fault=Fault.NO_CONNECTION, detail="refused", elapsed=0.01)
    api.script = lambda _note, _nth, _now: away
    summary = night.run(note_ids(3), api)
    assert (summary.exit_code, summary.unanswered) == (6, 0)


@pytest.mark.parametrize(
    ("limits", "charged"),
    [
        ({"max_notes": 37}, 37),
        ({"max_charged": 41}, 41),
        ({"max_charged_daily": 29}, 29),
    ],
)
def test_own_limits_are_met_exactly_whatever_is_in_flight(
    night: Night, limits: dict[str, Any], charged: int
) -> None:
    api = upstream(latency=2.0, fail={301: 0.2})
    summary = night.run(note_ids(200), api, replace(CONFIG, **limits))
    assert (summary.exit_code, summary.charged) == (7, charged)
    assert api.simulated.charges()["charged"] == charged


def test_max_calls_counts_every_call(night: Night) -> None:
    api = upstream(latency=2.0, fail={301: 0.2})
    summary = night.run(note_ids(200), api, replace(CONFIG, max_calls=50))
    assert (summary.exit_code, len(api.starts)) == (7, 50)


def test_max_notes_met_by_the_last_note_is_all_done(night: Night) -> None:
    settings = replace(CONFIG, max_notes=20)
    assert night.run(note_ids(20), upstream(), settings).exit_code == 0


def test_the_daily_cap_holds_over_runs_and_ends_at_midnight(night: Night) -> None:
    settings = replace(CONFIG, max_charged_daily=60)
    api = upstream()
    assert night.run(note_ids(200), api, settings).charged == 60
    assert night.run(note_ids(200), api, settings).charged == 0
    night.clock += 86_400
    assert night.run(note_ids(200), api, settings).charged == 60


def test_max_runtime_ends_the_run(night: Night) -> None:
    settings = replace(CONFIG, max_runtime=3.0)
    summary = night.run(note_ids(1000), upstream(), settings)
    assert summary.exit_code == 7
    assert 140 <= summary.done <= 151


def test_a_note_due_after_max_runtime_does_not_keep_the_run_alive(night: Night) -> None:
    api = upstream()
    api.script = lambda note, _nth, _now: code(301) if note == note_ids(1)[0] else None
    config = replace(CONFIG, max_runtime=1000.0, backoff_base=5000.0, backoff_cap=5000.0)
    summary = night.run(note_ids(5), api, config)
    assert (summary.exit_code, summary.done, summary.queued) == (7, 4, 1)
    assert summary.elapsed < 10


def test_a_signal_drains_what_is_in_flight(night: Night) -> None:
    async def meddle(run: Run) -> None:
        await asyncio.sleep(1.0)
        run.stop(StopReason.SIGTERM)

    api = upstream(latency=0.5)
    summary = night.run(note_ids(500), api, meddle=meddle)
    assert summary.exit_code == 143
    assert summary.done == len(api.starts)
    assert max(when for when, _ in api.starts) <= 1.0


def test_a_second_signal_stops_at_once_and_the_ledger_says_what_may_be_paid(
    night: Night,
) -> None:
    async def meddle(run: Run) -> None:
        await asyncio.sleep(1.0)
        run.stop(StopReason.SIGINT)
        await asyncio.sleep(0.1)
        run.abort()

    api = upstream(latency=40.0)
    summary = night.run(note_ids(500), api, meddle=meddle)
    assert (summary.exit_code, summary.unanswered) == (130, len(api.starts))
    assert (summary.queued, summary.elapsed < 2) == (500, True)


def test_refresh_fetches_again_what_is_older(night: Night) -> None:
    api = upstream()
    night.run(note_ids(10), api)
    night.clock += 8 * 86_400
    night.run(note_ids(20), api, replace(CONFIG, refresh=7 * 86_400.0))
    assert Counter(saved_ids(night)) == Counter(note_ids(10) + note_ids(20))
    again = upstream()
    night.run(note_ids(20), again, replace(CONFIG, refresh=7 * 86_400.0))
    assert again.starts == []


def test_one_call_a_minute_is_paced_as_such(night: Night) -> None:
    settings = replace(CONFIG, rate=read_rate("6/m"))
    api = upstream()
    night.run(note_ids(30), api, settings)
    starts = [when for when, _ in api.starts]
    assert starts[-1] - starts[0] == pytest.approx(290, rel=0.015)


def test_a_hidden_limit_is_found_kept_to_and_remembered(night: Night) -> None:
    settings = replace(
        CONFIG,
        rate=None,
        max_runtime=60,
        max_attempts=1,
        max_unanswered=0,
    )
    api = upstream(rate_limit=20)
    summary = night.run(note_ids(2000), api, settings)
    assert (summary.exit_code, summary.exhausted) == (7, 0)
    assert 0 < len(api.refused) < 0.02 * len(api.starts)
    assert summary.saved == len(api.starts) - len(api.refused)
    assert summary.sustained_rate == pytest.approx(20, rel=0.1)

    again = upstream(rate_limit=20)
    night.run([], again, replace(settings, max_runtime=5))
    assert 17 <= len([when for when, _ in again.starts if when < 1]) <= 20


def test_a_refusal_that_lasts_is_asked_about_ever_more_seldom(night: Night) -> None:
    api = upstream()
    api.script = lambda _note, _nth, now: code(302) if now < 600 else None
    summary = night.run(note_ids(300), api)
    assert (summary.exit_code, summary.done) == (0, 300)
    early = [when for when, _ in api.starts if when < 600]
    # At 50/s the few that are on their way when the first one is refused go each time.
    assert len(early) < 600 / 60 * 5 + 30
    assert max(b - a for a, b in pairwise(early)) == pytest.approx(60, abs=0.1)
    # The pace itself was never shown to be too fast.
    assert api.starts[-1][0] < 600 + 60 + 60


def test_an_answer_that_cannot_be_read_may_be_charged_and_its_bytes_are_kept(night: Night) -> None:
    api = upstream()
    odd = Answer(200, b"<html>busy</html>")
    api.script = lambda note, _nth, _now: odd if note == note_ids(1)[0] else None
    summary = night.run(note_ids(5), api)
    assert (summary.unanswered, summary.exhausted, summary.done) == (3, 1, 4)
    kept = [json.loads(line) for line in Side.UNREAD.of(night.output).read_bytes().splitlines()]
    assert [line["text"] for line in kept] == ["<html>busy</html>"] * 3


def test_a_message_with_half_an_emoji_ends_no_run(night: Night) -> None:
    api = upstream()
    odd = Answer(200, b'{"code":301,"message":"a \\ud83d' + b"x" * 200_000 + b'"}')
    api.script = lambda note, _nth, _now: odd if note == note_ids(1)[0] else None
    summary = night.run(note_ids(5), api)
    assert (summary.exit_code, summary.exhausted, summary.done) == (1, 1, 4)


def test_a_long_answer_gives_its_room_back_once_it_is_written(night: Night) -> None:
    api = upstream()
    lines: defaultdict[str, list[int]] = defaultdict(list)

    def release(note: str) -> None:
        saved = note.encode() in night.output.read_bytes()
        unread = Side.UNREAD.of(night.output)
        lines[note].append(saved + (unread.exists() and note.encode() in unread.read_bytes()))

    def script(note: str, nth: int, _now: float) -> Answer:
        good = b'{"code":0,"message":"","data":{}}'
        body = b"<p>" if note == note_ids(1)[0] and nth == 1 else good
        return Answer(200, body, release=partial(release, note))

    api.script = script
    assert night.run(note_ids(20), api).done == 20
    assert lines == {note: [1] for note in note_ids(20)} | {note_ids(1)[0]: [1, 2]}


def test_a_practice_output_costs_one_call_of_a_real_server_on_this_machine(night: Night) -> None:
    practice = upstream()
    assert night.run(note_ids(5), practice).done == 5
    real = upstream(latency=2)
    real.script = lambda _note, _nth, _now: Answer(200, b'{"code":0,"message":"","data":{"a":1}}')
    summary = night.run(note_ids(30), real)
    assert summary.exit_code == StopReason.INPUT.exit_code
    assert len(real.starts) == 1
    # The simulator itself is called as fast as ever once it has answered.
    again = night.run(note_ids(100), practice)
    assert (again.exit_code, again.done) == (0, 100)
    begun = [at for at, _ in practice.starts[5:]]
    assert begun[-1] - begun[0] < 4


def test_notes_known_to_be_gone_fail_no_later_night(night: Night) -> None:
    api = upstream()
    api.script = lambda note, _nth, _now: code(404) if note == note_ids(3)[1] else None
    first = night.run(note_ids(3), api)
    assert (first.reason, first.exit_code, first.gone) == ("some failed", 1, 1)
    second = night.run(note_ids(4), api)
    assert (second.reason, second.exit_code, second.gone, second.done) == ("done", 0, 1, 3)
