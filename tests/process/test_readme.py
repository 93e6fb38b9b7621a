"""Every command of the README and the manual works as it stands, and prints what is shown of it.

A simulator is in the API's place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jq
import pytest

import harvester
from tests.process.tool import Tool

ROOT = Path(harvester.__file__).parents[1]
DOCS = ROOT / "harvester" / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Recipes for these are run where they are installed.
HEAVY = ("duckdb", "pandas", "polars")
# What means the same to a shell and to who splits it at its blanks.
_PLAIN = re.compile(r"harvester [\w ./:,=-]+")
# What differs from run to run, and what only a screen, or a server of this machine, brings.
_NUMBER = re.compile(r"\d[\d.:,-]*( m?s\b)?")
_BAR = re.compile("━|calls/s ·")
_SIMULATED = " (simulated)"
# What a newcomer's machine does, and this one cannot.
_INSTALLING = ("uv ", "pipx ", "python3 -m venv ", "createuser ", "export ")
FIRST = "67f32a94000000001d02eb4a"
# A notebook's cell may await; a script need not. One after another, as a start is what takes long.
AS_CELLS = """
import ast, asyncio, inspect, sys
for path in sys.argv[1:]:
    source = open(path, encoding="utf-8").read()
    code = compile(source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    told = eval(code, {"__name__": "__main__"})
    if inspect.iscoroutine(told):
        asyncio.run(told)
    print("\f", flush=True)
"""


def page(topic: str) -> str:
    """The README, or a page of the manual."""
    return (ROOT / "README.md" if topic == "README" else DOCS / f"{topic}.md").read_text("utf-8")


TOPICS = ["README", *sorted(path.stem for path in DOCS.glob("*.md"))]


def blocks(kind: str, topic: str) -> list[str]:
    return [block for name, block in _BLOCK.findall(page(topic)) if name == kind]


def shown(topic: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a page, each with what is shown of its output."""
    for block in blocks("console", topic):
        for told in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = told.splitlines()
            yield command, [line for line in lines if line and not _BAR.search(line)]


def commands(topic: str) -> list[str]:
    return [command for command, _ in shown(topic)]


def shapes(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run."""
    return [_NUMBER.sub("0", line.removesuffix(_SIMULATED)) for line in lines]


class Shell:
    """A person at a prompt, with `harvester` on the path and a simulator where the API would be."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.folder = tool.folder
        (self.folder / "input_samples").symlink_to(ROOT / "input_samples")
        links = tool.logs / "bin"
        links.mkdir()
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harvester "$@"\n'
        (links / "harvester").write_text(script)
        (links / "harvester").chmod(0o755)
        self._env = {
            "PATH": f"{links}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "JUSTONEAPI_BASE_URL": tool.simulate("--latency", "0", "--price", "0.05").url,
            "HARVESTER_RUN_RATE": "1000/s",  # where no other is said
            "HARVESTER_RUN_BACKOFF_BASE": "10ms",
            "HOME": str(tool.folder),
        }

    def run(self, command: str, **env: str) -> str:
        """Run a command of the manual, and give what it printed.

        Where a shell would do nothing but split it, it is split here, so that it can start warm.
        """
        is_plain = _PLAIN.fullmatch(command) is not None
        done = self._tool.run(
            *(shlex.split(command)[1:] if is_plain else ()),
            env={**self._env, **env},
            stdin=b"YOUR_TOKEN\n",  # what a person pastes where a command asks
            shell="" if is_plain else command,
        )
        assert done.code == 0, f"{command}\n{done.text}"
        return done.err + done.out

    def follow(self, topic: str, **env: str) -> None:
        """Run the commands of a page in their order; each prints what the page shows of it."""
        for command, lines in shown(topic):
            if command.startswith("jq "):
                continue  # read by its library, below
            printed = iter(shapes(self.run(command, **env).splitlines()))
            assert all(line in printed for line in shapes(lines)), f"{topic}: {command}"

    def prepare(self) -> None:
        """Make the token's file and the list that all pages begin with."""
        for setup in commands("README")[1:3]:
            self.run(setup)

    def recipes(self, texts: list[str]) -> list[str]:
        """Run Python as it stands in the manual, each a notebook's cell or a script."""
        names = [f"recipe-{n}.py" for n in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (self.folder / name).write_text(text, "utf-8")
        python = f"{shlex.quote(sys.executable)} -c {shlex.quote(AS_CELLS)}"
        *told, _ = self.run(f"JUSTONEAPI_TOKEN=any {python} {' '.join(names)}").split("\f")
        return told


@pytest.fixture
def shell(tool: Tool) -> Shell:
    return Shell(tool)


def test_the_readme_is_true_from_its_first_command_to_its_last(shell: Shell) -> None:
    shell.follow("README")
    assert len((shell.folder / "notes.jsonl").read_bytes().splitlines()) == 2
    (carried,) = map(json.loads, (shell.folder / "carried.jsonl").read_text("utf-8").splitlines())
    assert carried["input"] == {"campaign": "春节", "owner": "李雷"}


def test_the_chinese_manual_walks_the_same_way_to_the_end() -> None:
    assert blocks("console", "zh") == blocks("console", "README")
    assert blocks("toml", "zh") == blocks("toml", "reference")
    assert walk("zh") == walk("README")


def walk(topic: str) -> list[tuple[int, int]]:
    """How many points and rows each section of a page has."""
    sections = page(topic).split("\n## ")[1:]
    return [(len(re.findall(r"^(?:- |\d\. )", s, re.MULTILINE)), s.count("\n|")) for s in sections]


def test_the_reference_is_true_of_what_a_run_writes(shell: Shell) -> None:
    shell.prepare()
    shell.follow("reference")
    text = page("reference")
    metrics = set(
        re.findall(r"^# TYPE (\w+)", (shell.folder / "harvester.prom").read_text(), re.MULTILINE)
    )
    assert metrics == set(re.findall(r"`(harvester_\w+?)(?:\{\w+\})?`", text))
    (options,) = blocks("toml", "reference")
    (shell.folder / "harvester.toml").write_text(options, "utf-8")
    assert "at 0.05 a call" in shell.run("harvester run --dry-run --refresh 0d")


def test_the_commands_of_a_fleet_work_in_their_order(shell: Shell, database: str) -> None:
    shell.prepare()
    shell.follow("fleet", HARVESTER_LEDGER=database)
    merged = (shell.folder / "all.jsonl").read_text("utf-8").splitlines()
    assert len(merged) == 2


def test_the_recipes_read_what_was_harvested(shell: Shell) -> None:
    for command in commands("README")[1:5]:
        shell.run(command)
    notes = shell.folder / "notes.jsonl"
    notes.write_bytes(re.sub(rb'("title":"[^"]*)"', rb'\1\\ud83d"', notes.read_bytes()))
    (copy,) = [
        command
        for command in commands("reference")
        if command.endswith(" readable.jsonl") and "export" in command
    ]
    shell.run(copy)
    (program,) = [shlex.split(c)[2] for c in commands("reference") if c.startswith("jq ")]
    readable = (shell.folder / "readable.jsonl").read_text("utf-8")
    rows = jq.compile(program).input_text(readable).all()
    assert all(row.split("\t")[1].endswith("\ufffd") for row in rows)
    assert [row.split("\t")[0] for row in rows] == [FIRST, "6a274ceb000000000803f157"]
    recipes = [
        text for topic in ("README", "reference", "python") for text in blocks("python", topic)
    ]
    missing = {name for name in HEAVY if importlib.util.find_spec(name) is None}
    runnable = [text for text in recipes if not any(f"import {name}\n" in text for name in missing)]
    assert len(recipes) - len(runnable) == len(missing)
    for text, told in zip(runnable, shell.recipes(runnable), strict=True):
        assert any(word in told for word in (FIRST, "done 1 1", "'done': 2, 'left': 0")), text
    if "duckdb" not in missing:
        assert FIRST in (shell.folder / "titles.csv").read_text("utf-8")
    if missing:
        pytest.skip(f"all but the recipes for {', '.join(sorted(missing))}: `make soak` has them")


def in_shells() -> list[str]:
    """The lines that are for another folder than the one with the notes."""
    lines = "".join(text for topic in TOPICS for text in blocks("sh", topic)).splitlines()
    return [line for line in lines if not line.startswith(_INSTALLING)]


def test_whoever_installs_it_finds_the_command_on_the_path() -> None:
    ways = [line for line in blocks("sh", "README")[0].splitlines() if " install " in line]
    assert len(ways) > 1
    for way in ways:
        assert way.startswith(("uv tool ", "pipx ")) or 'export PATH="' in way


def test_the_make_targets_are_there() -> None:
    targets = [shlex.split(line, comments=True) for line in in_shells()]
    called = {tuple(words[1:]) for words in targets if words[0] == "make"}
    assert {words[0] for words in called} == {"run", "test", "soak", "bench", "bench-fleet"}
    for words in called:
        subprocess.run(
            ["/usr/bin/env", "make", "-n", *words], cwd=ROOT, check=True, capture_output=True
        )


def test_one_seed_of_the_crash_simulation_can_be_played(shell: Shell) -> None:
    (line,) = [line for line in in_shells() if not line.startswith("make ")]
    command = line.replace(".venv/bin/python", shlex.quote(sys.executable))
    told = shell.run(f"cd {shlex.quote(str(ROOT))} && {command} -p no:cacheprovider")
    assert "passed" in told
