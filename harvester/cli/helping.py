"""How help is laid out: options in sections, and one pair of columns all down the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import click

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
_WIDEST = 80
# The first column is as wide as the widest that is no wider than this; of less than that, the
# second would be a pillar of words.
_WIDEST_NAME = 28
_NARROWEST_TEXT = 30
_BESIDE = 4  # the indent of a row, and the space between the columns
# What every command has comes behind its own; what few want, last.
_OF_ALL = {"--config", "--help", "--version"}
_LAST = "More than one machine"
# A word of a command as it is written; an option and a redirection keep their value.
_PIECE = re.compile(r"""(?:[->]\S* (?!-))?(?:"[^"]*"|'[^']*'|[^\s"'])+""")

Function = TypeVar("Function", bound=Callable[..., object])
Rows = list[tuple[str, str]]


class Context(click.Context):
    """Lays help out as wide as the terminal."""

    def make_formatter(self) -> click.HelpFormatter:
        """The page; a terminal's last column stays free, since some break the line behind it."""
        return click.HelpFormatter(width=max(1, min(columns() - 1, _WIDEST)))


def columns() -> int:
    """How wide the terminal is."""
    import shutil

    return shutil.get_terminal_size().columns


class HelpOption(click.Option):
    """An option that may stand in a section of the help."""

    section = "Options"

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Its row; a value that may be left out stands close behind the name, as it is typed."""
        record = super().get_help_record(ctx)
        return record and (record[0].replace(" [=", "[="), record[1])


option = partial(click.option, cls=HelpOption)


def option_group(
    title: str, *options: Callable[[Function], Function]
) -> Callable[[Function], Function]:
    """Options that stand under one title in the help."""

    def add(command: Function) -> Function:
        for one in reversed(options):
            command = one(command)
            vars(command)["__click_params__"][-1].section = title
        return command

    return add


def sections_of(command: click.Command, ctx: click.Context) -> dict[str, Rows]:
    """The arguments and options of a command as the help's rows, by the titles above them."""
    found: dict[str, Rows] = {"Arguments": [], "Options": []}
    others: Rows = []
    for param in command.get_params(ctx):
        row = param.get_help_record(ctx)
        if row is not None:
            rows = others if _OF_ALL & {*param.opts} else found.setdefault(_section(param), [])
            rows.append(row)
    last = found.pop(_LAST, [])
    found["Other options" if any(found[title] for title in [*found][1:]) else "Options"] = others
    return {**found, _LAST: last}


def _section(param: click.Parameter) -> str:
    if isinstance(param, click.Argument):
        return "Arguments"
    return param.section if isinstance(param, HelpOption) else "Options"


def write_sections(formatter: click.HelpFormatter, sections: dict[str, Rows]) -> None:
    """Write sections with rows in two columns; where the terminal is narrow, one over the other."""
    names = [len(name) for rows in sections.values() for name, _ in rows]
    first = max((width for width in names if width <= _WIDEST_NAME), default=0)
    is_narrow = formatter.width - first - _BESIDE < _NARROWEST_TEXT
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                if is_narrow:
                    _write_stacked(formatter, rows)
                else:
                    formatter.write_dl([(f"{name:{first}}", text) for name, text in rows], first)


def _write_stacked(formatter: click.HelpFormatter, rows: Rows) -> None:
    for name, text in rows:
        formatter.write_text(name)
        with formatter.indentation():
            formatter.write_text(text)


def broken(command: str, width: int) -> Iterator[str]:
    r"""Lines of a shell command, broken with a `\` where a shell allows it."""
    line = ""
    for piece in _PIECE.findall(command):
        if line and len(line) + 1 + len(piece) + len(" \\") > width:
            yield line + " \\"
            line = "  " + piece
        else:
            line = f"{line} {piece}" if line else piece
    yield line
