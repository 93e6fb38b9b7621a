"""`harvester verify`: hold OUTPUT against its ledger."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.options import existing_output
from harvester.engine.opening import ledger_path
from harvester.ledger.reader import reading
from harvester.output.verify import Checked
from harvester.output.verify import verify as check_output
from harvester.views.words import count

_SHOWN = 20


@click.command(epilog="Example: harvester verify notes.jsonl")
@existing_output
def verify(output: Path) -> int:
    """Check that every done note is on exactly one good line, and every line known."""
    checked, found = Checked(), 0
    path = output.resolve()
    with reading(ledger_path(path)) as reader:
        for damage in check_output(path, reader, checked):
            found += 1
            if found <= _SHOWN:
                place = f"{output}:{damage.line}" if damage.line else str(output)
                click.echo(f"{place}: {damage.name}: {damage.text}")
    if not found:
        click.echo(f"good: {count(checked.lines, 'line')}, {count(checked.current, 'note')}")
        return 0
    click.echo(
        f"{count(found, 'problem')} found; a run mends torn and unknown last lines by itself: "
        f"`harvester run -o {output}`; otherwise put a good copy back, or take what is there as "
        f"the truth: `harvester run -o {output} --rebuild`"
    )
    return 1
