"""A wrong value is told by where it came from; examples are broken where a shell lets them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click
import pytest

from harvester.cli import cli
from harvester.cli.completion import completion
from harvester.cli.helping import broken
from harvester.cli.run import run
from harvester.errors import HarvesterError

LONG = "JUSTONEAPI_TOKEN=x harvester run a.txt b.txt -o n.jsonl --simulate --rate 5/s > 'a b' 2> c"


@pytest.mark.parametrize("width", [20, 38, 60, 100])
def test_a_broken_example_is_the_same_command(width: int) -> None:
    lines = list(broken(LONG, width))
    assert all(line.endswith(" \\") for line in lines[:-1])
    joined = " ".join(line.removesuffix(" \\") for line in lines)
    assert shlex.split(joined) == shlex.split(LONG)
    if width >= 38:
        assert max(map(len, lines)) <= width


def test_an_option_keeps_its_value_beside_it() -> None:
    for width in range(25, 60):
        assert any("-o n.jsonl" in line for line in broken(LONG, width))
        assert any("--rate 5/s" in line for line in broken(LONG, width))


def test_an_option_without_its_value_is_refused_and_takes_no_other_option_for_one() -> None:
    commands = cli.load_all().values()
    for command in commands:
        options = [one for one in command.params if isinstance(one, click.Option)]
        for word in (word for one in options if not one.is_flag for word in one.opts):
            parser = command.make_parser(click.Context(command))
            with pytest.raises(click.BadOptionUsage, match="requires an argument"):
                parser.parse_args([word])
            values, _, _ = parser.parse_args([word, "--json"])
            assert any(value in ("--json", ["--json"]) for value in values.values()), word


def refusal(monkeypatch: pytest.MonkeyPatch, name: str, value: str, *words: str) -> str:
    """What a run says that finds a variable in its environment."""
    monkeypatch.setenv(name, value)
    command: Sequence[str] = ["ids.txt", "-o", "notes.jsonl", "--simulate", *words]
    try:
        run.main(command, standalone_mode=False, auto_envvar_prefix="HARVESTER_RUN")
    except click.ClickException as error:
        return error.format_message()
    except HarvesterError as error:
        return str(error)
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("HARVESTER_RUN_TIMEOUT", "abc", "HARVESTER_RUN_TIMEOUT='abc' is not a time like"),
        ("HARVESTER_RUN_REFRESH", "7", "HARVESTER_RUN_REFRESH='7' needs a unit: 7d or 7s?"),
        ("HARVESTER_RUN_ID_PATTERN", "([", "HARVESTER_RUN_ID_PATTERN='([' is not a regular"),
        ("HARVESTER_RUN_ENDPOINT", "v9", "HARVESTER_RUN_ENDPOINT='v9' is neither a known"),
        ("HARVESTER_RUN_MAX_CALLS", "x", "HARVESTER_RUN_MAX_CALLS='x' is not a whole"),
        ("HARVESTER_RUN_REGION", "mars", "Invalid value for HARVESTER_RUN_REGION: 'mars'"),
        ("HARVESTER_RUN_SYNC", "oui", "Invalid value for HARVESTER_RUN_SYNC: 'oui'"),
        ("HARVESTER_RUN_MAX_CHARGE", "5", "Did you mean HARVESTER_RUN_MAX_CHARGED?"),
        ("HARVESTER_RUN_INPUTS", "x", "the variable HARVESTER_RUN_INPUTS sets no option"),
        ("HARVESTER_RUN_MAX_CHARGED", "", "the variable HARVESTER_RUN_MAX_CHARGED is empty: unset"),
        ("HARVESTER_LEDGER", "", "the variable HARVESTER_LEDGER is empty: unset it"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    assert told in refusal(monkeypatch, name, value)


def test_a_wrong_option_is_told_by_its_name_whatever_the_environment_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = refusal(monkeypatch, "HARVESTER_RUN_TIMEOUT", "abc", "--timeout", "def")
    assert told.startswith("--timeout 'def' is not a time like")
    told = refusal(monkeypatch, "HARVESTER_RUN_TIMEOUT", "abc", "--max-calls", "0")
    assert told.startswith("--max-calls '0' is not a whole number")


@pytest.mark.parametrize("name", ["--ledger", "--config", "--on-finish", "--harvest"])
def test_what_a_variable_that_is_not_set_leaves_behind_an_option_is_no_default(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told = refusal(monkeypatch, "NONE", "", name, "")
    assert told.startswith(name)
    assert "is empty: leave it out" in told


def test_a_missing_choice_is_told_in_one_line() -> None:
    with pytest.raises(click.UsageError) as caught:
        completion.main([], standalone_mode=False)
    assert caught.value.format_message().endswith("Choose from: bash, zsh, fish.")
    assert caught.value.format_message().isprintable()
