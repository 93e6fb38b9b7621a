"""A warm start is a process as any other, only sooner."""

from __future__ import annotations

import os
import signal

from tests.process.tool import Tool


def test_a_fork_is_killed_stopped_and_looked_at_as_any_process(tool: Tool) -> None:
    upstream = tool.upstream()
    one, other = (
        tool.start_harvest(upstream.url, tool.notes(2), "-o", f"{n}.jsonl") for n in range(2)
    )
    tool.until(lambda: upstream.calls == 4, "both runs to call")
    assert len({one.pid, other.pid, os.getpid()}) == 3
    assert os.getsid(one.pid) == one.pid
    one.signal(signal.SIGKILL)
    assert one.finish().code == -signal.SIGKILL
    assert other.is_running
    other.signal(signal.SIGTERM)
    upstream.open()
    assert other.finish().code == 143


def test_a_fork_has_its_own_folder_environment_and_words(tool: Tool) -> None:
    ends = [
        tool.run("status", "gone.jsonl", env=env, cwd=tool.logs)
        for env in (tool.env, {**tool.env, "HARVESTER_STATUS_RATE": "wrong"})
    ]
    cold = [
        tool.run("status", "gone.jsonl", env=env, cwd=tool.logs, cold=True)
        for env in (tool.env, {**tool.env, "HARVESTER_STATUS_RATE": "wrong"})
    ]
    assert ends == cold
    assert len({end.text for end in ends}) == 2
