"""What a run is given to read: paths, standard input, texts that name notes, or any mixture."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from itertools import chain, islice
from typing import Any, BinaryIO

from harvester.errors import UsageError
from harvester.halt import Look, go_on
from harvester.model import Page
from harvester.sanitize import sanitize
from harvester.source.extra_fields import parse_extra_fields
from harvester.source.forms import ID_FIELDS, Form
from harvester.source.ids import NO_NOTE, IdRule
from harvester.source.inputs import Input
from harvester.source.options import InputOptions, Inputs, may_wait
from harvester.source.pages import Source, Texts, check, streamed
from harvester.source.streams import spool

_STDIN = "-"
# If none of so many is a file, all are texts, and come as they come.
_MOST_PATHS = 1_000
_FILE_NAME = re.compile(r"(?!.*://)(?:\.{0,2}/\S+|\S*\.[a-zA-Z]\w{0,7})")


def pages_of(
    inputs: Inputs,
    options: InputOptions,
    stdin: BinaryIO | None = None,
    look: Look = go_on,
) -> Iterator[Page]:
    """The pages of note ids that inputs name; with `strict` all are read and checked here.

    Raises UsageError, InputError, and what `look` raises, also while the pages are read.
    """
    source = standard_input() if stdin is None else stdin
    rule = IdRule(options.id_pattern, options.resolve, options.links)
    paths, texts = _divided(inputs, rule)
    with ExitStack() as undo:
        if options.strict:
            texts = list(_looking(texts, look))
            if _STDIN in paths:
                source = undo.enter_context(spool(source, look))
            check(_sources(paths, texts, rule, options, source), look)
            if source.seekable():
                source.seek(0)
        sources = _sources(paths, texts, rule, options, source)
        pages = streamed(sources, look)
        if options.links == "some":
            for each in sources:
                each.check_rereadable()
            pages = (Page(page.ids, is_live=page.is_live) for page in pages)
        return _closing(pages, undo.pop_all())


def is_text(text: str) -> bool:
    """Tell whether a word that was given for an INPUT is a link or an id, and not a file."""
    paths, _ = _divided(text, IdRule())
    return not paths


def _closing(pages: Iterator[Page], held: ExitStack) -> Iterator[Page]:
    """The same pages; what they are read from is let go of after the last."""
    with held:
        yield from pages


def _looking(texts: Iterable[object], look: Look) -> Iterator[object]:
    for number, text in enumerate(texts):
        if number % _MOST_PATHS == 0:
            look()
        yield text


def standard_input() -> BinaryIO:
    """Standard input; empty where it was closed, as some schedulers do."""
    return BytesIO() if sys.stdin is None else sys.stdin.buffer


def _divided(inputs: Inputs, rule: IdRule) -> tuple[list[str], Iterable[object]]:
    """The paths among what was given, and the texts, which may come without end if they are all.

    A word that is neither is a path where there is no text.
    """
    whole = (inputs,) if isinstance(inputs, str | os.PathLike) else inputs
    rest = iter(whole)
    given: list[Any] = []
    kinds: list[bool | None] = []
    for item in islice(rest, _MOST_PATHS):
        given.append(item)
        kinds.append(_is_path(item, rule))
        if kinds[-1] is not None and may_wait(inputs):
            break
    if True not in kinds and (False in kinds or len(given) == _MOST_PATHS):
        return [], chain(given, rest) if may_wait(inputs) else whole
    others = list(rest)
    given += others
    kinds += [_is_path(item, rule) for item in others]
    wanted = (True,) if False in kinds else (True, None)
    paths = [os.fspath(item) for item, kind in zip(given, kinds, strict=True) if kind in wanted]
    return paths, [item for item, kind in zip(given, kinds, strict=True) if kind not in wanted]


def _is_path(item: object, rule: IdRule) -> bool | None:
    """Tell whether it is one; None where it is neither there nor names a note."""
    if isinstance(item, os.PathLike):
        return True
    if not isinstance(item, str):
        return False
    # Of what is too long for a path, or holds a NUL, they say that it is not there.
    if item == _STDIN or (os.path.exists(item) and not os.path.isdir(item)):  # noqa: PTH110, PTH112
        return True
    if rule.read(item).reason != NO_NOTE:
        return False
    return True if _FILE_NAME.fullmatch(item) else None


def _sources(
    paths: Sequence[str],
    texts: Iterable[object],
    rule: IdRule,
    options: InputOptions,
    stdin: BinaryIO,
) -> list[Source]:
    """What is to be read: a source for each path, and one for all texts.

    Raises UsageError where `-` comes twice.
    """
    fields, extra = tuple(options.id_field) or ID_FIELDS, parse_extra_fields(options.carry)

    def form(name: str) -> Form:
        return Form(options.mask(name), rule, fields, extra, options.mask)

    if paths.count(_STDIN) > 1:
        raise UsageError("standard input (-) can be read only once: give - once")
    sources: list[Source] = []
    for path in paths:
        given, name = (stdin, "<stdin>") if path == _STDIN else (None, sanitize(path))
        sources.append(Input(path, form(name), given, options.kind, options.encoding))
    return [*sources, Texts(texts, form("<ids>"))] if texts != [] else sources
