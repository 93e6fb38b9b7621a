"""Names to choose from: a shell completes them, and a wrong one is told the nearest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from harvester.formatting import hint


class SuggestingChoice(click.Choice[str]):
    """One of a few names; a wrong one is told the nearest."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(list(names))

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's own
        """What to choose from, in one line."""
        return f"Choose from: {', '.join(self.choices)}."

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """What is wrong with a name, and what was probably meant."""
        message = super().get_invalid_choice_message(value, ctx)
        return message + hint(str(value).casefold(), self.choices, " Did you mean {!r}?")


def completing(
    names: Callable[[], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """What completes a value by the names that begin as typed."""

    def complete(
        _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]

    return complete
