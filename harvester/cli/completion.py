"""`harvester completion`: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from harvester.cli.choices import SuggestingChoice
from harvester.cli.params import Command
from harvester.sides import Side

# How a shell's own configuration takes the script up, at its every start.
_INSTALLING = {
    "bash": '# Install: add to ~/.bashrc:  eval "$(harvester completion bash)"',
    "zsh": '# Install: add to ~/.zshrc, after compinit:  eval "$(harvester completion zsh)"',
    "fish": "# Install: harvester completion fish > ~/.config/fish/completions/harvester.fish",
}
# What a shell is to do of click's script where a file is wanted, and what it does instead: complete
# files, but for those that lie beside an OUTPUT.
_BESIDE = "|".join(side.replace(".", "[.]") for side in Side)
_OTHERS = f"grep -vE '({_BESIDE})$'"
_FILES = {
    "bash": (
        "compopt -o default",
        f'mapfile -t COMPREPLY < <(compgen -f -- "$value" | {_OTHERS}); compopt -o filenames',
    ),
    "zsh": ("_path_files -f", f"_path_files -f -F '({' '.join(f'*{side}' for side in Side)})'"),
    "fish": (
        "__fish_complete_path $metadata[2];",
        f"__fish_complete_path $metadata[2] | string match -rv '({_BESIDE})(\\t|$)';",
    ),
}


@click.command(
    cls=Command,
    examples=(
        'eval "$(harvester completion bash)"',
        'eval "$(harvester completion zsh)"',
        "harvester completion fish | source",
    ),
)
@click.argument("shell", type=SuggestingChoice(_INSTALLING), help="The shell to complete in.")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete harvester's commands and options."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"this version of click knows no {shell}: upgrade it.")
    script = made(ctx.find_root().command, {}, "harvester", "_HARVESTER_COMPLETE").source()
    script = script.replace(*_FILES[shell])
    # Last: zsh wants `#compdef` on the first line, and on a screen the last line is seen.
    click.echo(f"{script.strip()}\n{_INSTALLING[shell]}")
