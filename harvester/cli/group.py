"""Commands that are loaded when they are asked for: a list of them needs but their first lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import click

from harvester.cli.helping import Context, sections_of, write_sections


class LazyCommand(click.Command):
    """Stands for a command in its module, harvester.cli.NAME, in a section of the list."""

    def __init__(self, section: str, name: str) -> None:
        super().__init__(name)
        self.section = section

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - the list wraps
        """The first paragraph of the help, whole, without loading what it stands in."""
        text = Path(__file__).with_name(f"{self.name}.py").read_text("utf-8")
        first = rf'^def {self.name}\(.*?^    """(.+?)(?:"""|\n\n)'
        found = re.search(first, text, re.MULTILINE | re.DOTALL)
        return " ".join(found[1].split()) if found else ""

    def load(self) -> click.Command:
        """The command itself."""
        command = getattr(import_module(f"harvester.cli.{self.name}"), self.name or "")
        assert isinstance(command, click.Command)  # noqa: S101 - each module holds one of its name
        return command


class LazyGroup(click.Group):
    """A group that lists commands in sections, and loads the one that is called or completed."""

    context_class = Context

    def add_section(self, title: str, names: Iterable[str]) -> None:
        """Add commands under a title."""
        for name in names:
            self.add_command(LazyCommand(title, name))

    def load_all(self) -> dict[str, click.Command]:
        """All commands by name, loaded."""
        return {name: _loaded(command) for name, command in self.commands.items()}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, and load it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else _loaded(command), rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands by section."""
        sections = sections_of(self, ctx)
        for name, command in self.commands.items():
            section = command.section if isinstance(command, LazyCommand) else "Commands"
            sections.setdefault(section, []).append((name, command.get_short_help_str()))
        write_sections(formatter, sections)


def _loaded(command: click.Command) -> click.Command:
    return command.load() if isinstance(command, LazyCommand) else command
