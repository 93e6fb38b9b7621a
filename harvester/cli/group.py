"""Commands that are loaded when they are asked for: a list of them needs but their first lines."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import click

from harvester.cli.helping import Context, sections_of, write_sections


class LazyCommand(click.Command):
    """Stands for a command in its module, harvester.cli.NAME, in a section of the list.

    `text` is its short help.
    """

    def __init__(self, section: str, name: str, text: str) -> None:
        super().__init__(name, short_help=text)
        self.section = section
        self._module = name
        self._text = text

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - the list wraps
        """The first paragraph of the help, whole."""
        return self._text

    def load(self) -> click.Command:
        """The command itself."""
        command = getattr(import_module(f"harvester.cli.{self._module}"), self._module)
        assert isinstance(command, click.Command)  # noqa: S101 - each module holds one of its name
        return command


class LazyGroup(click.Group):
    """A group that lists commands in sections, and loads the one that is called or completed."""

    context_class = Context

    def describe(self, title: str, commands: Iterable[tuple[str, str]]) -> None:
        """Add a section of commands by name and short help."""
        for name, text in commands:
            self.add_command(LazyCommand(title, name, text))

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
