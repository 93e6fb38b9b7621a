"""Every command of the README works as it stands there, against a simulator in the API's place."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jq
import pytest

from harvester.errors import LocalIOError, NobodyReadsError, OutputLockedError, UsageError
from harvester.model import StopReason
from tests.process.tool import Tool

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENGLISH, CHINESE = "The real job, in five minutes", "中文快速上手"
FLEET = "More than one machine"
# Recipes for these are run where they are installed.
HEAVY = ("duckdb", "pandas", "polars")
# What means the same to a shell and to who splits it at its blanks.
_PLAIN = re.compile(r"harvester [\w ./-]+")
FIRST = "67f32a94000000001d02eb4a"
# A notebook's cell may await; a script need not.
AS_A_CELL = """
import ast, asyncio, inspect, sys
source = open(sys.argv[1], encoding="utf-8").read()
code = compile(source, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
told = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(told):
    asyncio.run(told)
"""


def readme(section: str = "") -> str:
    """The README, or what stands under one of its headings."""
    text = README.read_text("utf-8")
    if not section:
        return text
    _, heading, behind = text.partition(f"## {section}\n")
    assert heading, f"no section {section}"
    return behind.partition("\n## ")[0]


def blocks(kind: str, text: str | None = None) -> list[str]:
    found = _BLOCK.findall(readme() if text is None else text)
    return [block for name, block in found if name == kind]


def commands(text: str | None = None) -> list[str]:
    lines = "".join(blocks("console", text)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


class Shell:
    """A person at a prompt, with `harvester` on the path and a simulator where the API would be."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.folder = tool.folder
        links = tool.logs / "bin"
        links.mkdir()
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harvester "$@"\n'
        (links / "harvester").write_text(script)
        (links / "harvester").chmod(0o755)
        self._env = {
            "PATH": f"{links}:{os.environ['PATH']}",
            "PYTHONPATH": str(README.parent),
            "JUSTONEAPI_BASE_URL": tool.simulate("--latency", "0").url,
            "HOME": str(tool.folder),
        }

    def run(self, command: str, folder: Path | None = None, **env: str) -> str:
        """Run a command of the README, and give what it printed.

        Where a shell would do nothing but split it, it is split here, so that it can start warm.
        """
        is_plain = _PLAIN.fullmatch(command) is not None
        done = self._tool.run(
            *(shlex.split(command)[1:] if is_plain else ()),
            env={**self._env, **env},
            cwd=folder,
            stdin=b"YOUR_TOKEN\n",  # what a person pastes where a command asks
            shell="" if is_plain else command,
        )
        assert done.code == 0, f"{command}\n{done.text}"
        return done.out


@pytest.fixture
def shell(tool: Tool) -> Shell:
    return Shell(tool)


def test_the_console_commands_work_in_their_order(shell: Shell) -> None:
    in_english = readme().replace(readme(CHINESE), "").replace(readme(FLEET), "")
    for command in commands(in_english):
        if not command.startswith("jq "):
            shell.run(command)
    assert len((shell.folder / "notes.jsonl").read_bytes().splitlines()) == 2
    (carried,) = map(json.loads, (shell.folder / "carried.jsonl").read_text("utf-8").splitlines())
    assert carried["input"] == {"campaign": "春节", "owner": "李雷"}


def test_the_chinese_quick_start_is_in_step() -> None:
    assert commands(readme(CHINESE)) == commands(readme(ENGLISH))


def test_the_commands_of_a_fleet_work_in_their_order(shell: Shell, database: str) -> None:
    for setup in commands(readme(ENGLISH))[:2]:
        shell.run(setup)
    for command in commands(readme(FLEET)):
        shell.run(command, HARVESTER_LEDGER=database)
    merged = (shell.folder / "all.jsonl").read_text("utf-8").splitlines()
    assert len(merged) == 2


def test_the_recipes_read_what_was_harvested(shell: Shell) -> None:
    for command in commands(readme(ENGLISH)):
        shell.run(command)
    notes = shell.folder / "notes.jsonl"
    notes.write_bytes(re.sub(rb'("title":"[^"]*)"', rb'\1\\ud83d"', notes.read_bytes()))
    (copy,) = [command for command in commands() if command.startswith("python3 ")]
    shell.run(copy)
    (program,) = [shlex.split(c)[2] for c in commands() if c.startswith("jq ")]
    rows = (
        jq.compile(program).input_text((shell.folder / "readable.jsonl").read_text("utf-8")).all()
    )
    assert all(row.split("\t")[1].endswith("?") for row in rows)
    assert [row.split("\t")[0] for row in rows] == [FIRST, "6a274ceb000000000803f157"]
    recipes = blocks("python")
    missing = {name for name in HEAVY if importlib.util.find_spec(name) is None}
    runnable = [text for text in recipes if not any(f"import {name}\n" in text for name in missing)]
    assert len(recipes) - len(runnable) == len(missing)
    for recipe in runnable:
        (shell.folder / "recipe.py").write_text(recipe, "utf-8")
        python = f"{shlex.quote(sys.executable)} -c {shlex.quote(AS_A_CELL)}"
        shown = shell.run(f"JUSTONEAPI_TOKEN=any {python} recipe.py")
        assert any(told in shown for told in (FIRST, "done 1 1", "'done': 2, 'left': 0")), recipe
    if "duckdb" not in missing:
        assert FIRST in (shell.folder / "notes.csv").read_text("utf-8")
    if missing:
        pytest.skip(f"all but the recipes for {', '.join(sorted(missing))}: `make soak` has them")


def test_the_make_targets_are_there() -> None:
    lines = "".join(blocks("sh")).splitlines()
    targets = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("make ")]
    assert {target[0] for target in targets} == {"run", "test", "soak", "bench", "bench-fleet"}
    for target in targets:
        subprocess.run(
            ["/usr/bin/env", "make", "-n", *target],
            cwd=README.parent,
            check=True,
            capture_output=True,
        )


def test_one_seed_of_the_crash_simulation_can_be_played(shell: Shell) -> None:
    (line,) = [line for line in "".join(blocks("sh")).splitlines() if "--seed " in line]
    command = line.replace(".venv/bin/python", shlex.quote(sys.executable))
    told = shell.run(f"{command} -p no:cacheprovider", README.parent)
    assert "passed" in told


@pytest.mark.parametrize("section", ["Exit codes", CHINESE])
def test_every_exit_code_of_the_program_is_explained(section: str) -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", readme(section), re.MULTILINE)
    explained = {int(code) for row in rows for code in row.split(",")}
    raised = {reason.exit_code for reason in StopReason}
    errors = (LocalIOError, OutputLockedError, NobodyReadsError, UsageError)
    assert explained == raised | {error.exit_code for error in errors}
