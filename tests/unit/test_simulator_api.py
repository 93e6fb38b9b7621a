"""What the simulated API answers: every code, their order, limits, luck and HTTP statuses."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from harvester.simulator import SimulatorSettings
from harvester.simulator.api import ENDPOINTS, RESOLVER, SimulatedApi, SimulatedReply

NOTE = "67f32a94000000001d02eb4a"
PATH = "/api/xiaohongshu-pgy/get-note-detail/v1"
NOON = datetime(2025, 4, 7, 4, 0, tzinfo=UTC).timestamp()  # 12:00 in Shanghai
MIDNIGHT = datetime(2025, 4, 7, 16, 0, tzinfo=UTC).timestamp()  # the next day begins in Shanghai


def simulated(**settings: Any) -> SimulatedApi:  # noqa: ANN401 - whatever SimulatorSettings takes
    return SimulatedApi(SimulatorSettings(**settings))


def call(
    subject: SimulatedApi,
    note_id: str = NOTE,
    *,
    shown: str = "t",
    path: str = PATH,
    now: float = NOON,
) -> SimulatedReply:
    return subject.answer(path, {"token": shown, "noteId": note_id}, now)


def note(number: int) -> str:
    return f"67f32a94{number:016x}"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_endpoint_of_the_family_answers_the_note(path: str) -> None:
    reply = call(simulated(), path=path)
    envelope = json.loads(reply.body)
    assert (reply.status, reply.code, envelope["code"]) == (200, 0, 0)
    assert envelope["data"]["noteId"] == NOTE


def test_a_short_link_leads_to_its_note_and_nothing_else_does() -> None:
    query = {"token": "t", "shareUrl": "http://xhslink.com/a/b"}
    replies = [simulated().answer(RESOLVER, query, NOON) for _ in range(2)]
    places = {json.loads(reply.body)["data"]["redirect_url"].partition("?")[0] for reply in replies}
    assert re.fullmatch(r"https://www.xiaohongshu.com/discovery/item/[0-9a-f]{24}", places.pop())
    assert not places
    for wrong in ({"noteId": NOTE}, {"shareUrl": "https://example.com/a"}):
        assert simulated().answer(RESOLVER, {"token": "t", **wrong}, NOON).code == 400


def test_the_family_has_nine_endpoints() -> None:
    assert len(set(ENDPOINTS)) == 9


@pytest.mark.parametrize(
    ("path", "query", "code", "status"),
    [
        ("/api/xiaohongshu/get-note-detail/v8", {"token": "t", "noteId": NOTE}, 404, 404),
        ("/", {}, 404, 404),
        (PATH + "/", {"token": "t", "noteId": NOTE}, 404, 404),
        (PATH, {"noteId": NOTE}, 100, 401),
        (PATH, {"token": "", "noteId": NOTE}, 100, 401),
        (PATH, {"token": "invalid", "noteId": NOTE}, 100, 401),
        (PATH, {"token": "invalid"}, 100, 401),
        (PATH, {"token": "t"}, 400, 400),
        (PATH, {"token": "t", "noteId": ""}, 400, 400),
        (PATH, {"token": "t", "noteId": NOTE[:-1]}, 400, 400),
        (PATH, {"token": "t", "noteId": NOTE + "0"}, 400, 400),
        (PATH, {"token": "t", "noteId": NOTE + "\n"}, 400, 400),
        (PATH, {"token": "t", "noteId": "g" * 24}, 400, 400),
        (PATH, {"token": "t", "noteId": "٣" * 24}, 400, 400),
        (PATH, {"token": "t", "noteId": NOTE}, 0, 200),
        (PATH, {"token": "t", "noteId": NOTE, "acceptCache": "true"}, 0, 200),
    ],
)
def test_a_call_is_refused_for_what_is_wrong_with_it(
    path: str, query: dict[str, str], code: int, status: int
) -> None:
    reply = simulated().answer(path, query, NOON)
    assert (reply.code, reply.status) == (code, status)
    old = simulated(http_status="always-200").answer(path, query, NOON)
    assert (old.code, old.status) == (code, 200)


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        (100, 401, "Invalid or Inactive Token"),
        (101, 401, "Invalid or Inactive Token"),
        (201, 200, "No Content"),
        (202, 400, "Not Supported"),
        (300, 403, "API Invalid"),
        (301, 503, "COLLECT FAILED, SEND REQUEST AGAIN"),
        (302, 429, "Rate Limit Exceeded"),
        (303, 429, "Daily Quota Exceeded"),
        (400, 400, "Invalid Parameters"),
        (404, 400, "Not Found"),
        (500, 500, "Internal Server Error"),
        (503, 503, "Service Temporarily Unavailable"),
        (600, 403, "Permission Denied"),
        (601, 403, "Insufficient Balance"),
        (602, 403, "Token Budget Exceeded"),
        (999, 500, "Unknown Error"),
    ],
)
def test_a_failure_asked_for_comes_in_the_envelope_under_its_status(
    code: int, status: int, message: str
) -> None:
    reply = call(simulated(fail={code: 1}))
    envelope = json.loads(reply.body)
    assert list(envelope) == ["code", "message", "recordTime", "requestId", "data"]
    assert (envelope["code"], envelope["message"], envelope["data"]) == (code, message, None)
    assert envelope["recordTime"] == "2025-04-07 12:00:00"
    assert reply.status == status
    assert reply.headers["Content-Type"] == "application/json"
    assert call(simulated(fail={code: 1}, http_status="always-200")).status == 200


def test_success_is_called_so() -> None:
    assert json.loads(call(simulated()).body)["message"] == "Success"


def test_the_checks_stand_in_a_gateways_order() -> None:
    spent = simulated(rate_limit=2, daily_quota=1, balance=1, fail={301: 0.0}, missing=0.0)
    assert call(spent).code == 0
    assert call(spent).code == 303  # before the balance, which is used up too
    assert call(spent, note_id="x").code == 302  # the rate before the note id
    assert call(spent, shown="invalid").code == 100  # the token before the rate
    assert call(spent, shown="invalid", path="/no").code == 404  # the path before the token
    assert call(spent, note_id="x", now=NOON + 1).code == 400  # the note id before the quota


def test_a_used_up_account_is_told_before_any_failure() -> None:
    spent = simulated(balance=1, fail={301: 0.5}, seed=3)
    codes = [call(spent, note(number)).code for number in range(40)]
    first = codes.index(0)
    assert set(codes[first + 1 :]) == {601}


def test_a_failure_comes_before_a_missing_note() -> None:
    assert call(simulated(fail={500: 1}, missing=1)).code == 500
    assert call(simulated(missing=1)).code == 404


def test_the_quota_holds_until_the_day_turns_in_shanghai() -> None:
    limited = simulated(daily_quota=2)
    before = [call(limited, note(n), now=MIDNIGHT - 1).code for n in range(3)]
    after = [call(limited, note(n), now=MIDNIGHT).code for n in range(3, 6)]
    assert before == after == [0, 0, 303]


def test_a_new_day_can_be_declared() -> None:
    limited = simulated(daily_quota=1)
    assert [call(limited).code, call(limited).code] == [0, 303]
    limited.new_day()
    assert [call(limited).code, call(limited).code] == [0, 303]


def test_only_charged_calls_use_up_quota_and_balance() -> None:
    for limit in ({"daily_quota": 1}, {"balance": 1}):
        limited = simulated(missing=1, **limit)
        assert {call(limited, note(number)).code for number in range(20)} == {404}


def test_the_balance_outlives_the_day_and_can_be_topped_up() -> None:
    limited = simulated(balance=2)
    assert [call(limited, note(n)).code for n in range(3)] == [0, 0, 601]
    limited.new_day()
    assert call(limited, now=MIDNIGHT).code == 601
    limited.top_up(Decimal(1), MIDNIGHT)
    assert [call(limited, note(n), now=MIDNIGHT).code for n in (4, 5)] == [0, 601]


def test_an_unlimited_balance_stays_so_when_topped_up() -> None:
    rich = simulated()
    rich.top_up(Decimal(1), NOON)
    assert [call(rich, note(n)).code for n in range(3)] == [0, 0, 0]


def test_no_second_holds_more_calls_than_the_limit_and_none_fewer() -> None:
    limited = simulated(rate_limit=3)
    moments = [0.0, 0.25, 0.5, 0.75, 0.99, 1.0, 1.125, 1.25, 1.4, 1.5, 1.5]
    codes = [call(limited, note(n), now=NOON + at).code for n, at in enumerate(moments)]
    assert codes == [0, 0, 0, 302, 302, 0, 302, 0, 302, 0, 302]


def test_refused_calls_do_not_prolong_the_window() -> None:
    limited = simulated(rate_limit=5)
    codes = Counter(call(limited, now=NOON + tick / 100).code for tick in range(1000))
    assert codes == {0: 50, 302: 950}


def test_calls_with_a_good_token_count_toward_the_rate_even_if_they_fail() -> None:
    for settings, note_id in (({}, "bad"), ({"fail": {301: 1}}, NOTE), ({"missing": 1}, NOTE)):
        limited = simulated(rate_limit=1, **settings)
        assert call(limited, note_id).code != 302
        assert call(limited, note_id).code == 302


def test_calls_without_a_good_token_are_counted_but_not_against_the_rate() -> None:
    limited = simulated(rate_limit=1)
    for _ in range(3):
        call(limited, shown="invalid")
    assert call(limited).code == 0
    assert limited.charges()["maxPerSecond"] == limited.charges()["calls"] == 4


def test_failures_come_near_the_shares_asked_for() -> None:
    unlucky = simulated(fail={301: 0.05, 503: 0.2}, missing=0.1, seed=11)
    codes = Counter(call(unlucky, note(number)).code for number in range(4_000))
    assert codes[301] == pytest.approx(200, rel=0.15)
    assert codes[503] == pytest.approx(800, rel=0.1)
    assert codes[404] == pytest.approx(300, rel=0.15)
    assert sum(codes.values()) - codes[0] == codes[301] + codes[503] + codes[404]


def test_failures_of_one_note_come_near_the_share_too() -> None:
    unlucky = simulated(fail={301: 0.3})
    codes = Counter(call(unlucky).code for _ in range(2_000))
    assert codes[301] == pytest.approx(600, rel=0.15)


def test_a_missing_note_stays_missing_on_every_endpoint() -> None:
    sparse = simulated(missing=0.3)
    for number in range(50):
        codes = {call(sparse, note(number), path=path).code for path in ENDPOINTS for _ in (1, 2)}
        assert len(codes) == 1


def test_the_same_seed_tells_the_same_story_in_any_order() -> None:
    def story(order: range) -> dict[int, list[bytes]]:
        unlucky = simulated(fail={301: 0.4}, missing=0.1, seed=5)
        told: dict[int, list[bytes]] = {number: [] for number in order}
        for number in [*order, *order, *reversed(order)]:
            told[number].append(call(unlucky, note(number)).body)
        return told

    assert story(range(100)) == story(range(99, -1, -1))


def test_calls_refused_for_the_rate_do_not_change_the_story() -> None:
    free, limited = simulated(fail={301: 0.5}), simulated(fail={301: 0.5}, rate_limit=1)
    expected = [call(free).code for _ in range(20)]
    heard = [call(limited, now=NOON + tick / 2).code for tick in range(40)]
    assert heard[0::2] == expected
    assert set(heard[1::2]) == {302}


def test_another_seed_tells_another_story() -> None:
    stories = {
        tuple(call(simulated(fail={301: 0.5}, seed=seed), note(n)).code for n in range(64))
        for seed in range(4)
    }
    assert len(stories) == 4


def test_a_note_answers_the_same_data_every_time_and_whatever_the_seed() -> None:
    one, other = simulated(seed=1), simulated(seed=2)
    answers = [call(one), call(one, now=NOON + 99), call(other), call(one, NOTE.upper())]
    data = [json.loads(reply.body)["data"] for reply in answers]
    assert data[0]["noteId"] == NOTE
    assert all(each == data[0] for each in data)


def test_a_request_id_is_hex_of_its_own_behind_the_mark_of_a_simulator() -> None:
    one = simulated()
    ids = [json.loads(call(one, each).body)["requestId"] for each in (NOTE, NOTE, "x", "x")]
    assert len(set(ids)) == 4
    for request_id in ids:
        assert request_id.startswith("simulated-")
        assert len(bytes.fromhex(request_id.removeprefix("simulated-"))) == 16


def test_the_delay_swings_around_the_latency() -> None:
    delays = [call(simulated(latency=0.5, jitter=0.2), note(n)).delay for n in range(400)]
    assert 0.3 <= min(delays) < 0.32
    assert 0.68 < max(delays) <= 0.7
    assert sum(delays) / len(delays) == pytest.approx(0.5, abs=0.02)
    assert {call(simulated(latency=0.5, jitter=0), note(n)).delay for n in range(9)} == {0.5}


def test_a_delay_is_never_negative() -> None:
    delays = [call(simulated(latency=0.01, jitter=1), note(n)).delay for n in range(50)]
    assert min(delays) == 0
    assert max(delays) > 0.5


def test_charges_count_every_call_by_its_code() -> None:
    limited = simulated(rate_limit=4, missing=0.0)
    for note_id in (NOTE, NOTE.upper(), note(7), "x", note(8)):
        call(limited, note_id)
    call(limited, shown="invalid")
    call(limited, path="/no")
    assert limited.charges() == {
        "calls": 7,
        "charged": 3,
        "byCode": {"0": 3, "100": 1, "302": 1, "400": 1, "404": 1},
        "chargedTwice": [NOTE],
        "maxPerSecond": 7,
    }


def test_all_tokens_share_the_accounts_limits_which_are_each_endpoints_own() -> None:
    api = simulated(daily_quota=2, rate_limit=3)
    assert [call(api, note(n), shown="one").code for n in range(4)] == [0, 0, 303, 302]
    assert call(api, note(5), shown="two", now=NOON + 1).code == 303
    assert call(api, note(5), shown="two", path=ENDPOINTS[1]).code == 0
    api.new_day()
    codes = [call(api, note(6), shown=shown, now=NOON + 2).code for shown in ("one", "two")]
    assert codes == [0, 0]
    assert api.charges()["charged"] == 5


def test_a_budget_is_each_tokens_own_and_the_balance_the_accounts() -> None:
    api = simulated(token_budget=2, balance=3)
    assert [call(api, note(n), shown="one").code for n in range(3)] == [0, 0, 602]
    assert [call(api, note(n), shown="two").code for n in (3, 4)] == [0, 601]


def asked(subject: SimulatedApi, page: str, now: float = NOON, **query: str) -> dict[str, Any]:
    reply = subject.page(page, query, now)
    assert reply is not None
    told: dict[str, Any] = json.loads(reply.body)
    return told


def balance_of(subject: SimulatedApi, now: float = NOON) -> str:
    told = asked(subject, "/user/get-balance", now, token="t")  # noqa: S106 - any token is good
    assert told == {"code": 0, "message": None, "data": told["data"]}
    assert told["data"]["currency"] == "CNY"
    return str(told["data"]["balance"])


def test_each_charged_call_takes_its_price_to_the_cent() -> None:
    api = simulated(price=Decimal("0.1"), balance=Decimal("0.3"), missing=0.0)
    assert balance_of(api) == "0.3000"
    assert [call(api, note(n)).code for n in range(4)] == [0, 0, 0, 601]
    assert balance_of(api) == "0.0000"
    api.top_up(Decimal("0.25"), NOON)
    assert [call(api, note(n)).code for n in range(4, 7)] == [0, 0, 601]
    api.top_up(Decimal("-0.05"), NOON)
    assert balance_of(api) == "0.0000"
    assert api.charges()["calls"] == 7


def test_the_balance_may_lag_behind_the_calls() -> None:
    api = simulated(balance=10, account_lag=5)
    assert call(api).code == 0
    assert [balance_of(api, NOON + late) for late in (0, 4.9, 5)] == ["10.0000"] * 2 + ["9.0000"]


def test_no_content_is_charged_but_is_no_success() -> None:
    api = simulated(fail={201: 1}, daily_quota=1, balance=9)
    assert [call(api).code, call(api).code] == [201, 201]
    assert balance_of(api) == "7.0000"
    assert (api.charges()["charged"], api.charges()["chargedTwice"]) == (2, [NOTE])


def test_some_notes_have_nothing_in_them_and_are_charged_all_the_same() -> None:
    api = simulated(empty=0.2)
    told = [json.loads(call(api, note(n)).body) for n in range(500)]
    empty = [each["data"] for each in told if not each["data"]]
    assert {each["code"] for each in told} == {0}
    assert len(empty) == pytest.approx(100, rel=0.2)
    assert None in empty
    assert [] in empty
    assert {} in empty
    assert api.charges()["charged"] == 500


def test_an_endpoint_that_is_gone_is_not_found_and_a_deprecated_one_only_fails() -> None:
    api = simulated(gone=(PATH,), deprecated=ENDPOINTS[1:2])
    lost = call(api)
    assert (lost.status, lost.code) == (404, 404)
    assert json.loads(lost.body)["message"] == "Resource not found"
    assert {call(api, note(n), path=ENDPOINTS[1]).code for n in range(30)} == {301}
    assert call(api, path=ENDPOINTS[2]).code == 0


def test_the_usage_is_told_by_day_and_endpoint() -> None:
    api = simulated()
    for path, now in ((PATH, NOON), (PATH, NOON), (ENDPOINTS[2], NOON), (PATH, MIDNIGHT)):
        call(api, path=path, now=now)
    told = asked(api, "/user/get-usage-summary", token="t")  # noqa: S106 - any token is good
    trend = told["data"]["apiTrendDaily"]
    assert trend["days"] == ["2025-04-07", "2025-04-08"]
    series = {each["name"]: each["data"] for each in trend["series"]}
    assert series == {PATH: [2, 1], ENDPOINTS[2]: [1, 0]}


@pytest.mark.parametrize("page", ["/user/get-balance", "/user/get-usage-summary"])
def test_the_accounts_pages_want_a_token(page: str) -> None:
    for query in ({}, {"token": "invalid"}):
        reply = simulated().page(page, query, NOON)
        assert reply is not None
        assert (reply.status, json.loads(reply.body)["code"]) == (401, 100)


def test_an_endpoints_example_needs_no_token_and_costs_nothing() -> None:
    api = simulated()
    data = asked(api, "/status/api-example/detail", api=PATH)["data"]
    assert (data["api"], data["synthetic"]) == (PATH, False)
    assert (data["example"]["code"], data["example"]["data"]["noteId"]) == (0, NOTE)
    assert asked(api, "/status/api-example/detail", api="/no")["code"] == 404
    assert api.charges()["calls"] == 0
