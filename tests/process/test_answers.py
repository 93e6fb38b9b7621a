"""What the answers of the API make of a run, and the limits it sets itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from tests.process.tool import Tool, Upstream


def noon_zone() -> str:
    """A time zone where the day is neither about to begin nor to end."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}"


def test_a_refused_token_stops_the_run(tool: Tool) -> None:
    simulator = tool.simulate()
    env = {**tool.env, "JUSTONEAPI_TOKEN": "invalid"}
    run = tool.harvest(simulator.url, tool.notes(30), "--workers", "2", env=env)
    assert run.code == 5, run.text
    assert "token" in run.closing_line
    assert "0 done, 30 left" in run.closing_line
    assert simulator.calls <= 2


def test_a_request_that_is_wrong_itself_rejects_no_note(tool: Tool) -> None:
    async def answer(upstream: Upstream, _note_id: str, _nth: int) -> web.StreamResponse:
        return upstream.reply(400)

    upstream = tool.upstream(answer)
    run = tool.harvest(upstream.url, tool.notes(60), "--workers", "4")
    assert run.code == 5, run.text
    assert 20 <= upstream.calls <= 20 + 3
    status = tool.status()
    assert (status["queued"], status["rejected"], status["done"]) == (60, 0, 0)
    assert tool.run("failures", tool.output, "--format", "ids").out == ""


def test_missing_notes_are_told_and_come_back_only_by_retry(tool: Tool) -> None:
    simulator = tool.simulate("--missing", "0.3")
    notes = tool.notes(40)
    run = tool.harvest(simulator.url, notes)
    assert run.code == 1, run.text
    page = simulator.charges()
    gone = sorted(set(tool.note_ids(40)) - set(tool.saved()))
    assert page["calls"] == 40
    assert 0 < len(gone) == 40 - page["charged"]
    assert f"{len(gone)} gone" in run.closing_line

    again = tool.start_harvest(simulator.url, notes)
    forms = [
        tool.start("failures", tool.output, "--format", form, env=tool.env)
        for form in ("ids", "jsonl", "table")
    ]
    assert again.finish().code == 0
    assert simulator.calls == 40
    ids, jsonl, table = (form.finish().out for form in forms)
    assert sorted(ids.split()) == gone
    rows = [json.loads(line) for line in jsonl.splitlines()]
    assert sorted(row["noteId"] for row in rows) == gone
    assert {(row["code"], row["attempts"]) for row in rows} == {(404, 1)}
    assert all(row["reason"] for row in rows)
    assert all(note_id in table for note_id in gone)

    none = tool.run("retry", tool.output, "--code", "202", "--id", "f" * 24, env=tool.env)
    assert none.out.splitlines() == [
        f"{'f' * 24} is not known here: no list named it",
        "no failed note has code 202",
        "0 notes back in the queue",
    ]
    link = f"https://www.xiaohongshu.com/explore/{gone[0].upper()}?xsec_token=AB"
    assert "1 note " in tool.run("retry", tool.output, "--id", link, env=tool.env).out
    token = ("--token-file", tool.write("its token.txt", [tool.token]))
    assert tool.harvest(simulator.url, *token).code == 1
    assert simulator.calls == 41
    left = tool.run("retry", tool.output, "--code", "404", env=tool.env)
    told = f"{len(gone)} notes back in the queue; next: `harvester run -o {tool.output} "
    assert left.out == told + "--token-file 'its token.txt'`\n"
    assert tool.status()["queued"] == len(gone)
    assert tool.harvest(simulator.url, notes).code == 1
    assert simulator.calls == 41 + len(gone)
    assert simulator.charged == 40 - len(gone)


@pytest.mark.parametrize("many", [5, 60])
def test_an_unreachable_api_ends_the_run_and_shows_no_token(tool: Tool, many: int) -> None:
    url = f"http://127.0.0.1:{tool.free_port()}"
    log = tool.folder / "log.json"
    quick = ("--backoff-base", "0.01", "--backoff-cap", "0.02", "-v")
    run = tool.harvest(url, tool.notes(many), *quick, "--log-file", log, "--log-format", "json")
    assert run.code == 6, run.text
    assert "Connection refused" in run.text
    assert "--base-url" in run.closing_line
    assert f"0 done, {0 if many == 5 else many} left" in run.closing_line or many == 5
    assert tool.holding(tool.token) == []
    status = tool.status()
    assert status["unanswered"] == 0
    assert status["queued"] + status["exhausted"] == many


@pytest.mark.parametrize(
    ("option", "most", "counted"),
    [("--max-notes", 7, "charged"), ("--max-calls", 9, "calls"), ("--max-charged", 6, "charged")],
)
def test_a_limit_of_its_own_stops_the_run_and_is_never_exceeded(
    tool: Tool, option: str, most: int, counted: str
) -> None:
    simulator = tool.simulate("--fail", "301=0.4")
    notes = tool.notes(40)
    run = tool.harvest(simulator.url, notes, option, str(most))
    assert run.code == 7, run.text
    page = simulator.charges()
    assert page[counted] == most
    assert len(tool.saved()) == page["charged"]
    assert option in run.closing_line
    assert f"{page['charged']} done, {40 - page['charged']} left" in run.closing_line


def test_the_longest_runtime_stops_the_run_and_saves_what_is_in_flight(tool: Tool) -> None:
    simulator = tool.simulate("--latency", "100ms")
    run = tool.harvest(simulator.url, tool.notes(500), "--max-runtime", "500ms", "--rate", "100/s")
    assert run.code == 7, run.text
    assert "--max-runtime" in run.closing_line
    assert 0 < simulator.charged == len(tool.saved()) < 500


def test_the_token_is_in_nothing_although_the_server_says_it(tool: Tool) -> None:
    other = tool.upstream()

    async def answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth == 1:
            return upstream.reply(301, message=f"the token {tool.token} is bad\x1b[31m\r\n!")
        if nth == 2:
            raise web.HTTPFound(f"{other.url}/?token={tool.token}")
        if nth <= 4:
            await upstream.opened()
        return upstream.reply(0, {"noteId": note_id, "token": tool.token})

    upstream = tool.upstream(answer)
    log = tool.folder / "log.json"
    run = tool.start_harvest(
        *(upstream.url, tool.notes(6), "--workers", "1", "-v"),
        *("--log-file", log, "--log-format", "json"),
        cold=True,
    )
    tool.until(lambda: upstream.calls == 3, "three calls")
    command = Path(f"/proc/{run.pid}/cmdline").read_bytes()
    assert b"harvester" in command
    assert tool.token.encode() not in command
    upstream.open()
    ended = run.finish()
    assert ended.code == 0, ended.text
    assert other.calls == 0
    assert sorted(tool.saved()) == tool.note_ids(6)
    assert tool.holding(tool.token) == []
    assert "\x1b" not in ended.text
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(entry["event"] == "call" for entry in logged) == upstream.calls == 8
