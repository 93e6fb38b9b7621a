"""What a command comes to: lines for people or, with --json, one object for programs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from harvester.cli.helping import Function, HelpOption
from harvester.cli.streams import ERROR, OUTPUT, fit
from harvester.errors import HarvesterError, UsageError

STANDARD_OUTPUT = Path("-")
_INDENT = 2


class Telling:
    """The context's object: whether JSON is asked for, and whether standard output holds data."""

    is_json = False
    is_aside = False


def of_context(ctx: click.Context | None = None) -> Telling:
    """How the command that is being carried out, or is read, is to tell what it comes to."""
    return (ctx or click.get_current_context()).ensure_object(Telling)


def _take(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click's
    of_context(ctx).is_json = asked


def json_option(function: Function) -> Function:
    """`--json`, for a command that ends with `tell`."""
    return click.option(
        "--json",
        cls=HelpOption,
        is_flag=True,
        expose_value=False,
        callback=_take,
        help="What comes of it as one JSON object, for programs; errors too.",
    )(function)


def wants_json() -> bool:
    """Whether one JSON object is to stand in the place of lines."""
    return of_context().is_json


def tell_aside() -> None:
    """Tell on standard error, since standard output is what was asked for."""
    of_context().is_aside = True


def say(line: str) -> None:
    """Print a line for people, where no JSON is asked for; a terminal has it broken at words."""
    if not wants_json():
        is_aside = of_context().is_aside
        click.echo(fit(line, ERROR if is_aside else OUTPUT), err=is_aside)


def tell(result: object) -> None:
    """Print what came of a command as JSON, where that is asked for."""
    if wants_json():
        click.echo(as_json(result), err=of_context().is_aside)


def tell_failure(telling: Telling, result: object) -> None:
    """Print what kept a command from its work as JSON, where that is asked for, if it can be."""
    if telling.is_json:
        with suppress(HarvesterError, OSError):
            click.echo(as_json(result), err=telling.is_aside)


def masked(text: str) -> str:
    """What a person typed without the environment's token, which may stand there by mistake."""
    from harvester.api.redaction import Redaction
    from harvester.tokens import chosen_tokens

    with suppress(UsageError):
        return Redaction(chosen_tokens(None, None)).text(text)
    return text


def as_json(result: object) -> bytes:
    """A result as `tell` prints it, without a line's end."""
    from harvester.json_text import to_json

    return to_json(result, _INDENT)
