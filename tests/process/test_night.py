"""A whole night in small: thousands of notes, quotas, a second run that has nothing to do."""

from __future__ import annotations

from tests.process.tool import Tool


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
