"""The help of every command as manual pages: `python -m harvester.cli.man FOLDER`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from harvester import __version__
from harvester.cli import cli

# As much as stands beside `man`'s own indent on 80 columns.
_WIDTH = 72
_TITLE = re.compile(r"^(\S.*):$", re.MULTILINE)


def pages() -> Iterator[tuple[str, str]]:
    """The names of the pages and their text, the program's own first."""
    root = click.Context(cli, info_name="harvester", **cli.context_settings)
    yield _page(root)
    for name, command in cli.load_all().items():
        yield _page(command.make_context(name, [], root, resilient_parsing=True))


def _page(ctx: click.Context) -> tuple[str, str]:
    """A page: the help as it is laid out, its titles as `man` has them."""
    name, formatter = ctx.command_path.replace(" ", "-"), click.HelpFormatter(width=_WIDTH)
    ctx.command.format_help(ctx, formatter)
    usage, _, told = _escaped(formatter.getvalue()).partition("\n\n")
    about = f"{name} - {ctx.command.get_short_help_str(_WIDTH)}"
    return f"{name}.1", (
        f'.TH "{name.upper()}" 1 "" "harvester {__version__}" "Harvester"\n'
        f".SH NAME\n{_escaped(about)}\n"
        f".SH SYNOPSIS\n{usage.removeprefix('Usage: ')}\n"
        f".SH DESCRIPTION\n.nf\n{_TITLE.sub(_section, told)}"
    )


def _section(title: re.Match[str]) -> str:
    return f'.SH "{title[1].upper()}"\n.nf'


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return re.sub(r"^( *)\.", r"\1\\&.", text, flags=re.MULTILINE)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages():
        (folder / file).write_text(text, "utf-8")
