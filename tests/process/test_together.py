"""Runs side by side, runs without a terminal, runs from Python."""

from __future__ import annotations

import json
import signal

from tests.process.tool import Tool

TWO_AND_ONE_LOCKED = """
import asyncio, json, sys
from msgspec.structs import asdict
import harvester

async def main(url, token, ids):
    how = {"token": token, "base_url": url, "rate": "1000/s", "backoff_base": 0.01}
    how["no_account"] = True
    one, two, locked = await asyncio.gather(
        harvester.harvest(ids[:20], "one.jsonl", **how),
        harvester.harvest(iter(ids[10:40]), "two.jsonl", **how),
        harvester.harvest(ids, "held.jsonl", **how),
        return_exceptions=True,
    )
    again = await harvester.harvest((), "one.jsonl", **how)
    print(json.dumps({
        "one": {**asdict(one), "by_code": dict(one.by_code)},
        "two": two.done,
        "again": [again.reason, again.exit_code, again.calls, again.done],
        "locked": [isinstance(locked, harvester.HarvesterError), locked.exit_code, str(locked)],
    }))

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
"""

CANCELLED = """
import asyncio, sys
import harvester

async def main(url, token, ids):
    task = asyncio.create_task(harvester.harvest(
        ids, "notes.jsonl", token=token, base_url=url, rate="1000/s", workers=3))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    task.cancel()
    print("cancelled", flush=True)
    try:
        await task
    except asyncio.CancelledError:
        print("drained", flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
"""


def test_an_output_is_held_by_one_run_at_a_time(tool: Tool) -> None:
    upstream = tool.upstream()
    notes = tool.notes(20)
    first = tool.start_harvest(upstream.url, notes, "--workers", "2")
    tool.until(lambda: upstream.calls == 2, "two calls")
    second = tool.start_harvest(upstream.url, notes)
    retry = tool.start("retry", tool.output, env=tool.env)
    for refused in (second.finish(), retry.finish()):
        assert refused.code == 75, refused.text
        assert str(tool.output) in refused.err
    status = tool.status()
    assert (status["queued"], status["done"], status["inFlight"] >= 2) == (20, 0, True)
    assert status["runs"][0]["finishedAt"] is None
    assert first.is_running
    assert upstream.calls == 2
    upstream.open()
    ended = first.finish()
    assert ended.code == 0, ended.text
    assert upstream.calls == 20


def test_a_run_as_cron_starts_it(tool: Tool) -> None:
    simulator = tool.simulate("--fail", "301=0.1", "--missing", "0.2")
    elsewhere = tool.folder / "elsewhere"
    (elsewhere / "in").mkdir(parents=True)
    (elsewhere / "in" / "ids.txt").write_text("\n".join(tool.note_ids(60)))
    (elsewhere / "token").write_text(tool.token + "\n")
    ends = []
    # What is gone is news only once.
    for shell, code in (('exec "$@" <&-', 1), ('exec "$@" </dev/null', 0)):
        run = tool.run(
            *("run", "in/ids.txt", "-o", "notes.jsonl", "--base-url", simulator.url),
            *("--token-file", "token", *tool.fast),
            env=tool.env,
            cwd=elsewhere,
            shell=shell,
        )
        assert run.code == code, run.text
        assert "\x1b" not in run.text
        assert "\r" not in run.text
        ends.append(run.closing_line)
    page = simulator.charges()
    assert all(
        f"{page['charged']} done, 0 left, {60 - page['charged']} gone" in end for end in ends
    )
    assert page["charged"] == len(tool.saved(elsewhere / "notes.jsonl")) > 30
    assert page["byCode"]["404"] == 60 - page["charged"]
    assert page["chargedTwice"] == []
    shown = tool.run("status", "notes.jsonl", env=tool.env, cwd=elsewhere, shell='exec "$@" <&-')
    assert shown.code == 0, shown.text
    assert "\x1b" not in shown.text


def test_harvests_from_python(tool: Tool) -> None:
    upstream = tool.upstream()
    simulator = tool.simulate()
    held = tool.start(
        *("run", tool.notes(1), "-o", tool.folder / "held.jsonl", "--base-url", upstream.url)
    )
    tool.until(lambda: upstream.calls == 1, "a call")
    ids = tool.note_ids(40)
    script = tool.run(
        simulator.url, tool.token, *ids, python=("-c", TWO_AND_ONE_LOCKED), env=tool.env
    )
    assert script.code == 0, script.text
    assert script.err == ""
    told = json.loads(script.out)
    one = told["one"]
    assert (one["reason"], one["exit_code"]) == ("done", 0)
    assert (one["done"], one["queued"], one["failed"]) == (20, 0, 0)
    assert (one["charged"], one["unanswered"], one["calls"]) == (20, 0, 20)
    assert one["by_code"] == {"0": 20}
    assert told["two"] == 30
    assert told["again"] == ["done", 0, 0, 20]
    assert told["locked"][:2] == [True, 75]
    assert str(tool.folder / "held.jsonl") in told["locked"][2]
    assert sorted(tool.saved(tool.folder / "two.jsonl")) == ids[10:]
    upstream.open()
    assert held.finish().code == 0


def test_cancelling_a_harvest_from_python_drains_it(tool: Tool) -> None:
    upstream = tool.upstream()
    pipe = tool.folder / "go"
    script = tool.start(
        *(upstream.url, tool.token, *tool.note_ids(30)),
        python=("-c", CANCELLED),
        env=tool.env,
        shell=f'mkfifo {pipe}; exec "$@" <{pipe}',
    )
    tool.until(pipe.exists, "the pipe")
    with pipe.open("w") as go:
        tool.until(lambda: upstream.calls == 3, "three calls")
        go.write("go\n")
    script.says("cancelled")
    assert "drained" not in script.out
    upstream.open()
    ended = script.finish()
    assert ended.code == 0, ended.text
    assert ended.out.split() == ["cancelled", "drained"]
    assert sorted(tool.saved()) == sorted(note_id for _, note_id in upstream.starts)
    assert upstream.calls == 3
    assert tool.status()["runs"][0]["finishedAt"] is not None


def test_nohup_is_heeded(tool: Tool) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(
        upstream.url, tool.notes(3), "--workers", "1", shell='trap "" HUP; exec "$@"'
    )
    tool.until(lambda: upstream.calls == 1, "a call")
    run.signal(signal.SIGHUP)
    upstream.open()
    ended = run.finish()
    assert ended.code == 0, ended.text
    assert len(tool.saved()) == 3
