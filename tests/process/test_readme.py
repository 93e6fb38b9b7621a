"""Every command of the README works as it stands there, against a simulator in the API's place."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jq
import pytest

from harvester.errors import LocalIOError, OutputLockedError
from harvester.model import StopReason

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HOME = "/home/me"


def blocks(kind: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(README.read_text("utf-8")) if name == kind]


def commands() -> list[str]:
    lines = "".join(blocks("console")).splitlines()
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
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode in (codes or (0,)), f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_console_commands_work_in_their_order(shell: dict[str, str], tmp_path: Path) -> None:
    for command in commands():
        if not command.startswith("jq "):
            run(command, shell, tmp_path)
    assert len((tmp_path / "notes.jsonl").read_bytes().splitlines()) == 2


def test_the_recipes_read_what_was_harvested(shell: dict[str, str], tmp_path: Path) -> None:
    for command in commands():
        if command.startswith(("(umask", "printf")) or command.endswith("--price 0.05"):
            run(command, shell, tmp_path)
    (program,) = [shlex.split(c)[2] for c in commands() if c.startswith("jq ")]
    rows = jq.compile(program).input_text((tmp_path / "notes.jsonl").read_text("utf-8")).all()
    assert [row.split("\t")[0] for row in rows] == [
        "67f32a94000000001d02eb4a",
        "6a274ceb000000000803f157",
    ]
    for recipe in blocks("python"):
        script = tmp_path / "recipe.py"
        script.write_text(recipe, "utf-8")
        python = shlex.quote(sys.executable)
        shown = run(f"JUSTONEAPI_TOKEN=any {python} recipe.py", shell, tmp_path)
        assert "67f32a94000000001d02eb4a" in shown or shown.startswith("done 1 1")


def test_the_cron_line_runs_with_crons_bare_environment(
    shell: dict[str, str], tmp_path: Path
) -> None:
    (line,) = "".join(blocks("cron")).splitlines()
    command = line.split(maxsplit=5)[5]
    for setup in commands()[:2]:
        run(setup, shell, tmp_path)
    bare = {name: shell[name] for name in ("PYTHONPATH", "JUSTONEAPI_BASE_URL")}
    assert "2 done" in run(at_home(command, tmp_path), bare, Path("/"))


def test_the_units_say_what_cron_says(shell: dict[str, str], tmp_path: Path) -> None:
    service, timer = (configparser.ConfigParser(interpolation=None) for _ in range(2))
    for parser in (service, timer):
        parser.optionxform = str  # type: ignore[assignment, method-assign]
    first, second = blocks("ini")
    service.read_string(first)
    timer.read_string(second)
    for setup in commands()[:2]:
        run(setup, shell, tmp_path)
    command = at_home(service["Service"]["ExecStart"], tmp_path)
    run(command, shell, Path("/"))
    assert set(service["Service"]["SuccessExitStatus"].split()) == {"1", "3", "4", "7", "75"}
    assert timer["Timer"]["OnCalendar"]


def at_home(command: str, home: Path) -> str:
    command = command.replace(f"{_HOME}/harvester/bin/harvester", f"{home}/bin/harvester")
    return command.replace(_HOME, str(home))


def test_the_make_targets_are_there() -> None:
    lines = "".join(blocks("sh")).splitlines()
    targets = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("make ")]
    assert [target[0] for target in targets] == ["run", "test", "soak", "bench"]
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


def test_every_exit_code_of_the_program_is_explained() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", README.read_text("utf-8"), re.MULTILINE)
    explained = {int(code) for row in rows for code in row.split(",")}
    raised = {reason.exit_code for reason in StopReason}
    assert explained == raised | {LocalIOError.exit_code, OutputLockedError.exit_code, 2}
