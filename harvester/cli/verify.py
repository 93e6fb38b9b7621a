"""`harvester verify`: hold OUTPUT against its ledger."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import cloup

from harvester.cli.options import Command, existing_output
from harvester.engine.opening import ledger_path
from harvester.ledger.reader import reading
from harvester.output.verify import MENDING, TO_TAKE_OUT, Checked, Damage, Kind
from harvester.output.verify import verify as check_output
from harvester.plain import plain
from harvester.views.words import count

_SHOWN = 20
# More lines than these are not named one by one in the command that takes them out.
_TAKEN_OUT = 100


@dataclass(slots=True)
class _Found:
    """The damages so far, by kind; `lines` are those to take out, in the order found."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    lines: list[int] = field(default_factory=list)

    def add(self, damage: Damage) -> bool:
        """Count a damage; gives whether to show it. What is wrong with all of OUTPUT always is."""
        self.kinds[damage.kind] += 1
        if damage.kind in TO_TAKE_OUT and len(self.lines) <= _TAKEN_OUT:
            self.lines.append(damage.line)
        return not damage.line or self.kinds.total() <= _SHOWN


@cloup.command(cls=Command, examples=("harvester verify notes.jsonl",))
@existing_output
def verify(output: Path) -> int:
    """Check that every done note is on exactly one good line, and every line known."""
    checked, found = Checked(), _Found()
    path = output.resolve()
    with reading(ledger_path(path)) as reader:
        reader.check()
        for damage in check_output(path, reader, checked):
            if found.add(damage):
                place = f"{output}:{damage.line}" if damage.line else str(output)
                click.echo(f"{plain(place)}: {damage.kind.value}: {damage.text}")
    if checked.is_run_on:
        click.echo("a run is on: what it has written since is not looked at.")
    if not found.kinds:
        click.echo(f"good: {count(checked.lines, 'line')}, {count(checked.current, 'note')}")
        return 0
    for line in _closing(found, output, path):
        click.echo(line)
    return 1


def _closing(found: _Found, output: Path, path: Path) -> Iterator[str]:
    """How much is wrong, and what mends it, a line for each kind."""
    kinds = ", ".join(f"{many:,} {kind.value}" for kind, many in found.kinds.items())
    yield f"{count(found.kinds.total(), 'problem')} found: {kinds}"
    run = f"harvester run -o {shlex.quote(str(output))}"
    for kind in found.kinds:
        yield f"{kind.value}: {MENDING[kind].format(run=run, rebuild=run + ' --rebuild')}"
    if 0 < len(found.lines) <= _TAKEN_OUT:
        lines = ";".join(f"{line}d" for line in found.lines)
        # The file itself, since sed would put a file in the place of a link.
        yield f"take out: `sed -i.bak '{lines}' {shlex.quote(str(path))}` (keeps the old as .bak)"
    elif found.lines:
        yield "take out: the lines named above, then verify again for the next ones"
