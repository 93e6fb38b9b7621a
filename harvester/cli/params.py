"""What all commands are made with: the config's options, and words for where a value came from."""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from harvester.api.endpoints import ENDPOINTS
from harvester.cli.choices import SuggestingChoice, completing
from harvester.cli.config_file import KEPT, NAME, key_of, take
from harvester.cli.helping import (
    Context,
    HelpOption,
    broken,
    option,
    option_group,
    sections_of,
    write_sections,
)
from harvester.cli.telling import of_context
from harvester.config import BASE_URL_VARIABLE, ConsoleOptions, RunConfig
from harvester.errors import OptionError
from harvester.formatting import hint
from harvester.option import Option, options_in, shown
from harvester.parsing import Reader
from harvester.paths import output_of, place_of
from harvester.tokens import TOKEN_VARIABLES

F = TypeVar("F", bound=Callable[..., object])
_INDENT = 2
_Path = str | os.PathLike[str]
# Options that say the same, or its contrary, by other names, and variables that do.
_ALIKE = (
    (("token_file",), TOKEN_VARIABLES),
    (("base_url", "region"), (BASE_URL_VARIABLE,)),
    (("quiet", "verbose"), ()),
)
_FARTHEST_FIRST = (
    ParameterSource.DEFAULT_MAP,
    ParameterSource.ENVIRONMENT,
    ParameterSource.COMMANDLINE,
)


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
        self.params.append(_config_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read words, environment and file; a wrong value is told by the name it came under."""
        # Known before all are read, for what is wrong with one of them.
        of_context(ctx).is_json = "--json" in args
        try:
            with telling_names(ctx):
                rest = super().parse_args(ctx, [_BARE.get(word, word) for word in args])
        except click.BadParameter as error:
            error.param_hint = _came_under(ctx, error.param) or error.param_hint
            raise
        self._check_variables(ctx)
        for names, variables in _ALIKE:
            _keep_nearest(ctx, names, variables)
        return rest

    def _check_variables(self, ctx: click.Context) -> None:
        """Refuse a variable of this command that is no option of it, or empty: a limit is meant."""
        prefix = f"{ctx.auto_envvar_prefix}_"
        options = [param for param in self.params if isinstance(param, click.Option)]
        known = {f"{prefix}{(param.name or '').upper()}" for param in options}
        others = {param.envvar for param in options}
        is_asked = ctx.auto_envvar_prefix is not None and not ctx.resilient_parsing
        for name, value in os.environ.items() if is_asked else ():
            if name.startswith(prefix) and name not in known:
                told = f"the variable {name} sets no option.{hint(name, known)}"
                raise click.UsageError(told, ctx)
            if not value and name in known | others:
                told = f"the variable {name} is empty: unset it, or give it a value."
                raise click.UsageError(told, ctx)

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


def _keep_nearest(ctx: click.Context, names: Sequence[str], variables: Sequence[str]) -> None:
    """Of what says the same by several names, keep what was said nearest to the person."""
    said = {name: ctx.get_parameter_source(name) for name in names}
    ranks = {n: _FARTHEST_FIRST.index(s) for n, s in said.items() if s in _FARTHEST_FIRST}
    in_environment = any(os.environ.get(name, "").strip() for name in variables)
    for name, rank in ranks.items():
        if rank < max(*ranks.values(), int(in_environment)):
            ctx.params[name] = None
            ctx.set_parameter_source(name, ParameterSource.DEFAULT)


@contextmanager
def telling_names(ctx: click.Context) -> Iterator[None]:
    """Tell a wrong value by the variable, or the key in a file, that it came from."""
    try:
        yield
    except OptionError as error:
        param = next((p for p in ctx.command.params if p.name == error.option), None)
        name = _came_under(ctx, param)
        if name is not None:
            raise error.by(name) from None
        raise


def _came_under(ctx: click.Context, param: click.Parameter | None) -> str | None:
    """The variable, or the file's key, that a value came from; None if it was typed."""
    if param is None or param.name is None:
        return None
    source = ctx.get_parameter_source(param.name)
    if source is ParameterSource.DEFAULT_MAP and KEPT in ctx.meta:
        return f"{ctx.meta[KEPT].name}: {key_of(param)}"
    if source is not ParameterSource.ENVIRONMENT:
        return None
    if isinstance(param.envvar, str):
        return param.envvar
    prefix = ctx.auto_envvar_prefix
    return f"{prefix}_{param.name.upper()}" if prefix else None


class Parsed(click.ParamType[Any]):
    """A value that one of the readers in `parsing` makes."""

    name = "value"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def convert(
        self, value: object, param: click.Parameter | None, _ctx: click.Context | None
    ) -> object:
        """Read it; raises OptionError."""
        try:
            return self._reader(value)
        except ValueError as error:
            name = (param and param.name) or ""
            raise OptionError(name, str(error), shown(value)) from None


class Place(click.Path):
    """A file's path: `~` is the home folder, also behind `--output=`."""

    def __init__(self, read: Callable[[_Path], Path]) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self._read = read

    def convert(
        self, value: _Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Read the path; fails in plain words for one that no command can use."""
        return super().convert(self._read(value), param, ctx)


FILE = Place(place_of)
OUTPUT = Place(output_of)


def _config_option() -> click.Option:
    return HelpOption(
        ["--config"],
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=take,
        help=f"File of options, by their long names.  [default: {NAME}, if it is here]",
    )


def with_options(function: F) -> F:
    """All options of a run and of what is seen of it; their values are left to the configs."""
    for kind in (ConsoleOptions, RunConfig):
        for name, said in reversed(options_in(kind).items()):
            function = _decorator(name, said, _type_of(said))(function)
    return function


def result_option(metavar: str, what: str) -> Callable[[F], F]:
    """`-o`: the file that a command makes, and what is said of it."""
    return option(
        "-o",
        "--output",
        "place",
        metavar=metavar,
        type=FILE,
        required=True,
        help=f"{what}; an earlier one there is replaced.",
    )


def shared_option(name: str, kind: click.ParamType[Any] | None = None) -> Callable[[F], F]:
    """An option of `run` that another command has, too, with its value read."""
    said = options_in(RunConfig)[name]
    return _decorator(name, said, kind or Parsed(said.reader))


def _decorator(name: str, said: Option, kind: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's
    words = (*filter(None, (said.short,)), f"--{name.replace('_', '-')}")
    metavar = said.metavar or ("FILE" if said.is_file else None)
    more: dict[str, Any] = {} if said.is_flag else {"type": kind, "metavar": metavar}
    if said.is_many:
        more["multiple"] = True
    elif said.default and not said.is_flag:
        more["default"] = said.default
    if name in _COMPLETED:
        more["shell_complete"] = _COMPLETED[name]
    made = option(
        *words, is_flag=said.is_flag or None, help=said.help, envvar=said.variable, **more
    )
    return option_group(said.group, made)


def _type_of(said: Option) -> Any:  # noqa: ANN401 - one of click's types
    if said.names:
        return SuggestingChoice(said.names)
    if not said.is_file:
        return str
    # Given the token itself by mistake, no message is to show it.
    return click.Path() if said.is_secret else FILE


# What may stand without a value, as what it means then: what follows it is none.
_BARE = {
    word: f"{word}={said.bare}"
    for name, said in options_in(RunConfig).items()
    if said.bare
    for word in (f"--{name.replace('_', '-')}",)
}
_COMPLETED = {
    "endpoint": completing(lambda: ENDPOINTS),
    "day_timezone": completing(lambda: sorted(zoneinfo.available_timezones())),
}
existing_output = click.argument("output", type=OUTPUT, help="The file that `run -o` wrote.")
many_outputs = partial(
    click.argument,
    "paths",
    type=FILE,
    nargs=-1,
    required=True,
    help="Files that `run -o` wrote, also gzipped.",
)
price = shared_option("price")
day_timezone = shared_option("day_timezone")
