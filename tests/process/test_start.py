"""What starting costs: a command loads what it needs, and nothing that others need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import click
import pytest

from harvester.cli import cli
from tests.process.tool import Tool

# Runs each command in a fork of an interpreter that has loaded nothing yet; says what it loaded.
_LOADED = """
import json, os, sys
found = []
for words in json.loads(sys.argv[1]):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        before, code = set(sys.modules), 0
        sys.argv = ["harvester", *words]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            from harvester.cli import main
            main()
        except SystemExit as ended:
            code = ended.code
        loaded = sorted(set(sys.modules) - before)
        with open(writing, "w") as told:
            told.write(repr((code, loaded)))
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        found.append(eval(told.read()))
    os.waitpid(child, 0)
json.dump(found, sys.stdout)
"""
# Each takes a hundredth to a quarter of a second to load.
HEAVY = frozenset(
    {
        "aiohttp",
        "aiolimiter",
        "asyncio",
        "importlib.metadata",
        "orjson",
        "plotly",
        "jinja2",
        "prometheus_client",
        "psycopg",
        "rich.console",
        "socket",
        "ssl",
        "tempfile",
        "tomllib",
    }
)
ENGINE = frozenset({"harvester.engine.run", "harvester.api.client", "harvester.options"})


def loaded(tool: Tool, commands: Sequence[Sequence[str]], **env: str) -> list[set[str]]:
    """The modules that each command loads; each must end well."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, json.dumps(commands)],
        env={**tool.env, **env},
        cwd=tool.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [code for code, _ in found] == [0] * len(commands), done.stderr
    return [set(names) for _, names in found]


def test_help_and_version_load_no_command_and_nothing_heavy(tool: Tool) -> None:
    for names in loaded(tool, [["--version"], ["--help"]]):
        assert not names & HEAVY
        assert {name for name in names if name.startswith("harvester.")} == {
            "harvester.cli",
            "harvester.cli.group",
            "harvester.cli.helping",
            "harvester.cli.streams",
            "harvester.cli.telling",
            "harvester.daemon",
            "harvester.errors",
            "harvester.sanitize",
            "harvester.observe",
            "harvester.observe.outlet",
        }


def test_the_help_of_a_command_loads_nothing_that_its_run_needs(tool: Tool) -> None:
    for names in loaded(tool, [[name, "--help"] for name in cli.commands if name != "schedule"]):
        assert not names & HEAVY
        assert not names & (ENGINE | {"harvester.ledger.reader", "harvester.source.pages"})


def test_completing_loads_no_more_than_help_does(tool: Tool) -> None:
    env = {"_HARVESTER_COMPLETE": "bash_complete"}
    for words, at in (("harvester st", 1), ("harvester run --r", 2)):
        (names,) = loaded(tool, [[]], **env, COMP_WORDS=words, COMP_CWORD=str(at))
        assert not names & HEAVY


def test_looking_at_a_ledger_loads_no_engine(tool: Tool) -> None:
    notes, output = tool.notes(3), str(tool.output)
    fetched = tool.run("run", notes, "-o", output, "--simulate", *tool.fast)
    assert fetched.code == 0, fetched.text
    commands = [
        ["status", output],
        ["status", output, "--json"],
        ["failures", output, "--format", "ids"],
        ["verify", output],
    ]
    for command, names in zip(commands, loaded(tool, commands), strict=True):
        # Lines and JSON are read or written with it; the status of a ledger needs none.
        is_bare = command in (["status", output], ["failures", output, "--format", "ids"])
        assert names & HEAVY <= (set() if is_bare else {"orjson"}), command
        assert not names & (ENGINE | {"harvester.ledger.sqlite.ledger"}), command


def test_a_run_loads_what_it_uses(tool: Tool) -> None:
    run = ["run", str(tool.notes(2)), "-o", "o.jsonl", "-q", "--simulate"]
    practice, dry = loaded(tool, [run, [*run, "--dry-run"]])
    assert {"harvester.simulator.server", "aiohttp.web"} <= practice
    assert not practice & {"prometheus_client", "psycopg", "plotly", "rich.console"}
    assert not dry & {"aiohttp.web", "harvester.simulator.server"}


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    listed, command = cli.commands[name], cli.load_all()[name]
    assert listed.get_short_help_str() == command.get_short_help_str()
    assert command.name == name
    assert isinstance(command, click.Command)
