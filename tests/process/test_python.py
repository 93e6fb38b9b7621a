"""The Python face as notebooks and orchestrators use it: typed events, own errors."""

from __future__ import annotations

import asyncio

import pytest

import harvester
from tests.process.tool import Tool

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
