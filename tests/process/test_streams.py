"""Standard output and error as they may be: closed, full, unread, of another script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.process.tool import Tool

MANY = 3
# So that nobody who does not read is waited for, at the end, for as long as people would be.
IMPATIENT = """
from harvester.observe.outlet import Outlet
Outlet.patience = 0.5
from harvester.__main__ import main
main()
"""
EMOJI = "spring \N{CHERRY BLOSSOM} \x1b[31mred"


def practice(tool: Tool, *args: str | Path, shell: str = "") -> tuple[int, str]:
    """A run against the simulator inside; gives its exit code, and all that it printed."""
    notes = tool.notes(MANY)
    started = tool.start(
        *("run", notes, *args, "-o", tool.output, "--simulate", *tool.fast), shell=shell
    )
    ended = started.finish()
    return ended.code, ended.text


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_hindrance(tool: Tool, closed: str) -> None:
    code, text = practice(tool, shell=f'exec "$@" {closed}')
    assert code == 0, text
    assert ("all done" in text) is (closed == "2>&-")
    assert len(tool.saved()) == MANY


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_what_a_stream_cannot_show_is_escaped(tool: Tool, encoding: str) -> None:
    notes = tool.write("ids.txt", [*tool.note_ids(MANY), EMOJI])
    output = tool.folder / f"{EMOJI}.jsonl"
    ended = tool.run(
        *("run", notes, "-o", output, "--simulate", *tool.fast),
        env={**tool.env, "PYTHONIOENCODING": encoding},
    )
    assert ended.code == 0, ended.text
    assert "all done" in ended.closing_line
    assert r"\x1b[31mred" in ended.out
    assert "\x1b" not in ended.text


def test_what_is_refused_is_named_as_a_stream_can_show_it(tool: Tool) -> None:
    refused = tool.run(
        *("run", tool.folder / f"{EMOJI}.txt", "-o", tool.output, "--simulate"),
        env={**tool.env, "PYTHONIOENCODING": "ascii"},
    )
    assert refused.code == 2, refused.text
    assert "\x1b" not in refused.text


def test_where_standard_output_is_full_the_end_is_told_elsewhere(tool: Tool) -> None:
    code, text = practice(tool, shell='exec "$@" >/dev/full')
    assert code == 0
    assert "standard output cannot be written: No space left on device" in text
    assert "all done" in text
    looked = tool.run("status", tool.output, env=tool.env, shell='exec "$@" >/dev/full')
    assert looked.code == 74
    assert "standard output cannot be written" in looked.err


def test_a_stream_that_leads_into_output_is_refused(tool: Tool) -> None:
    tool.write("notes.jsonl", ["as it was"])
    code, text = practice(tool, shell='exec "$@" >>notes.jsonl')
    assert code == 2
    assert "standard output and OUTPUT are the same file" in text
    assert tool.output.read_text() == "as it was\n"


@pytest.mark.parametrize("command", ["run", "status"])
def test_where_whoever_read_has_gone_it_ends_as_a_pipe_does(tool: Tool, command: str) -> None:
    practice(tool)
    args = ("run", "-o", tool.output, "--simulate") if command == "run" else (command, tool.output)
    ended = tool.run(*args, env=tool.env, shell='("$@"; echo $? >code) | :')
    assert (tool.folder / "code").read_text() == "141\n"
    assert ended.text == ""


def test_streams_and_a_log_that_nobody_reads_hold_no_run_up(tool: Tool) -> None:
    many = 1000
    pipes = [tool.folder / name for name in ("shown", "log")]
    for pipe in pipes:
        os.mkfifo(pipe)
    unread = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for pipe in pipes]
    ended = tool.run(
        *("run", tool.notes(many), "-o", tool.output, "--simulate", *tool.fast),
        *("-v", "--log-file", pipes[1]),
        shell='exec "$@" >shown 2>&1',
        python=("-c", IMPATIENT),
    )
    assert ended.code == 0
    assert sorted(tool.saved()) == sorted(tool.note_ids(many))
    for file in unread:
        assert b" save code=0 " in os.read(file, 4096)
        os.close(file)


def test_names_from_outside_are_printed_without_control_characters(tool: Tool) -> None:
    practice(tool)
    page = tool.folder / f"{EMOJI}.html"
    told = tool.run("report", tool.output, "-o", page, env=tool.env)
    assert told.code == 0, told.text
    assert page.exists()
    assert r"\x1b[31mred.html" in told.out
    assert "\x1b" not in told.text


def test_lines_left_out_are_told_to_the_quiet_the_log_and_the_status(tool: Tool) -> None:
    notes = tool.write("ids.txt", [*tool.note_ids(MANY), "nonsense", "more \x1b nonsense"])
    told = tool.run(
        *("run", notes, "-o", tool.output, "--simulate", "-q", "--log-file", "log", *tool.fast)
    )
    assert (told.code, told.out) == (0, "")
    assert told.err.startswith("harvester: warning: 2 lines of input left out; the first: ")
    assert len(told.err.splitlines()) == 1
    assert f"{notes.name}:4: " in told.err
    log = (tool.folder / "log").read_text()
    assert log.count(" left out: ") == 2
    assert r"more \x1b nonsense" in log
    assert tool.status()["runs"][-1]["badLines"] == 2
    assert "2 lines of input" in tool.run("status", tool.output, env=tool.env).out
