"""The manual is true to the program: its options, files and codes are those of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import harvester
from harvester.cli import cli
from harvester.cli.helping import sections_of
from harvester.errors import (
    LocalIOError,
    NobodyReadsError,
    OutputLockedError,
    UsageError,
)
from harvester.model import StopReason
from harvester.sides import Side

DOCS = Path(harvester.__file__).with_name("docs")
README = Path(harvester.__file__).parents[1] / "README.md"
TOPICS = ["changelog", "fleet", "guarantees", "python", "reference"]
BEGIN, END = "<!-- options: ", "<!-- end of options -->\n"
# Told once, for all commands.
_OF_ALL = ("--config FILE", "-h, --help", "--help")


def page(topic: str) -> str:
    return (README if topic == "README" else DOCS / f"{topic}.md").read_text("utf-8")


def options_told() -> str:
    """The reference's part on options, as it has to be.

    To renew it: python -c 'from tests.unit.test_docs import renew; renew()'
    """
    return "".join(
        f"{line}\n" for name, command in cli.load_all().items() for line in _told(name, command)
    )


def renew() -> None:
    """Write the options into the reference anew."""
    before, _, behind = page("reference").partition(BEGIN)
    mark, (_, _, after) = behind.partition("\n")[0], behind.partition(END)
    new = f"{before}{BEGIN}{mark}\n\n{options_told()}{END}{after}"
    (DOCS / "reference.md").write_text(new, "utf-8")


def _told(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, show_default=True)
    yield from (f"### `harvester {name}`", "", command.get_short_help_str(), "")
    yield from ("| option | what it does |", "|---|---|")
    for title, rows in sections_of(command, context).items():
        shown = [row for row in rows if row[0] not in _OF_ALL]
        if shown and title not in {"Arguments", "Options", "Other options"}:
            yield f"| *{title}* | |"
        for option, text in shown:
            yield f"| `{_cell(option)}` | {_cell(text)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def test_the_reference_tells_every_option_of_every_command_as_its_help_does() -> None:
    told = page("reference").partition(BEGIN)[2].partition("\n\n")[2].partition(END)[0]
    assert told == options_told()


def test_the_reference_names_every_file_beside_an_output() -> None:
    assert [side for side in Side if f"`notes.jsonl{side}`" not in page("reference")] == []


@pytest.mark.parametrize("topic", ["README", "reference"])
def test_every_exit_code_of_the_program_is_explained(topic: str) -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", page(topic), re.MULTILINE)
    explained = {int(code) for row in rows for code in row.split(",")}
    raised = {reason.exit_code for reason in StopReason}
    errors = (LocalIOError, NobodyReadsError, OutputLockedError, UsageError)
    assert raised | {error.exit_code for error in errors} <= explained


def test_help_lists_the_pages_of_the_manual_with_their_titles() -> None:
    shown = CliRunner().invoke(cli, ["help"]).output
    for topic in TOPICS:
        title = page(topic).partition("\n")[0].removeprefix("# ")
        assert f"  {topic}  " in shown
        assert title[:20] in shown


@pytest.mark.parametrize("topic", TOPICS)
def test_help_shows_a_page_as_it_is(topic: str) -> None:
    assert CliRunner().invoke(cli, ["help", topic]).output == page(topic)


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
