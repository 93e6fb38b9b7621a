"""`harvester account`: the vendor's word on token and balance, and what became of asking."""

from __future__ import annotations

import json
import signal

import pytest
from aiohttp import web

from tests.process.tool import TOKEN, AccountPage, Tool, Upstream, no_account

BALANCE = {"balance": "123.4500", "currency": "CNY"}


def telling(request: web.Request) -> web.StreamResponse:
    trend: dict[str, list[str]] = {"days": [], "series": []}
    is_balance = request.path.endswith("balance")
    return Upstream.reply(0, BALANCE if is_balance else {"apiTrendDaily": trend})


def refusing(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"code": 100, "message": f"no {TOKEN}", "data": None}, status=401)


def test_a_good_token_and_its_balance_are_told(tool: Tool) -> None:
    found = tool.run("account", "--base-url", tool.upstream(account=telling).url)
    assert found.code == 0
    assert found.out.splitlines()[:2] == ["the token is good", "balance: 123.45 CNY"]
    assert "0 calls by the vendor's count" in found.out


def test_it_finds_what_run_finds_in_its_file_and_tells_programs_numbers(tool: Tool) -> None:
    token = tool.write("token.txt", [TOKEN])
    url = tool.upstream(account=telling).url
    tool.write("harvester.toml", ["[run]", f'token-file = "{token}"', f'base-url = "{url}"'])
    found = tool.run("account", "--json", env=tool.env)
    assert found.code == 0, found.text
    told = json.loads(found.out)
    assert (told["good"], told["balance"], told["currency"]) == (True, 123.45, "CNY")
    assert '"balance": 123.4500' in found.out
    assert told["callsToday"] == 0


@pytest.mark.parametrize(
    ("page", "code", "word"),
    [(refusing, 5, "the token is refused"), (no_account, 6, "there is no such page")],
)
def test_a_refused_token_and_a_page_that_is_not_there_end_differently(
    tool: Tool, page: AccountPage, code: int, word: str
) -> None:
    found = tool.run("account", "--base-url", tool.upstream(account=page).url)
    assert (found.code, word in found.out) == (code, True), found.text
    assert ("copy it again from your account" in found.out) is (code == 5)
    assert not tool.holding(TOKEN)


def test_a_server_out_of_reach_ends_it_as_it_ends_a_run(tool: Tool) -> None:
    found = tool.run("account", "--base-url", f"http://127.0.0.1:{tool.free_port()}")
    assert (found.code, "out of reach" in found.out) == (6, True), found.text


def test_the_doctor_says_what_is_bad_and_where_each_value_comes_from(tool: Tool) -> None:
    token = tool.write("token.txt", [TOKEN])
    tool.write("harvester.toml", ["[run]", f'token-file = "{token}"', 'rate = "3/s"'])
    url = tool.simulate("--balance", "100").url
    env = {**tool.env, "HARVESTER_RUN_BASE_URL": url}
    found = tool.run("doctor", "notes.jsonl", env=env)
    assert found.code == 0, found.text
    assert "--rate 3/s (harvester.toml)" in found.out
    assert "--base-url (environment)" in found.out
    assert "good  token: good; the balance is 100.00 CNY" in found.out
    told = json.loads(tool.run("doctor", "--token-file", "gone.txt", "--json", env=env).out)
    assert told["good"] is False
    assert not tool.holding(TOKEN)[1:]


def test_a_killed_run_and_the_next_tell_the_same_sum_as_the_account(tool: Tool) -> None:
    simulator = tool.simulate("--price", "0.05", "--balance", "100", "--fail", "201=0.1")
    how = ("--rate", "100/s", "--backoff-base", "0.01")
    run = ("run", "-o", tool.output, "--base-url", simulator.url, *how)
    first = tool.start(*run, tool.notes(60))
    tool.until(lambda: simulator.charged > 20, "some calls")
    first.signal(signal.SIGKILL)
    first.finish()
    second = tool.run(*run)
    charged = simulator.charged
    spent = f"the account paid {charged * 0.05:.2f} CNY"
    assert f"with the runs before, {spent}" in second.out, second.text
    assert "ledger agrees" in second.out
    status = tool.status()
    assert (status["account"]["spent"], status["price"]) == (round(charged * 0.05, 2), 0.05)
    difference = charged - status["charged"]
    assert 0 <= difference <= status["unanswered"]
    assert status["account"]["difference"] == difference
    page = tool.run("report", tool.output, "-o", "page.html")
    assert page.code == 0, page.text
    assert spent[1:] in (tool.folder / "page.html").read_text("utf-8")
