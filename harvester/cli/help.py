"""`harvester help`: the manual that ships beside the code."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harvester.cli.choices import completing
from harvester.cli.helping import write_sections
from harvester.cli.params import Command
from harvester.errors import UsageError
from harvester.formatting import hint

_MANUAL = Path(__file__).parents[1] / "docs"


def pages() -> dict[str, Path]:
    """The pages of the manual, by topic."""
    return {path.stem: path for path in sorted(_MANUAL.glob("*.md"))}


@click.command(name="help", cls=Command, examples=("harvester help reference", "harvester help zh"))
@click.argument("topic", required=False, shell_complete=completing(pages), help="The page to show.")
@click.pass_context
def help(ctx: click.Context, topic: str | None) -> None:  # noqa: A001 - what the command is called
    """Show a page of the manual, or a command's help; alone, list commands and pages."""
    found, root = pages(), ctx.find_root()
    if topic is None:
        click.echo(f"{root.get_help()}\n\n{_listed(ctx, found)}", nl=False)
    elif isinstance(root.command, click.Group) and topic in root.command.commands:
        _, command, _ = root.command.resolve_command(root, [topic])
        if command is not None:
            click.echo(
                command.get_help(command.make_context(topic, [], root, resilient_parsing=True))
            )
    elif topic not in found:
        commands = root.command.list_commands(ctx) if isinstance(root.command, click.Group) else []
        near = hint(topic.casefold(), [*found, *commands], "did you mean {}?")
        told = near or f"there are {', '.join(found)}."
        raise UsageError(f"the manual has no page {topic!r}: {told}")
    elif sys.stdout.isatty():
        click.echo_via_pager(found[topic].read_text("utf-8"))
    else:
        click.echo(found[topic].read_text("utf-8"), nl=False)


def _listed(ctx: click.Context, found: dict[str, Path]) -> str:
    """The topics and their pages' titles."""
    formatter = ctx.make_formatter()
    write_sections(formatter, {"Pages": [(topic, _title(page)) for topic, page in found.items()]})
    formatter.write_paragraph()
    formatter.write_text("`harvester help NAME` shows a page, or a command's options.")
    return formatter.getvalue()


def _title(page: Path) -> str:
    """What a page's first line says behind its name."""
    with page.open(encoding="utf-8") as lines:
        return next(lines).removeprefix("# ").rpartition(": ")[2].strip()
