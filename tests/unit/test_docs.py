"""The manual is true to the program: its options, files and codes are those of the code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner
from msgspec import Struct

import harvester
from harvester.cli import cli
from harvester.cli.helping import sections_of
from harvester.cli.on_finish import VARIABLES
from harvester.config import BASE_URL_VARIABLE, LEDGER_VARIABLE
from harvester.errors import (
    LocalIOError,
    NobodyReadsError,
    OutputLockedError,
    UsageError,
)
from harvester.export.place import ENDINGS
from harvester.json_text import camel
from harvester.ledger.hosts import Duplicate, HostPart, TokenStop
from harvester.model import StopReason, Summary
from harvester.observe.log import as_json
from harvester.rules.codes import MEANINGS
from harvester.sides import Side
from harvester.status.model import (
    Ahead,
    Failure,
    FleetRun,
    FleetStatus,
    Left,
    RunStatus,
    Status,
)
from harvester.tokens import TOKEN_VARIABLES
from tests.unit.test_observe_log import EVERY

CODE = Path(harvester.__file__).parent
DOCS, README, TESTS = CODE / "docs", CODE.parent / "README.md", CODE.parent / "tests"
TOPICS = ["architecture", "changelog", "fleet", "guarantees", "python", "reference", "zh"]
# Told once, for all commands.
_OF_ALL = ("--config FILE", "-h, --help", "--help")


def page(topic: str) -> str:
    return (README if topic == "README" else DOCS / f"{topic}.md").read_text("utf-8")


def options_told() -> str:
    """The reference's part on options, as it has to be."""
    return "".join(
        f"{line}\n" for name, command in cli.load_all().items() for line in _told(name, command)
    )


def modules_told() -> str:
    """The architecture's part on modules: what each says of itself in its first sentence."""
    files = [file.relative_to(CODE) for file in sorted(CODE.rglob("*.py"))]
    rooms = sorted({file.parts[0] if len(file.parts) > 1 else "" for file in files})
    return "\n".join(f"### `harvester/{room}`\n\n{_told_of(room, files)}" for room in rooms)


def _told_of(room: str, files: Sequence[Path]) -> str:
    its = [file for file in files if file.parts[:-1][:1] == ((room,) if room else ())]
    return "".join(f"- `{file}`: {_first_sentence(CODE / file)}\n" for file in its)


def _first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def between(topic: str, mark: str) -> tuple[str, str, str]:
    """A page before, in and after its part that is made from the code."""
    text = page(topic)
    begin, end = (
        text.index("-->\n\n", text.index(f"<!-- {mark}: ")) + 5,
        text.index(f"<!-- end of {mark}"),
    )
    return text[:begin], text[begin:end], text[end:]


def renew() -> None:
    """Write what is made from the code anew.

    python -c 'from tests.unit.test_docs import renew; renew()'
    """
    for topic, mark, told in (
        ("reference", "options", options_told()),
        ("architecture", "modules", modules_told()),
    ):
        before, _, after = between(topic, mark)
        (DOCS / f"{topic}.md").write_text(f"{before}{told}\n{after}", "utf-8")


def _told(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, show_default=True)
    yield from (f"### `harvester {name}`", "", command.get_short_help_str(), "")
    yield from ("| option | what it does |", "|---|---|")
    for title, rows in sections_of(command, context).items():
        shown = [row for row in rows if row[0] not in _OF_ALL]
        if shown and title not in {"Arguments", "Options"}:
            yield f"| *{title}* | |"
        for option, text in shown:
            yield f"| `{_cell(option)}` | {_cell(text)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def test_the_reference_tells_every_option_of_every_command_as_its_help_does() -> None:
    assert between("reference", "options")[1] == options_told() + "\n"


def test_the_reference_names_every_file_beside_an_output() -> None:
    assert [side for side in Side if f"`notes.jsonl{side}`" not in page("reference")] == []


@pytest.mark.parametrize("topic", ["README", "reference", "zh"])
def test_every_exit_code_of_the_program_is_explained(topic: str) -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", page(topic), re.MULTILINE)
    explained = {int(code) for row in rows for code in row.split(",")}
    raised = {reason.exit_code for reason in StopReason}
    errors = (LocalIOError, NobodyReadsError, OutputLockedError, UsageError)
    assert raised | {error.exit_code for error in errors} <= explained


def section(topic: str, heading: str) -> str:
    return page(topic).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_reference_tells_what_each_code_comes_to() -> None:
    told = set(re.findall(r"\b\d+\b", section("reference", "What an answer comes to")))
    assert {str(code) for code in MEANINGS} <= told


def test_every_form_of_a_table_is_named_by_the_help_and_the_reference() -> None:
    for text in (options_told(), section("reference", "Tables")):
        assert [form for form in ENDINGS if form not in text] == []


def test_help_lists_the_pages_of_the_manual_with_their_titles() -> None:
    shown = CliRunner().invoke(cli, ["help"]).output
    for topic in TOPICS:
        title = page(topic).partition("\n")[0].removeprefix("# ")
        assert f"  {topic}  " in shown
        assert title.rpartition(": ")[2][:20] in shown


@pytest.mark.parametrize("topic", TOPICS)
def test_help_shows_a_page_as_it_is(topic: str) -> None:
    assert CliRunner().invoke(cli, ["help", topic]).output == page(topic)


@pytest.mark.parametrize("name", cli.commands)
def test_help_of_a_command_is_its_own_help(name: str) -> None:
    run = CliRunner().invoke
    assert run(cli, ["help", name]).output == run(cli, [name, "--help"]).output


def test_a_wrong_topic_is_told_the_near_one() -> None:
    told = CliRunner().invoke(cli, ["help", "referense"])
    assert "did you mean reference?" in str(told.exception)


def test_every_link_of_the_manual_leads_somewhere() -> None:
    for path in (README, *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8")):
            place, _, heading = target.partition("#")
            if "://" in place:
                continue
            found = path if not place else path.parent / place
            assert found.exists(), f"{path.name}: {target}"
            assert not heading or heading in _anchors(found), f"{path.name}: {target}"


def _anchors(path: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# Options of others' programs, and those that all commands have.
_OTHERS = {
    "--enable",
    "--force",
    "--help",
    "--no-deps",
    "--now",
    "--reinstall",
    "--seed",
    "--user",
    "--version",
}


@pytest.mark.parametrize("topic", ["README", *TOPICS])
def test_the_manual_promises_no_option_and_no_command_that_is_not_built(topic: str) -> None:
    commands = cli.load_all()
    options = {word for one in commands.values() for param in one.params for word in param.opts}
    said = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page(topic)))
    assert said - options - _OTHERS == {word for word in said if word.endswith("-")}
    assert set(re.findall(r"(?:\$ |`)harvester ([a-z]+)", page(topic))) <= set(commands)


def test_the_reference_tells_the_fields_of_every_event_of_the_log() -> None:
    rows = dict(re.findall(r"^\| `([a-z ]+)` \| (.*`\w+`.*) \|$", page("reference"), re.MULTILINE))
    for event in EVERY:
        _, _, name, *fields = json.loads(as_json(event, "5f", 0.0)).items()
        told = re.findall(r"`(\w+)`", rows[str(name[1])])
        assert sorted(field for field, _ in fields) == sorted(told)


def keys(kind: type[Struct]) -> list[str]:
    return [camel(name) for name in kind.__struct_fields__]


def test_the_reference_tells_every_key_of_the_status() -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```", page("reference"), re.MULTILINE | re.DOTALL)
    told = json.loads(shown)
    parts = (told, told["forecast"], told["runs"][0], told["failures"][0], told["left"])
    kinds: tuple[type[Struct], ...] = (Status, Ahead, RunStatus, Failure, Left)
    assert [list(part) for part in parts] == [keys(kind) for kind in kinds]
    of_fleets = {
        key
        for kind in (FleetRun, HostPart, Duplicate, TokenStop, FleetStatus)
        for key in keys(kind)
    }
    assert of_fleets <= named("reference") | set(keys(Status)) | set(keys(RunStatus))


def test_the_reference_names_every_variable_that_is_read_or_told() -> None:
    read = {*TOKEN_VARIABLES, BASE_URL_VARIABLE, LEDGER_VARIABLE}
    assert read | set(VARIABLES) <= named("reference")


def test_the_python_page_names_every_field_of_a_summary_and_every_event() -> None:
    assert set(Summary.__struct_fields__) <= named("python")
    assert {kind.__name__ for kind in get_args(harvester.Event)} <= named("python")


def named(topic: str) -> set[str]:
    """What stands in backquotes, word by word."""
    return {word for code in re.findall(r"`([^`\n]+)`", page(topic)) for word in code.split()}


def test_the_architecture_has_a_line_for_every_module_and_for_none_that_is_not_there() -> None:
    """To mend it: `renew`."""
    told = re.findall(r"^- `([\w/]+\.py)`: \S", page("architecture"), re.MULTILINE)
    assert sorted(told) == sorted(str(file.relative_to(CODE)) for file in CODE.rglob("*.py"))


def test_the_architecture_sends_nobody_to_a_place_that_is_not_there() -> None:
    before, _, _ = between("architecture", "modules")
    places = re.findall(r"`([\w/]+(?:\.py|/))`", before.partition("## Where to change what")[2])
    assert len(places) > 20
    there = [place.removeprefix("tests/") for place in places]
    assert [p for p in there if not any((at / p).exists() for at in (CODE, TESTS))] == []
