"""What an option is, and how a config whose fields are options is read by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct, field, structs

from harvester.errors import OptionError, UsageError
from harvester.formatting import hint
from harvester.parsing import Reader, read_flag
from harvester.paths import place_of
from harvester.secret import revealed

_TOKEN = re.compile(r"(token=)[^&\s'\"]+", re.IGNORECASE)


class Option(Struct, frozen=True):
    """One option: `default` as a person would say it, `reader` what makes a value of it.

    `group` is its heading in the help. With `names` it is one of a few; `is_file` names a file;
    `is_many` may be given more than once. A value with `is_secret` is shown in no message.
    `variable` is one of the environment's beside HARVESTER_RUN_... Where it may stand without a
    value, `bare` is the one it has then.
    """

    default: object
    reader: Reader
    group: str
    help: str
    metavar: str | None = None
    short: str = ""
    names: tuple[str, ...] = ()
    is_file: bool = False
    is_many: bool = False
    is_secret: bool = False
    variable: str | None = None
    bare: str = ""

    def __call__(self) -> Any:  # noqa: ANN401 - as its reader
        """What it means where it is left out."""
        return self.read("", self.default)

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.reader is read_flag

    def read(self, name: str, value: object) -> Any:  # noqa: ANN401 - each has a type of its own
        """What a value means; None leaves it out. Raises OptionError."""
        value = self.default if value is None else value
        if value is None:
            return None
        try:
            return self.reader(revealed(value))
        except ValueError as error:
            told = str(error)
        # From here, so that no frame that read it belongs to the error.
        raise OptionError(name, told, "" if self.is_secret else shown(value))


def shown(value: object) -> str:
    """A value as messages show it: without the token of a URL that was copied whole."""
    return _TOKEN.sub(r"\1***", repr(value))


def option(
    default: object,
    reader: Reader,
    group: str,
    help: str,  # noqa: A002 - click's word
    metavar: str | None = None,
    **more: Any,  # noqa: ANN401 - Option's own
) -> Any:  # noqa: ANN401 - a field of any type, as dataclasses' own
    """A config's field that is an option."""
    return field(default_factory=Option(default, reader, group, help, metavar, **more))


def file_option(group: str, help: str) -> Any:  # noqa: A002, ANN401 - as `option`
    """One that names a file."""
    return option(None, _place, group, help, is_file=True)


def _place(value: object) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise ValueError("is no path.")  # noqa: TRY004 - told as all others are
    return place_of(value)


def token_place(value: object) -> Path:
    """The path of a token's file; what cannot be one may be the token, so nothing is said of it."""
    with suppress(UsageError):
        return _place(value)
    return Path(str(value))


def flag_option(group: str, help: str, short: str = "") -> Any:  # noqa: A002, ANN401 - as `option`
    """One that takes no value."""
    return option(False, read_flag, group, help, short=short)  # noqa: FBT003 - the default


@cache
def options_in(kind: type[Struct]) -> dict[str, Option]:
    """The options of a config, by name: each makes its field's default."""
    return {
        one.name: one.default_factory
        for one in structs.fields(kind)
        if isinstance(one.default_factory, Option)
    }


def said_of(kind: type[Struct], said: Mapping[str, object]) -> dict[str, object]:
    """What is said of a config's options, among all that is, and in that order."""
    return {name: value for name, value in said.items() if name in options_in(kind)}


def read_options(kind: type[Struct], said: Mapping[str, object]) -> dict[str, Any]:
    """The values that a config's options have; raises OptionError, TypeError."""
    options = options_in(kind)
    for name in said:
        if name not in options:
            near = hint(name, options, ". Did you mean {!r}?")
            raise TypeError(f"harvest() got an unexpected keyword argument {name!r}{near}")
    return {name: options[name].read(name, value) for name, value in said.items()}
