"""`status` as it is used: while a run is on, after it was killed, in a terminal, by a program."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.cells import cell_len

import harvester
from tests.process.tool import Tool, Upstream

REFERENCE = Path(harvester.__file__).parent / "docs" / "reference.md"
# Its example begins so; its rows of a table say what may be null.
_SHAPE = re.compile(
    r'^```json\n(\{\n *"done".*?)^```\n\n(.*?)(?:\n\n|\Z)', re.DOTALL | re.MULTILINE
)
_KEY = re.compile(r"`(\w+)`")
CAN_SEE_LOCKS = Path("/proc/locks").exists()
CHINESE = "该笔记不存在或者已经被作者删除了"


async def refusing(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
    """Each third note is gone, each tenth call fails, and the 60th meets the quota."""
    if nth >= 60:
        return upstream.reply(303, message="quota")
    if int(note_id[7], 16) % 3 == 0:
        return upstream.reply(404, message=f"{CHINESE}\x1b[31m {note_id}")
    return upstream.reply(301) if nth % 10 == 0 else upstream.reply(0, {"noteId": note_id})


def typed(value: object) -> object:
    """A JSON value with its types in place of its values; a list is what its items have."""
    if isinstance(value, dict):
        return {key: typed(held) for key, held in value.items()}
    if isinstance(value, list):
        shapes = [typed(held) for held in value]
        return shapes[:1] if shapes and all(shape == shapes[0] for shape in shapes) else shapes
    return type(value).__name__


def differences(told: object, real: object, nullable: set[str], key: str = "") -> list[str]:
    """Where the real value is not of the shape told; a number told with a point may lack it."""
    if key == "byCode":
        assert isinstance(real, dict)
        return [f"byCode.{code}" for code, many in real.items() if type(many) is not int]
    if isinstance(told, dict) and isinstance(real, dict):
        gone = [f"{key}.{name}" for name in told.keys() ^ real.keys()]
        shared = told.keys() & real.keys()
        return gone + [d for n in shared for d in differences(told[n], real[n], nullable, n)]
    if isinstance(told, list) and isinstance(real, list):
        return [d for item in real for d in differences(told[0], item, nullable, key)]
    if real is None:
        return [] if key in nullable else [f"{key} is null"]
    fits = type(told) is type(real) or (type(told) is float and type(real) is int)
    return [] if fits else [f"{key} is {typed(real)}"]


def told_shape() -> tuple[dict[str, Any], set[str]]:
    """The reference's example of `status --json`, and the keys that it says may be null."""
    match = _SHAPE.search(REFERENCE.read_text("utf-8"))
    assert match is not None, "the reference lacks the shape of `status --json`"
    rows = [row for row in match[2].splitlines() if "null" in row]
    return json.loads(match[1]), {key for row in rows for key in _KEY.findall(row)}


def test_the_json_has_the_shape_that_the_reference_tells(tool: Tool) -> None:
    told, nullable = told_shape()
    upstream = tool.upstream(refusing)
    caps = ("--max-charged-daily", "5000")
    assert tool.harvest(upstream.url, tool.notes(100), *caps).code == 3
    ways = (("--price", "0.05"), (), ("--rate", "3/m"), ("--day-timezone", "UTC"))
    shown = [json.loads(tool.run("status", tool.output, "--json", *way).out) for way in ways]
    for status in shown:
        assert differences(told, status, nullable) == []
        assert list(status) == list(told)
    full = shown[0]
    # With a price and a cap, nothing of the forecast is left open.
    assert None not in full["forecast"].values()
    assert None not in (full["price"], full["cost"], full["costToday"])
    assert None not in (full["runs"][0] | {"account": 0, "badExample": 0}).values()
    assert full["failures"][0]["reason"] == f"gone: {CHINESE}\\x1b[31m …"


def test_a_run_that_is_on_is_told_from_one_that_was_killed(tool: Tool) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(20), "--workers", "4")
    tool.until(lambda: upstream.calls >= 4, "calls in flight")
    status = tool.status()
    (told,) = status["runs"]
    assert told["state"] == ("running" if CAN_SEE_LOCKS else "unknown")
    assert (status["queued"], status["inFlight"], told["finishedAt"]) == (20, 4, None)
    run.signal(signal.SIGKILL)
    run.finish()
    assert tool.status()["runs"][0]["state"] == "unknown"
    with closing(sqlite3.connect(f"{tool.output}.ledger")) as db, db:
        db.execute("UPDATE claim SET until = 0")
    status = tool.status()
    assert status["runs"][0]["state"] == ("killed" if CAN_SEE_LOCKS else "unknown")
    assert status["inFlight"] == 4
    upstream.open()
    assert tool.harvest(upstream.url).code == 0
    status = tool.status()
    assert [told["state"] for told in status["runs"]] == ["killed", "finished"]
    assert [told["unanswered"] for told in status["runs"]] == [4, 0]
    assert (status["unanswered"], status["inFlight"], status["forecast"]["notes"]) == (4, 0, 0)


def test_a_look_keeps_no_run_out(tool: Tool) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(5))
    tool.until(lambda: upstream.calls >= 1, "a call in flight")
    run.signal(signal.SIGKILL)
    run.finish()
    # The run is open, so each of these looks for the lock while others try to take it.
    looks = [tool.start("status", tool.output, env=tool.env) for _ in range(3)]
    upstream.open()
    runs = [tool.harvest(upstream.url) for _ in range(2)]
    assert [run.code for run in runs] == [0, 0]
    assert [look.finish().code for look in looks] == [0, 0, 0]


def test_in_a_pipe_lines_are_whole_and_bare(tool: Tool) -> None:
    upstream = tool.upstream(refusing)
    tool.harvest(upstream.url, tool.notes(30))
    shown = tool.run("status", tool.output, env={**tool.env, "COLUMNS": "30"})
    assert shown.code == 0, shown.text
    assert f"gone: {CHINESE}\\x1b[31m …\n" in shown.out
    assert "\x1b" not in shown.out


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color"}])
def test_in_a_terminal_no_line_is_wider_than_it(
    tool: Tool, columns: int, more: dict[str, str]
) -> None:
    upstream = tool.upstream(refusing)
    tool.harvest(upstream.url, tool.notes(30))
    shown = in_terminal(["status", str(tool.output)], columns, {**tool.env, **more})
    assert "Forecast" in shown
    assert "\x1b" not in shown
    lines = shown.split("\r\n")
    assert max(map(cell_len, lines)) <= columns
    assert CHINESE in re.sub(r"\s", "", shown)


def in_terminal(args: list[str], columns: int, env: dict[str, str]) -> str:
    """What a command prints on a terminal of such a width."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "harvester", *args]
    shown = b""
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL, env=env) as process:
        os.close(theirs)
        while chunk := _read(ours):
            shown += chunk
        assert process.wait(60) == 0
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    """Some bytes; none at the end, which a terminal on Linux tells by an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_what_would_be_can_be_asked(tool: Tool) -> None:
    upstream = tool.upstream(refusing)
    tool.harvest(upstream.url, tool.notes(1000))
    asked = ("--rate", "60/m", "--max-charged-daily", "1000000", "--day-timezone", "UTC")
    shown = tool.run("status", tool.output, *asked, "--price", "0.05")
    assert shown.code == 0, shown.text
    assert "at 1/s, as --rate says" in shown.out
    assert "at most 1,000,000 charged a day" in shown.out
    assert "like all times here in UTC" in shown.out
    assert "daily quota ended the last run" in shown.out


def test_wrong_questions_and_ledgers_are_refused_in_plain_words(tool: Tool) -> None:
    tool.harvest(tool.upstream(refusing).url, tool.notes(2))
    (tool.folder / "empty.jsonl.ledger").touch()
    cases = [
        ((tool.output, "--rate", "fast"), "5/s"),
        ((tool.output, "--rate", "auto"), "is not like 5/s"),
        ((tool.output, "--max-charged-daily", "0"), "--max-charged-daily"),
        ((tool.output, "--day-timezone", "Mars/Base"), "Asia/Shanghai"),
        (("none.jsonl",), "name the OUTPUT of an earlier run"),
        (("empty.jsonl",), "start a run"),
    ]
    runs = [(tool.start("status", *args), words) for args, words in cases]
    for run, words in runs:
        ended = run.finish()
        assert ended.code == 2, ended.text
        assert words in ended.err
        assert "Traceback" not in ended.text
