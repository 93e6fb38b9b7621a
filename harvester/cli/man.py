"""The help of every command as manual pages: `python -m harvester.cli.man FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from harvester import __version__
from harvester.cli import cli

_ENDLESS = 100_000


class Roff(click.HelpFormatter):
    """Lays help out for `man`, which breaks the lines."""

    def __init__(self) -> None:
        super().__init__(width=_ENDLESS)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:  # noqa: ARG002 - click's own
        """Write how it is called."""
        self.write_heading("Synopsis")
        self.write(f"\\fB{_escaped(prog)}\\fR {_escaped(args)}\n")
        self.write_heading("Description")

    def write_heading(self, heading: str) -> None:
        """Write the title of a section."""
        self.write(f'.SH "{_escaped(heading.upper())}"\n')

    def write_paragraph(self) -> None:
        """Begin a paragraph."""
        self.write(".PP\n")

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        paragraphs = (" ".join(piece.split()) for piece in text.split("\n\n"))
        self.write("\n.PP\n".join(map(_escaped, paragraphs)) + "\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], *_: object, **__: object) -> None:
        """Write names, each with what is said of it."""
        for name, text in rows:
            self.write(f".TP\n\\fB{_escaped(name.strip())}\\fR\n{_escaped(text)}\n")

    def write(self, string: str) -> None:
        """Write what is laid out already; an example, which is indented, begins a paragraph."""
        super().write(f".PP\n{_escaped(string.strip())}\n" if string.startswith(" ") else string)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """A section of its own."""
        self.write_heading(name)
        yield


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return f"\\&{text}" if text.startswith(".") else text


def pages() -> Iterator[tuple[str, str]]:
    """The names of the pages and their text, the program's own first."""
    root = click.Context(cli, info_name="harvester", **cli.context_settings)
    yield _page(root)
    for name, command in cli.load_all().items():
        yield _page(command.make_context(name, [], root, resilient_parsing=True))


def _page(ctx: click.Context) -> tuple[str, str]:
    name, roff = ctx.command_path.replace(" ", "-"), Roff()
    roff.write(f'.TH "{name.upper()}" 1 "" "harvester {__version__}" "Harvester"\n.nh\n.ad l\n')
    roff.write_heading("Name")
    roff.write(f"{_escaped(name)} \\- {_escaped(ctx.command.get_short_help_str(_ENDLESS))}\n")
    ctx.command.format_help(ctx, roff)
    return f"{name}.1", roff.getvalue()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages():
        (folder / file).write_text(text, "utf-8")
