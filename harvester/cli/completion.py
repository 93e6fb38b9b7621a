"""`harvester completion`: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from harvester.api.endpoints import DEFAULT_ENDPOINT, ENDPOINTS
from harvester.cli.options import Command

# How a shell's own configuration takes the script up, at its every start.
_INSTALLING = {
    "bash": '# Install: add to ~/.bashrc:  eval "$(harvester completion bash)"',
    "zsh": '# Install: add to ~/.zshrc, after compinit:  eval "$(harvester completion zsh)"',
    "fish": "# Install: harvester completion fish > ~/.config/fish/completions/harvester.fish",
}


class Named(click.Choice[str]):
    """One of a few names; a wrong one is told the nearest."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(list(names))

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's own
        """What to choose from, in one line."""
        return f"Choose from: {', '.join(self.choices)}."

    def get_invalid_choice_message(
        self,
        value: Any,  # noqa: ANN401 - click's own
        ctx: click.Context | None,
    ) -> str:
        """What is wrong with a name, and what was probably meant."""
        message = super().get_invalid_choice_message(value, ctx)
        near = difflib.get_close_matches(str(value).casefold(), self.choices, n=1)
        return f"{message} Did you mean {near[0]!r}?" if near else message


def endpoint_items(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The known endpoints that begin as typed, the default one first."""
    return [
        CompletionItem(name, help="the default" if name == DEFAULT_ENDPOINT else None)
        for name in ENDPOINTS
        if name.startswith(incomplete)
    ]


@click.command(
    cls=Command,
    examples=(
        'eval "$(harvester completion bash)"',
        'eval "$(harvester completion zsh)"',
        "harvester completion fish | source",
    ),
)
@click.argument("shell", type=Named(_INSTALLING), help="The shell to complete in.")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete harvester's commands and options."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"this version of click knows no {shell}: upgrade it.")
    script = made(ctx.find_root().command, {}, "harvester", "_HARVESTER_COMPLETE").source()
    # Last: zsh wants `#compdef` on the first line, and on a screen the last line is seen.
    click.echo(f"{script.strip()}\n{_INSTALLING[shell]}")
