"""`harvester.toml`: the options of every command, by their long names, kept in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harvester.cli.group import LazyGroup
from harvester.errors import UsageError
from harvester.formatting import hint
from harvester.small import small_text

NAME = "harvester.toml"
# Under which a context keeps the file that its values came from.
KEPT = "harvester.config_file"
# What a parameter may be called, too.
_AS_SAID = {"input": "inputs"}


def take(ctx: click.Context, _param: click.Parameter, said: str | None) -> None:
    """Let the file's values be the command's defaults; a callback of click's.

    Without a file named, the one in the current folder is taken, if there is one. Raises
    UsageError.
    """
    if said == "":
        raise UsageError("--config is empty: leave it out, or name a file.")
    path = Path(said or NAME)
    if ctx.resilient_parsing or not (said or path.is_file()):
        return
    path = path.absolute()
    ctx.meta[KEPT] = path
    values = dict(_values(ctx, path))
    ctx.default_map = {**(ctx.default_map or {}), **values}


def key_of(param: click.Parameter) -> str:
    """What a parameter is called in the file: an option's long name, an argument's own."""
    longest = max((name for name in param.opts if name.startswith("--")), key=len, default="")
    return longest.removeprefix("--") or (param.name or "")


def _values(ctx: click.Context, path: Path) -> Iterator[tuple[str, Any]]:
    """The values of one command's parameters, by their names in click."""
    told = _read(path)
    params = {key_of(param): param for param in ctx.command.params}
    root = ctx.find_root().command
    names = root.list_commands(ctx) if isinstance(root, click.Group) else [ctx.command.name or ""]
    for key, value in _of_command(told, ctx.command.name or "", names, path):
        where = f"{path.name}: {key}"
        if key == "token":
            raise UsageError(
                f"{path.name}: a token never stands there: put it in a file that only you can "
                "read, and name that by token-file."
            )
        param = params.get(_AS_SAID.get(key, key))
        if param is not None:
            yield param.name or "", _value(param, value, where, path.parent)
        elif key not in told or key not in (others := _keys_of_all(root, ctx)):
            near = hint(key, params if key not in told else others)
            raise UsageError(f"{where} is no option.{near}")


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(small_text(path))
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f'{path} is not TOML: {error}. Write KEY = "VALUE".') from None


def _keys_of_all(root: click.Command, ctx: click.Context) -> set[str]:
    """What may stand at the top: whatever is an option of any command."""
    commands = root.load_all().values() if isinstance(root, LazyGroup) else [ctx.command]
    return {key_of(param) for command in commands for param in command.params}


def _of_command(
    told: Mapping[str, Any], name: str, names: Sequence[str], path: Path
) -> Iterator[tuple[str, Any]]:
    """What stands at the top, then what stands under the command's own heading."""
    for key, value in told.items():
        if not isinstance(value, dict):
            yield key, value
        elif key not in names:
            near = hint(key, names, " Did you mean [{}]?")
            raise UsageError(f"{path.name}: [{key}] is no command.{near}")
    yield from told.get(name, {}).items()


def _value(param: click.Parameter, value: Any, where: str, folder: Path) -> Any:  # noqa: ANN401 - TOML's
    """A value as click takes it; a relative path is relative to the file."""
    many = param.nargs == -1 or getattr(param, "multiple", False)
    if isinstance(param, click.Option) and param.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where} is neither true nor false.")
        return value
    items = value if isinstance(value, list) and many else [value]
    if any(isinstance(item, dict | list | bool) for item in items):
        raise UsageError(f"{where} is not {'a list of texts' if many else 'one text or number'}.")
    texts = [_place(param, str(item), folder) for item in items]
    return texts if many else texts[0]


def _place(param: click.Parameter, text: str, folder: Path) -> str:
    is_path = isinstance(param.type, click.Path) and text != "-" and not text.startswith("~")
    return str(folder / text) if is_path else text
