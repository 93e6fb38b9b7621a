"""What all commands are made with: their help, their examples, and the options they share."""

from __future__ import annotations

import difflib
import math
import os
import shlex
import zoneinfo
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from harvester.cli.helping import Context, option, sections_of, write_sections
from harvester.errors import OptionError
from harvester.paths import place_of
from harvester.settings import DEFAULT_DAY_ZONE

_INDENT = 2


class Command(click.Command):
    """A command whose help ends with examples: real commands, broken so that a shell takes them."""

    context_class = Context

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's own
        examples: Sequence[str] = (),
        **kwargs: Any,  # noqa: ANN401 - the same
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words and the environment; a wrong value is told by the name it came under."""
        try:
            rest = super().parse_args(ctx, args)
        except click.BadParameter as error:
            variable = _variable(ctx, error.param)
            if variable is not None and _is_from_environment(ctx, error.param):
                error.param_hint = variable
            raise
        self._check_variables(ctx)
        return rest

    def _check_variables(self, ctx: click.Context) -> None:
        """Refuse a variable of this command that is no option of it: it might be a limit."""
        prefix = f"{ctx.auto_envvar_prefix}_"
        options = (param.name or "" for param in self.params if isinstance(param, click.Option))
        known = {f"{prefix}{name.upper()}" for name in options}
        is_asked = ctx.auto_envvar_prefix is not None and not ctx.resilient_parsing
        for name in os.environ if is_asked else ():
            if name.startswith(prefix) and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise click.UsageError(f"the variable {name} sets no option.{hint}", ctx)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run the command; a wrong value is told by the name it came under."""
        with telling_names(ctx):
            return super().invoke(ctx)

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - the list wraps
        """The first paragraph of the help, whole."""
        return " ".join((self.help or "").partition("\n\n")[0].split())

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: they stand among the sections of the options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments and the options by section."""
        write_sections(formatter, sections_of(self, ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then whatever else ends the help."""
        if self.examples:
            formatter.write_paragraph()
            formatter.write_heading("Examples")
            for example in self.examples:
                for line in broken(example, formatter.width - _INDENT):
                    formatter.write(f"{' ' * _INDENT}{line}\n")
        super().format_epilog(ctx, formatter)


@contextmanager
def telling_names(ctx: click.Context) -> Iterator[None]:
    """Tell a wrong value by the variable that it came from, if it did."""
    try:
        yield
    except OptionError as error:
        param = next((p for p in ctx.command.params if p.name == error.option), None)
        variable = _variable(ctx, param)
        if variable is not None and _is_from_environment(ctx, param):
            raise error.by(variable) from None
        raise


def _is_from_environment(ctx: click.Context, param: click.Parameter | None) -> bool:
    source = ctx.get_parameter_source((param and param.name) or "")
    return source is ParameterSource.ENVIRONMENT


def _variable(ctx: click.Context, param: click.Parameter | None) -> str | None:
    """The environment variable of an option."""
    if param is None or param.name is None:
        return None
    if isinstance(param.envvar, str):
        return param.envvar
    prefix = ctx.auto_envvar_prefix
    return f"{prefix}_{param.name.upper()}" if prefix else None


class Number(click.types.FloatParamType):
    """A number from `least` to `most`; a whole number where `least` is one."""

    name = "number"

    def __init__(self, least: float, most: float = math.inf) -> None:
        self.least = least
        self.most = most

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - the same
        """Read the number; fails in plain words."""
        kind = type(self.least)
        number: float | None
        try:
            number = kind(value)
        except ValueError:
            number = None
        # Written so that NaN fails too.
        if number is None or not self.least <= number <= self.most or math.isinf(number):
            what = "a whole number" if isinstance(self.least, int) else "a number"
            least, most = f"{self.least:g}", f"{self.most:g}"
            wanted = f"of {least} or more" if math.isinf(self.most) else f"from {least} to {most}"
            self.fail(f"{value!r} is not {what} {wanted}.", param, ctx)
        return number


class Place(click.Path):
    """A file's path: `~` is the home folder, also behind `--output=`."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - the same
        """Read the path; fails in plain words for one that no command can use."""
        return super().convert(place_of(value), param, ctx)


OUTPUT = Place(dir_okay=False, path_type=Path)


def zone_items(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The time zones that begin as typed."""
    zones = sorted(zoneinfo.available_timezones())
    return [CompletionItem(name) for name in zones if name.startswith(incomplete)]


def broken(command: str, width: int) -> Iterator[str]:
    r"""Lines of a shell command, broken with a `\` where a shell allows it."""
    line = ""
    for piece in _pieces(command):
        if line and len(line) + 1 + len(piece) + len(" \\") > width:
            yield line + " \\"
            line = "  " + piece
        else:
            line = f"{line} {piece}" if line else piece
    yield line


def _pieces(command: str) -> Iterator[str]:
    """The words of a command as they are written; an option and a redirection keep their value."""
    held = ""
    for word in shlex.split(command, posix=False):
        if held and not word.startswith("-"):
            yield f"{held} {word}"
            held = ""
            continue
        if held:
            yield held
            held = ""
        if word.startswith(("-", ">")):
            held = word
        else:
            yield word
    if held:
        yield held


existing_output = click.argument("output", type=OUTPUT, help="The file that `run -o` wrote.")
price = option(
    "--price",
    metavar="PRICE",
    type=Number(0.0),
    help="Price of one charged call, to tell costs.",
)
day_timezone = option(
    "--day-timezone",
    metavar="ZONE",
    default=DEFAULT_DAY_ZONE,
    shell_complete=zone_items,
    help="Time zone in which a day begins.",
)
