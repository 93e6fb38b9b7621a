"""The Python face as notebooks and orchestrators use it: typed events, own errors, types."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harvester
from tests.process.tool import Tool

USERS_SCRIPT = """
import asyncio
from typing import assert_type

import harvester


def seen(event: harvester.Event) -> None:
    match event:
        case harvester.RunBegan(done=done, queued=queued):
            assert_type(done, int)
            assert_type(queued, int)
        case harvester.CallFinished(note_id=note_id, code=code, elapsed=elapsed):
            assert_type(note_id, str)
            assert_type(code, int | None)
            assert_type(elapsed, float)
        case harvester.Notice(text=text):
            assert_type(text, str)
        case harvester.Stopping(in_flight=in_flight):
            assert_type(in_flight, int)
        case harvester.RunEnded(summary=summary):
            assert_type(summary, harvester.Summary)


async def main() -> int:
    summary = await harvester.harvest(
        ["67f32a94000000001d02eb4a"], "notes.jsonl", rate="5/s", max_charged=10, on_event=seen
    )
    assert_type(summary.by_code["0"], int)
    return summary.exit_code


code: int = asyncio.run(main())
"""
WRONG = USERS_SCRIPT.replace('rate="5/s"', "rate=5").replace("max_charged=10", "max_charge=10")


# How many calls may be in flight once a run is to stop.
WORKERS = 20


def harvest(tool: Tool, url: str, ids: list[str], see: harvester.Observer) -> harvester.Summary:
    return asyncio.run(
        harvester.harvest(
            ids,
            tool.output,
            token=tool.token,
            base_url=url,
            rate="1000/s",
            workers=WORKERS,
            on_event=see,
        )
    )


def test_events_tell_the_whole_run_in_order(tool: Tool) -> None:
    simulator = tool.simulate("--daily-quota", "20")
    events: list[harvester.Event] = []
    summary = harvest(tool, simulator.url, tool.note_ids(30), events.append)
    assert summary.reason == "quota"
    first, last = events[0], events[-1]
    assert isinstance(first, harvester.RunBegan)
    assert (first.output, first.done, first.queued) == (str(tool.output), 0, 0)
    assert isinstance(last, harvester.RunEnded)
    assert last.summary == summary
    calls = [event for event in events if isinstance(event, harvester.CallFinished)]
    assert len(calls) == summary.calls
    assert sum(call.charged for call in calls) == summary.charged == 20
    (stopping,) = [event for event in events if isinstance(event, harvester.Stopping)]
    assert stopping.reason == "quota"


def test_an_observer_that_fails_stops_the_run_and_loses_nothing(tool: Tool) -> None:
    simulator = tool.simulate()
    ids = tool.note_ids(60)
    heard: list[harvester.Event] = []

    def fail(event: harvester.Event) -> None:
        heard.append(event)
        if len(heard) == 20:
            raise KeyError("the notebook's own mistake")

    with pytest.raises(KeyError, match="own mistake"):
        harvest(tool, simulator.url, ids, fail)
    assert len(heard) == 20
    assert 19 <= simulator.charged == len(tool.saved()) < 20 + WORKERS
    assert tool.status()["runs"][0]["reason"] == "cancelled"
    assert harvest(tool, simulator.url, ids, lambda _event: None).reason == "done"
    assert simulator.charged == 60
    assert simulator.charged_twice == []


def check(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says of a user's script that stands outside of the project."""
    path = folder / "script.py"
    path.write_text(script)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder / "cache", path],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "MYPYPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_types_serve_a_users_strict_mypy(tmp_path: Path) -> None:
    sound = check(USERS_SCRIPT, tmp_path)
    assert sound.returncode == 0, sound.stdout
    wrong = check(WRONG, tmp_path)
    assert wrong.returncode == 1
    assert 'has incompatible type "int"; expected "str"' in wrong.stdout
    assert 'Unexpected keyword argument "max_charge"' in wrong.stdout
