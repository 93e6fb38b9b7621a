"""What is paid for although it gives little, and endpoints that give nothing."""

from __future__ import annotations

import json
import signal

import pytest
from aiohttp import web

from harvester.sides import Side
from tests.process.test_answers import noon_zone
from tests.process.tool import Tool, Upstream

SUCCESSOR = "--endpoint xiaohongshu-pgy/solar-note-detail/v1"


def test_no_content_is_counted_as_charged_and_never_called_for_again_untold(tool: Tool) -> None:
    simulator = tool.simulate("--fail", "201=1")
    run = tool.harvest(simulator.url, tool.notes(3), "--price", "0.05")
    assert run.code == 1, run.text
    assert "3 calls charged (0.15 at 0.05 a call)" in run.text
    assert tool.harvest(simulator.url, tool.notes(3)).code == 1
    assert (simulator.calls, simulator.charged) == (3, 3)
    status = tool.status()
    assert (status["rejected"], status["charged"], status["runs"][0]["charged"]) == (3, 3, 3)
    found = tool.run("failures", tool.output, "--format", "jsonl", env=tool.env)
    assert {json.loads(line)["reason"] for line in found.out.splitlines()} == {"no content"}
    told = tool.run("retry", tool.output, env=tool.env).out
    assert "3 notes back in the queue; 3 of them were charged, and are paid for again" in told


def test_a_note_with_nothing_in_it_is_kept_counted_and_called_for_again_if_told(
    tool: Tool,
) -> None:
    simulator = tool.simulate("--empty", "0.5")
    notes = tool.notes(10)
    run = tool.harvest(simulator.url, notes)
    assert run.code == 0, run.text
    lines = [json.loads(line) for line in tool.output.read_text("utf-8").splitlines()]
    empty = sorted(line["noteId"] for line in lines if not line["data"])
    assert 0 < len(empty) < len(lines) == simulator.charged == 10
    assert f"{len(empty)} notes of them with nothing in their data" in run.text
    again = f"`harvester retry {tool.output} --empty` queues such notes again, and each is paid"
    assert again in run.text
    assert tool.status()["empty"] == len(empty)
    assert "nothing in their data" in tool.run("status", tool.output, env=tool.env).out

    both = tool.run("retry", tool.output, "--empty", "--code", "404", env=tool.env)
    assert both.code == 2
    told = tool.run("retry", tool.output, "--empty", env=tool.env).out
    assert f"{len(empty)} of them were charged, and are paid for again" in told
    assert tool.status()["queued"] == len(empty)
    assert tool.harvest(simulator.url).code == 0
    assert simulator.charged_twice == empty
    assert tool.status()["empty"] == len(empty)
    assert tool.verify().code == 0


def test_a_run_that_ends_at_the_links_tells_where_what_they_lead_to_was_saved(tool: Tool) -> None:
    links = tool.write("links.txt", [f"http://xhslink.com/a/Ab{number}" for number in range(3)])
    limited = ("--simulate", "--resolve-links", "--max-charged", "1", "--rate", "100/s")
    run = tool.run("run", links, "-o", tool.output, *limited, env=tool.env)
    assert (run.code, f"1 note saved to {Side.LINKS.of(tool.output)};" in run.text) == (7, True)


@pytest.mark.parametrize(
    ("how", "words", "done"),
    [
        (
            "--gone",
            "all say 400 or 404: the request itself is wrong, or the endpoint is gone",
            False,
        ),
        ("--deprecated", "all say 301, and the endpoint is deprecated", False),
        ("--empty", "all have nothing in their data, and are paid for", True),
    ],
)
def test_an_endpoint_that_gives_nothing_stops_the_run_and_the_one_to_try_is_named(
    tool: Tool, how: str, words: str, *, done: bool
) -> None:
    value = "1" if how == "--empty" else "xiaohongshu-pgy/note-detail/v1"
    simulator = tool.simulate(how, value)
    run = tool.harvest(simulator.url, tool.notes(29), "--workers", "2")
    assert run.code == 5, run.text
    assert 20 <= simulator.calls <= 21
    assert f"the first 20 answers {words}" in run.closing_line
    assert SUCCESSOR in run.closing_line
    status = tool.status()
    saved = simulator.calls if done else 0
    assert (status["done"], status["queued"], status["rejected"]) == (saved, 29 - saved, 0)
    assert status["empty"] == saved


def test_an_endpoint_that_is_not_there_is_told_at_once_in_whatever_words(tool: Tool) -> None:
    async def answer(_upstream: Upstream, _note_id: str, _nth: int) -> web.StreamResponse:
        return web.Response(status=404, text="<html>no such page</html>")

    upstream = tool.upstream(answer)
    run = tool.harvest(upstream.url, tool.notes(5), "--workers", "1")
    assert run.code == 5, run.text
    assert upstream.calls == 1
    assert "the endpoint is gone: HTTP 404" in run.closing_line
    assert SUCCESSOR in run.closing_line
    assert tool.status()["queued"] == 5


def test_the_reason_that_the_server_gives_is_in_failures_and_in_the_log(tool: Tool) -> None:
    async def answer(_upstream: Upstream, _note_id: str, nth: int) -> web.StreamResponse:
        code = 404 if nth == 1 else 0
        told = {"code": code, "message": "Not Found", "reason": "NOTE_DELETED", "data": {"a": nth}}
        return web.json_response(told)

    upstream = tool.upstream(answer)
    log = tool.folder / "log.json"
    run = tool.harvest(upstream.url, tool.notes(2), "--log-file", log, "--log-format", "json")
    assert run.code == 1, run.text
    told = "gone: Not Found (NOTE_DELETED)"
    assert told in tool.run("failures", tool.output, env=tool.env).out
    assert told in log.read_text("utf-8")


def test_a_run_that_waits_for_the_next_day_says_until_when_and_a_signal_ends_it(
    tool: Tool,
) -> None:
    simulator = tool.simulate("--daily-quota", "3")
    notes = tool.notes(10)
    # Bare, it takes no word that follows it for its MAX.
    run = tool.start_harvest(simulator.url, "--day-timezone", noon_zone(), "--wait-quota", notes)
    run.says("waiting until")
    tool.until(lambda: tool.status()["resumesAt"] is not None, "what the ledger tells")
    shown = tool.run("status", tool.output, "--day-timezone", noon_zone(), env=tool.env).out
    assert "Waiting for the next day, until" in shown
    run.signal(signal.SIGTERM)
    ended = run.finish()
    assert ended.code == 3, ended.text
    assert "SIGTERM while waiting for the next day" in ended.closing_line
    status = tool.status()
    assert (status["resumesAt"], status["done"], status["queued"]) == (None, 3, 7)


@pytest.mark.parametrize(
    ("limit", "saved", "refused"), [("--token-budget", 10, "602"), ("--balance", 5, "601")]
)
def test_a_budget_is_one_tokens_own_and_the_balance_that_of_all(
    tool: Tool, limit: str, saved: int, refused: str
) -> None:
    simulator = tool.simulate(limit, "5")
    tokens = tool.write("tokens", ["tok-aaaa-0123456789", "tok-bbbb-0123456789"])
    few = ("--workers", "1", "--token-file", tokens)
    run = tool.harvest(simulator.url, tool.notes(20), *few)
    assert run.code == 4, run.text
    page = simulator.charges()
    assert (page["charged"], len(tool.saved())) == (saved, saved)
    assert page["byCode"][refused] == 2
    assert "all 2 tokens are disabled" in run.closing_line
