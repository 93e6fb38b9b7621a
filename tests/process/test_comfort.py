"""Help, hints, completion, and what a terminal shows: colours, widths, Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import pyte
import pytest
from aiohttp import web
from click.testing import CliRunner
from rich.cells import cell_len

from harvester.cli import cli
from harvester.cli.man import pages
from harvester.cli.params import Command
from harvester.sides import Side
from tests.process.tool import TOKEN, Forked, Tool, Upstream, until
from tests.process.warm import Warm

COMMANDS = {
    name: command for name, command in cli.load_all().items() if isinstance(command, Command)
}
EXAMPLES = [(name, text) for name, command in COMMANDS.items() for text in command.examples]
NOWHERE = "http://127.0.0.1:9"
CTRL_C = b"\x03"


class Terminal:
    """A command on a terminal of its own, and what is to be seen there."""

    def __init__(
        self, warm: Warm, args: Sequence[str], cwd: Path, env: Mapping[str, str], columns: int
    ) -> None:
        self._screen = pyte.Screen(columns, 24)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.set_blocking(self._ours, False)
        env = {"TERM": "xterm-256color", **env}
        self._process = Forked(warm, args, env, cwd, [theirs] * 3)
        os.close(theirs)

    def _read(self) -> bool:
        """Take in what was written; gives whether more may come."""
        try:
            while text := os.read(self._ours, 1 << 16):
                self.written += text
                self._stream.feed(text)
        except BlockingIOError:
            return True
        except OSError:  # the other end is closed
            return False
        return False

    @property
    def lines(self) -> list[str]:
        """What is on the screen, less what is blank."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def text(self) -> str:
        """The same as one line: what was wrapped at the edge is whole again."""
        return " ".join("".join(self._screen.display).split())

    def shows(self, condition: Callable[[], bool], what: str) -> None:
        until(lambda: (self._read() and condition()) or self._process.poll() is not None, what)
        assert condition(), "\n".join(self.lines)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def finish(self) -> int:
        until(lambda: not self._read(), "the end")
        return self._process.wait(60)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(60)
        os.close(self._ours)


Opener = Callable[..., Terminal]


@pytest.fixture
def terminal(tool: Tool, warm: Warm) -> Iterator[Opener]:
    """Opens terminals in the tool's folder."""
    opened: list[Terminal] = []

    def open_one(*args: str | Path, columns: int = 80, **env: str) -> Terminal:
        env = {**tool.env, "JUSTONEAPI_TOKEN": TOKEN, **env}
        one = Terminal(warm, [*map(str, args)], tool.folder, env, columns)
        opened.append(one)
        return one

    yield open_one
    for one in opened:
        one.end()


# Help


@pytest.mark.parametrize("columns", [40, 80])
def test_help_fits_the_terminal_and_cuts_nothing(tool: Tool, columns: int) -> None:
    env = {**tool.env, "COLUMNS": str(columns)}
    runs = [tool.start(name, "--help", env=env) for name in COMMANDS]
    runs.append(tool.start("-h", env=env))
    for run in runs:
        ended = run.finish()
        assert ended.code == 0, ended.text
        assert max(map(cell_len, ended.out.splitlines())) < columns, ended.out
        # What may be repeated ends with `]...` or `T...`; any other dots would be a cut.
        assert not re.search(r"(?<![\]A-Z])\.\.\.|…|\(dynamic\)|None|Sentinel|<=x", ended.out), (
            ended.out
        )


def test_a_page_of_the_manual_is_paged_on_a_terminal_alone(terminal: Opener, tool: Tool) -> None:
    on_screen = terminal("help", "changelog", PAGER="grep -n Unreleased")
    assert on_screen.finish() == 0
    assert on_screen.lines == ["3:## Unreleased"]
    assert tool.run("help", "changelog").out.startswith("# Changelog")


def test_every_option_and_argument_says_what_it_is() -> None:
    for name, command in cli.load_all().items():
        for param in command.params:
            assert getattr(param, "help", None), f"{name}: {param.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    assert COMMANDS[name].examples


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_every_example_is_a_command_that_is_understood(name: str, example: str) -> None:
    found = re.search(r"\bharvester ([^|>\"()]+)", example)
    assert found is not None
    _, command, args = cli.resolve_command(click.Context(cli), found[1].split())
    assert isinstance(command, click.Command)
    command.make_context(name, args)


# Hints


def test_what_was_probably_meant_is_said(tool: Tool) -> None:
    notes, output = tool.notes(1), "o.jsonl"
    cases = [
        (("staus", output), "Did you mean 'status'? See `harvester --help`."),
        (("run", notes, "-o", output, "--worker", "1"), "--workers"),
        (("run", notes, "-o", output, "--region", "Globl"), "Did you mean 'global'?"),
        (("run", notes, "-o", output, "--progress", "plane"), "Did you mean 'plain'?"),
        (
            ("run", notes, "-o", output, "--endpoint", "xiaohongshu/notedetail/v3"),
            "did you mean xiaohongshu/note-detail/v3?",
        ),
        (("frobnicate",), "See `harvester --help`."),
        (("completion", "zhs"), "Did you mean 'zsh'? See `harvester completion --help`."),
    ]
    for run, words in [(tool.start(*args), words) for args, words in cases]:
        ended = run.finish()
        assert ended.code == 2, ended.text
        assert words in ended.err
        assert ended.out == ""
        assert len(ended.err.splitlines()) == 1


def test_alone_the_command_shows_its_help_and_no_error(tool: Tool) -> None:
    ended = tool.run()
    assert ended.code == 2
    assert ended.text.startswith("Usage: harvester")
    assert "error" not in ended.text


def test_without_a_token_it_is_said_where_one_is_got_and_put(tool: Tool) -> None:
    ended = tool.run("run", tool.notes(1), "-o", "o.jsonl", env=tool.env)
    assert ended.code == 2
    lines = ended.err.splitlines()
    assert len(lines) == 3
    for line, words in zip(
        lines, ("justoneapi.com", "JUSTONEAPI_TOKEN=", "--simulate"), strict=True
    ):
        assert words in line
    assert "--token-file" in ended.err


def test_a_token_file_that_others_can_read_is_warned_of_and_used(tool: Tool) -> None:
    simulator = tool.simulate()
    tokens = tool.write("my token", [TOKEN])
    args = ("run", tool.notes(1), "--base-url", simulator.url, "--token-file", tokens)
    for mode, warnings in ((0o644, 1), (0o640, 1), (0o600, 0), (0o400, 0)):
        tokens.chmod(mode)
        ended = tool.run(*args, "-o", f"{mode}.jsonl", *tool.fast, env=tool.env)
        assert ended.code == 0, ended.text
        told = [line for line in ended.err.splitlines() if "warning" in line]
        assert len(told) == warnings
        assert all(f"chmod 600 '{tokens}'" in line for line in told)
        assert TOKEN not in ended.text


# Completion


@pytest.mark.parametrize(
    ("shell", "check"),
    [("bash", ("bash", "-n")), ("zsh", ("zsh", "-n")), ("fish", ("fish", "--no-execute"))],
)
def test_the_completion_script_is_one_of_its_shell(
    tool: Tool, shell: str, check: tuple[str, ...]
) -> None:
    ended = tool.run("completion", shell)
    assert ended.code == 0, ended.text
    assert ended.out.splitlines()[-1].startswith("# Install: ")
    assert ended.err == ""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tool.write("script", ended.out.splitlines())
    checked = subprocess.run([*check, script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_files_are_completed_without_those_beside_an_output(tool: Tool) -> None:
    for name in ("notes.jsonl", "my notes.txt", *(f"notes.jsonl{side}" for side in Side)):
        tool.write(name, [])
    (tool.folder / "nights").mkdir()
    script = tool.write("script", tool.run("completion", "bash").out.splitlines())
    says = tool.write("says", ["#!/bin/sh", "echo file,n"])
    says.chmod(0o755)
    asked = f'source {script}; _harvester_completion {says} 2>/dev/null; echo "${{COMPREPLY[*]}}"'
    told = subprocess.run(
        ["/bin/bash", "-c", asked], cwd=tool.folder, capture_output=True, text=True, check=True
    )
    assert set(told.stdout.split()) == {"notes.jsonl", "nights"}


def test_help_begins_with_what_is_needed_and_ends_with_what_few_want() -> None:
    shown = CliRunner().invoke(cli, ["run", "--help"]).output
    titles = re.findall(r"^(\w[\w ]+):$", shown, re.MULTILINE)
    assert titles[:2] == ["Arguments", "Input and output"]
    assert titles[-3:] == ["Other options", "More than one machine", "Examples"]
    assert CliRunner().invoke(cli, ["-V"]).output == CliRunner().invoke(cli, ["--version"]).output
    assert CliRunner().invoke(cli, ["run", "--help"], env={"COLUMNS": "1"}).exit_code == 0


def test_the_manual_pages_say_what_help_says() -> None:
    made = dict(pages())
    assert set(made) == {"harvester.1", *(f"harvester-{name}.1" for name in COMMANDS)}
    for page, text in made.items():
        name = page.removesuffix(".1").replace("-", " ")
        words = [*name.split()[1:], "--help"]
        shown = CliRunner().invoke(cli, words, env={"COLUMNS": "73"}).output
        told = text.replace(r"\e", "\\").replace(r"\-", "-").replace(r"\(aq", "'")
        plain = " ".join(told.replace(r"\&", "").split())
        for said in re.findall(r"[^\s\\]{2,}", shown.partition("\n\n")[2]):
            assert said.rstrip(":").upper() in plain.upper(), (page, said)


def test_a_reader_of_manual_pages_finds_nothing_wrong(tmp_path: Path) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff here")
    page = tmp_path / "run.1"
    page.write_text(dict(pages())["harvester-run.1"], "utf-8")
    read = subprocess.run(
        [groff, "-man", "-Tascii", "-ww", "-z", page], capture_output=True, text=True, check=True
    )
    assert read.stderr == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("harvester run --end", {"plain,--endpoint"}),
        ("harvester sta", {"plain,status"}),
        ("harvester run --region ", {"plain,global", "plain,cn"}),
        ("harvester run --endpoint xiaohongshu-pgy/n", {"plain,xiaohongshu-pgy/note-detail/v1"}),
        ("harvester run --day-timezone Asia/Shan", {"plain,Asia/Shanghai"}),
        ("harvester run id", {"file,id"}),
        ("harvester run -o no", {"file,no"}),
        ("harvester failures --format i", {"plain,ids"}),
        ("harvester completion f", {"plain,fish"}),
    ],
)
def test_a_shell_is_told_how_words_go_on(tool: Tool, words: str, found: set[str]) -> None:
    env = {
        **tool.env,
        "_HARVESTER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    ended = tool.run(env=env)
    assert ended.code == 0, ended.text
    assert set(ended.out.splitlines()) == found


# Terminals


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_ctrl_c_says_what_is_waited_for_and_the_bar_goes_without_a_trace(
    tool: Tool, terminal: Opener, columns: int
) -> None:
    upstream = tool.upstream()
    args = ("run", tool.notes(50), "-o", tool.output, "--base-url", upstream.url, *tool.fast)
    run = terminal(*args, "--workers", "4", columns=columns)
    run.shows(lambda: "· 4 in flight" in run.text, "a bar with four calls")
    bar = [line for line in run.lines if "━" in line or " · " in line]
    assert len(bar) == 2
    assert max(map(cell_len, bar)) < columns
    run.type(CTRL_C)
    run.shows(lambda: "once more stops at once." in run.text, "what is waited for")
    assert "SIGINT: sending nothing new, waiting for 4 calls in flight (the oldest sent" in run.text
    assert "a call may take up to 2 min 0 s)" in run.text
    run.shows(lambda: "━" in run.lines[-2], "the bar again")
    assert sum("━" in line for line in run.lines) == 1
    upstream.open()
    assert run.finish() == 130
    assert "━" not in run.text
    assert "^C" not in run.text
    assert len(tool.saved()) == 4


def test_the_bar_keeps_to_two_lines_as_it_grows(tool: Tool, terminal: Opener) -> None:
    run = terminal(
        "run", tool.notes(3000), "-o", tool.output, "--simulate", "--rate", "500/s", columns=40
    )
    seen: set[str] = set()

    def look() -> bool:
        bars = [n for n, line in enumerate(run.lines) if "━" in line]
        assert len(bars) <= 1
        if bars:
            assert bars[0] == len(run.lines) - 2
            seen.add(run.text)
        return len(seen) > 6

    run.shows(look, "seven pictures of the bar")
    run.type(CTRL_C)
    assert run.finish() == 130
    assert "━" not in run.text


def test_verbose_lines_stay_above_the_bar_and_whole(tool: Tool, terminal: Opener) -> None:
    run = terminal(
        "run", tool.notes(30), "-o", tool.output, "--simulate", "--rate", "20/s", "-v", columns=100
    )
    assert run.finish() == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", run.written).decode()
    told = [line for line in re.split(r"[\r\n]+", text) if " save code=0 attempt=" in line]
    assert len(told) == 30
    assert all(line.endswith("success") for line in told)
    assert "━" not in run.text


def test_what_is_said_on_a_terminal_is_broken_between_words(terminal: Opener, tool: Tool) -> None:
    name = tool.write("a-list-that-names-nothing.txt", ["# a comment"]).name
    run = terminal("run", name, "-o", tool.output, "--simulate", "--progress", "none", columns=40)
    assert run.finish() == 0
    assert f"harvester: input:\n{name} names no\nnote\n" in "\n".join(run.lines)
    failed = terminal("status", "none.jsonl", columns=40)
    assert failed.finish() == 2
    assert "name the OUTPUT of an earlier run, in the right folder." in " ".join(failed.lines)
    url = f"http://127.0.0.1:{tool.free_port()}"
    told = terminal("account", "--base-url", url, JUSTONEAPI_TOKEN="t" * 20, columns=40)
    assert told.finish() == 6
    assert "whether the token is good cannot be" in told.lines


def test_a_watched_status_is_drawn_again_until_the_run_ends(tool: Tool, terminal: Opener) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(5))
    until(lambda: upstream.calls >= 5, "calls in flight")
    watched = terminal("status", tool.output, "--watch", columns=60)
    watched.shows(lambda: "· in flight" in watched.text, "calls in flight")
    left = terminal("status", tool.output, "--watch")
    left.shows(lambda: "· in flight" in left.text, "the same")
    left.type(CTRL_C)
    assert left.finish() == 130
    upstream.open()
    assert run.finish().code == 0
    assert watched.finish() == 0
    assert "done (exit 0)" in watched.text
    assert "done 5" in watched.text
    assert max(map(cell_len, watched.lines)) < 60
    assert b"\x1b[?25h" in watched.written
    refused = tool.run("status", tool.output, "--watch")
    assert (refused.code, "--watch draws on a terminal" in refused.err) == (2, True)


def test_no_color_is_kept_to(tool: Tool, terminal: Opener) -> None:
    upstream = tool.upstream()
    args = ("run", tool.notes(5), "-o", tool.output, "--base-url", upstream.url, *tool.fast)
    run = terminal(*args, NO_COLOR="1")
    run.shows(lambda: "5 in flight" in run.text, "the bar")
    upstream.open()
    assert run.finish() == 0
    colours = re.findall(rb"\x1b\[(?:\d+;)*(?:[34]\d|9\d|10\d)(?:;\d+)*m", run.written)
    assert colours == []


def test_a_dumb_terminal_gets_lines_without_escape_codes(tool: Tool, terminal: Opener) -> None:
    for form in ("auto", "bar"):
        run = terminal(
            *("run", tool.notes(5), "-o", f"{form}.jsonl", "--simulate", "--progress", form),
            TERM="dumb",
        )
        assert run.finish() == 0
        assert b"\x1b" not in run.written
        assert "5 notes saved" in run.text


def test_a_pipe_gets_lines_without_escape_codes(tool: Tool) -> None:
    ended = tool.run(*("run", tool.notes(5), "-o", tool.output, "--simulate", "--progress", "bar"))
    assert ended.code == 0, ended.text
    assert "\x1b" not in ended.text
    assert "━" not in ended.text


def test_failures_in_chinese_are_aligned_on_a_terminal_and_whole_in_a_pipe(
    tool: Tool, terminal: Opener
) -> None:
    reason = "笔记不存在或已被作者删除" * 4

    async def gone(upstream: Upstream, _note_id: str, nth: int) -> web.StreamResponse:
        return upstream.reply(0, {"a": 1}) if nth == 1 else upstream.reply(400, None, reason)

    upstream = tool.upstream(gone)
    assert tool.harvest(upstream.url, tool.notes(3)).code == 1
    piped = tool.run("failures", tool.output)
    assert piped.code == 0, piped.text
    assert sum(line.endswith(reason) for line in piped.out.splitlines()) == 2
    for columns in (80, 40):
        shown = terminal("failures", tool.output, columns=columns)
        assert shown.finish() == 0
        assert "".join("".join(shown.lines).split()).count(reason) == 2
        assert max(map(cell_len, shown.lines)) <= columns
