"""A whole night in small: thousands of notes, quotas, a second run that has nothing to do."""

from __future__ import annotations

import time

from aiohttp import web

from tests.process.tool import Tool, Upstream


def test_800_notes_are_saved_once_each_although_a_tenth_of_the_calls_fail(tool: Tool) -> None:
    simulator = tool.simulate("--fail", "301=0.1")
    notes = tool.notes(800)
    first = tool.harvest(simulator.url, notes)
    assert first.code == 0, first.text
    assert sorted(tool.saved()) == sorted(tool.note_ids(800))
    page = simulator.charges()
    assert page["chargedTwice"] == []
    assert page["charged"] == 800
    assert page["byCode"]["301"] > 40

    again = tool.harvest(simulator.url, notes)
    assert again.code == 0, again.text
    assert simulator.charges() == page
    assert tool.verify().code == 0


def test_a_daily_quota_stops_the_run_and_a_new_day_goes_on(tool: Tool) -> None:
    simulator = tool.simulate("--daily-quota", "100")
    notes = tool.notes(300)
    for day in (1, 2):
        run = tool.harvest(simulator.url, notes)
        assert run.code == 3, run.text
        assert simulator.charged == 100 * day == len(tool.saved())
        assert f"{100 * day} done, {300 - 100 * day} left" in run.closing_line
        assert "quota" in run.closing_line
        simulator.new_day()
    last = tool.harvest(simulator.url)
    assert last.code == 0, last.text
    assert sorted(tool.saved()) == sorted(tool.note_ids(300))
    assert simulator.charged == 300
    assert simulator.charged_twice == []
    assert [run["exitCode"] for run in tool.status()["runs"]] == [3, 3, 0]


def test_a_used_up_balance_stops_the_run_and_a_top_up_goes_on(tool: Tool) -> None:
    simulator = tool.simulate("--balance", "100")
    notes = tool.notes(160)
    run = tool.harvest(simulator.url, notes)
    assert run.code == 4, run.text
    assert simulator.charged == 100 == len(tool.saved())
    assert "balance" in run.closing_line
    simulator.top_up(60)
    last = tool.harvest(simulator.url, notes)
    assert last.code == 0, last.text
    assert (simulator.charged, simulator.charged_twice) == (160, [])
    assert sorted(tool.saved()) == sorted(tool.note_ids(160))


def test_no_call_starts_after_the_first_303(tool: Tool) -> None:
    workers = 4
    refused: list[float] = []

    async def answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth <= 50:
            return upstream.reply(0, {"noteId": note_id})
        refused.append(time.monotonic())
        return upstream.reply(303)

    upstream = tool.upstream(answer)
    run = tool.harvest(upstream.url, tool.notes(500), "--workers", str(workers))
    assert run.code == 3, run.text
    assert len(tool.saved()) == 50
    # What was on its way when the refusal came: never more than the other workers' calls.
    late = [when for when, _ in upstream.starts if when > refused[0]]
    assert len(late) <= workers - 1
    assert upstream.calls <= 50 + workers
    assert tool.status()["queued"] == 450
