"""What may be given as INPUT, and how it is to be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Literal

from msgspec import Struct

# What may be said of an input's form, where its content does not tell.
FORMS = ("text", "csv", "tsv", "jsonl", "json", "xlsx")

# Paths, or texts that name notes: ids, links, share texts.
Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def may_wait(inputs: Inputs) -> bool:
    """Tell whether inputs are an iterator's, which may wait for each one, and never end."""
    return not isinstance(inputs, Sized | os.PathLike)


class InputOptions(Struct, frozen=True):
    """How a list is to be read, as `harvester run` is told it; with `strict` all of it at first.

    `resolve` and `links` are those of an IdRule; with "some", what names no link is not told.
    `mask` takes out of a text what nobody is to be told.
    """

    id_pattern: str | None = None
    id_field: Sequence[str] = ()
    carry: str | Sequence[str] | None = None
    strict: bool = False
    kind: str | None = None
    encoding: str | None = None
    resolve: Callable[[str], str | None] | None = None
    links: Literal["all", "some"] | None = None
    mask: Callable[[str], str] = str
