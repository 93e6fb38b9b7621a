"""Columns of an input travel into OUTPUT, over stops, retries and refreshes."""

from __future__ import annotations

import json
from typing import Any

from tests.process.tool import Tool


def inputs_of(tool: Tool) -> dict[str, Any]:
    """What came along on the newest line of each note."""
    lines = map(json.loads, tool.output.read_text("utf-8").splitlines())
    return {line["noteId"]: line.get("input") for line in lines}


def test_columns_are_in_the_line_after_a_stop_and_a_resume(tool: Tool) -> None:
    ids = tool.note_ids(40)
    rows = [f"{note_id},{number},李 {number}" for number, note_id in enumerate(ids)]
    table = tool.write("ids.csv", ["noteId,campaign,owner", *rows])
    simulator = tool.simulate("--fail", "301=0.2", "--daily-quota", "25")
    stopped = tool.harvest(simulator.url, table, "--carry", "owner,campaign")
    assert stopped.code == 3, stopped.text
    simulator.new_day()
    assert tool.harvest(simulator.url).code == 0
    expected = {note: {"owner": f"李 {n}", "campaign": str(n)} for n, note in enumerate(ids)}
    assert inputs_of(tool) == expected
    assert tool.verify().code == 0
    assert simulator.charged_twice == []


def test_a_refresh_carries_what_is_named_now(tool: Tool) -> None:
    (note_id,) = tool.note_ids(1)
    simulator = tool.simulate()
    first = tool.write("first.jsonl", [json.dumps({"noteId": note_id, "n": [1, None]})])
    assert tool.harvest(simulator.url, first, "--carry", "all").code == 0
    assert inputs_of(tool) == {note_id: {"n": [1, None]}}
    again = tool.write("again.jsonl", [json.dumps({"noteId": note_id, "n": 2})])
    assert tool.harvest(simulator.url, again, "--carry", "n", "--refresh", "0s").code == 0
    assert inputs_of(tool) == {note_id: {"n": 2}}
    assert len(tool.saved()) == 2


def test_a_column_that_is_missing_stops_before_the_first_call(tool: Tool) -> None:
    table = tool.write("ids.csv", ["noteId,campaign", f"{tool.note_ids(1)[0]},x"])
    simulator = tool.simulate()
    refused = tool.harvest(simulator.url, table, "--carry", "owner")
    assert refused.code == 2
    assert "ids.csv:1: no column owner to carry; columns found: noteId, campaign" in refused.err
    assert simulator.calls == 0


def test_failed_notes_go_back_through_a_pipe_with_what_they_carried(tool: Tool) -> None:
    ids = tool.note_ids(30)
    table = tool.write("ids.csv", ["noteId,campaign", *(f"{note},spring" for note in ids)])
    broken = tool.simulate("--missing", "1")
    failed = tool.harvest(broken.url, table, "--carry", "campaign", "--max-calls", "15")
    assert failed.code == 7, failed.text
    listed = tool.run("failures", tool.output, "--format", "ids", env=tool.env).out
    assert len(listed.split()) == 15
    sound = tool.simulate()
    piped = tool.harvest(sound.url, "-", "--retry-failed", stdin=listed.encode())
    assert piped.code == 0, piped.text
    assert inputs_of(tool) == {note: {"campaign": "spring"} for note in ids}
