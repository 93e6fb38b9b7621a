"""Every command of the README works as it stands there, against a simulator in the API's place."""

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

from harvester.errors import LocalIOError, NobodyReadsError, OutputLockedError, UsageError
from harvester.model import StopReason

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENGLISH, CHINESE = "The real job, in five minutes", "中文快速上手"
FLEET = "More than one machine"
# Recipes for these are run where they are installed.
HEAVY = ("duckdb", "pandas", "polars")
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


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with `harvester` on its path and the simulator where the API would be."""
    command = [sys.executable, "-m", "harvester", "simulate", "--port", "0", "--latency", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        url = simulator.stdout.readline().split()[4]
        links = tmp_path / "bin"
        links.mkdir()
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harvester "$@"\n'
        (links / "harvester").write_text(script)
        (links / "harvester").chmod(0o755)
        yield {
            "PATH": f"{links}:{os.environ['PATH']}",
            "PYTHONPATH": str(README.parent),
            "JUSTONEAPI_BASE_URL": url,
            "HOME": str(tmp_path),
        }
        simulator.terminate()


def run(command: str, shell: dict[str, str], folder: Path, *codes: int) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command],  # the README's own words
        cwd=folder,
        env=shell,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input="YOUR_TOKEN\n",  # what a person pastes where a command asks
    )
    assert done.returncode in (codes or (0,)), f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_console_commands_work_in_their_order(shell: dict[str, str], tmp_path: Path) -> None:
    in_english = readme().replace(readme(CHINESE), "").replace(readme(FLEET), "")
    for command in commands(in_english):
        if not command.startswith("jq "):
            run(command, shell, tmp_path)
    assert len((tmp_path / "notes.jsonl").read_bytes().splitlines()) == 2
    (carried,) = map(json.loads, (tmp_path / "carried.jsonl").read_text("utf-8").splitlines())
    assert carried["input"] == {"campaign": "春节", "owner": "李雷"}


def test_the_chinese_quick_start_is_in_step_and_works(
    shell: dict[str, str], tmp_path: Path
) -> None:
    assert commands(readme(CHINESE)) == commands(readme(ENGLISH))
    for command in commands(readme(CHINESE)):
        run(command, shell, tmp_path)
    assert len((tmp_path / "notes.jsonl").read_bytes().splitlines()) == 2


def test_the_commands_of_a_fleet_work_in_their_order(
    shell: dict[str, str], database: str, tmp_path: Path
) -> None:
    for setup in commands(readme(ENGLISH))[:2]:
        run(setup, shell, tmp_path)
    for command in commands(readme(FLEET)):
        run(command, {**shell, "HARVESTER_LEDGER": database}, tmp_path)
    merged = (tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    assert len(merged) == 2


def test_the_recipes_read_what_was_harvested(shell: dict[str, str], tmp_path: Path) -> None:
    for command in commands(readme(ENGLISH)):
        run(command, shell, tmp_path)
    notes = tmp_path / "notes.jsonl"
    notes.write_bytes(re.sub(rb'("title":"[^"]*)"', rb'\1\\ud83d"', notes.read_bytes()))
    (copy,) = [command for command in commands() if command.startswith("python3 ")]
    run(copy, shell, tmp_path)
    (program,) = [shlex.split(c)[2] for c in commands() if c.startswith("jq ")]
    rows = jq.compile(program).input_text((tmp_path / "readable.jsonl").read_text("utf-8")).all()
    assert all(row.split("\t")[1].endswith("?") for row in rows)
    assert [row.split("\t")[0] for row in rows] == [FIRST, "6a274ceb000000000803f157"]
    recipes = blocks("python")
    missing = {name for name in HEAVY if importlib.util.find_spec(name) is None}
    runnable = [text for text in recipes if not any(f"import {name}\n" in text for name in missing)]
    assert len(recipes) - len(runnable) == len(missing)
    for recipe in runnable:
        (tmp_path / "recipe.py").write_text(recipe, "utf-8")
        python = f"{shlex.quote(sys.executable)} -c {shlex.quote(AS_A_CELL)}"
        shown = run(f"JUSTONEAPI_TOKEN=any {python} recipe.py", shell, tmp_path)
        assert any(told in shown for told in (FIRST, "done 1 1", "'done': 2, 'left': 0")), recipe
    if "duckdb" not in missing:
        assert FIRST in (tmp_path / "notes.csv").read_text("utf-8")
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


def test_one_seed_of_the_crash_simulation_can_be_played(shell: dict[str, str]) -> None:
    (line,) = [line for line in "".join(blocks("sh")).splitlines() if "--seed " in line]
    command = line.replace(".venv/bin/python", shlex.quote(sys.executable))
    told = run(f"{command} -p no:cacheprovider", shell, README.parent)
    assert "passed" in told


@pytest.mark.parametrize("section", ["Exit codes", CHINESE])
def test_every_exit_code_of_the_program_is_explained(section: str) -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", readme(section), re.MULTILINE)
    explained = {int(code) for row in rows for code in row.split(",")}
    raised = {reason.exit_code for reason in StopReason}
    errors = (LocalIOError, OutputLockedError, NobodyReadsError, UsageError)
    assert explained == raised | {error.exit_code for error in errors}
