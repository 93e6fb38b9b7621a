"""`harvester retry`: put failed notes back in the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.helping import option
from harvester.cli.ledgers import (
    fleet_meant,
    fleet_options,
    named,
    output_or_fleet,
    reading_part,
    retry_in,
    target_of,
)
from harvester.cli.params import Command
from harvester.cli.telling import json_option, say, tell

if TYPE_CHECKING:
    from harvester.ledger.fleet import FleetAddress
    from harvester.model import State


@click.command(cls=Command, examples=("harvester retry notes.jsonl --code 404",))
@output_or_fleet
@option(
    "--code", "codes", metavar="CODE", type=int, multiple=True, help="Only this code; repeatable."
)
@option("--id", "ids", metavar="ID", multiple=True, help="Only this note; repeatable.")
@option("--empty", is_flag=True, help="Saved notes with nothing in their data: paid for again.")
@fleet_options
@json_option
def retry(
    output: Path | None,
    codes: tuple[int, ...],
    ids: tuple[str, ...],
    *,
    empty: bool,
    ledger: str | None,
    harvest: str | None,
) -> None:
    """Put failed notes back in the queue: all of them, or by code or id."""
    from harvester.errors import UsageError
    from harvester.formatting import count
    from harvester.source.ids import IdRule

    if empty and codes:
        raise UsageError("--empty is for notes that are saved, and --code for failed ones.")
    rule = IdRule()
    wanted = [rule.bare(note_id) or note_id for note_id in ids]
    fleet = fleet_meant(output, ledger, harvest)
    with _ledger_of(output, fleet) as put_back:
        paid, free = _put_back(put_back, codes, wanted, empty=empty)
    command = f"harvester run -o {output}"
    if fleet is not None:
        command = f"harvester run -o PART {target_of(fleet)}"
    text = f"{count(paid + free, 'note')} back in the queue"
    if paid:
        text += f"; {paid:,} of them were charged, and are paid for again"
    if paid + free:
        text += f"; next: `{command}`" + (", unless a run is on" if fleet else "")
    say(text)
    tell({"queued": paid + free, "paidAgain": paid, "next": command})


_PutBack = Callable[["Sequence[State]", Sequence[int], Sequence[str]], int]


def _put_back(
    put_back: _PutBack, codes: Sequence[int], ids: Sequence[str], *, empty: bool
) -> tuple[int, int]:
    """Put notes back in the queue; gives how many of them were charged, and how many not."""
    from harvester.ledger.protocol import FAILED
    from harvester.model import State
    from harvester.rules.codes import CHARGED

    if empty:
        return put_back((State.DONE,), (), ids), 0
    charged = [code for code in CHARGED if not codes or code in codes]
    paid = put_back(FAILED, charged, ids) if charged else 0
    return paid, put_back(FAILED, codes, ids)


@contextmanager
def _ledger_of(output: Path | None, fleet: FleetAddress | None) -> Iterator[_PutBack]:
    """What puts notes back in the queue of an OUTPUT's own ledger, or of a fleet's."""
    if fleet is not None:
        with reading_part(fleet):
            yield partial(retry_in, fleet)
        return
    from harvester.engine.open_output import open_held
    from harvester.engine.open_run import this_environment
    from harvester.ledger.reader import ledger_path, reading

    path = named(output).resolve()
    with reading(ledger_path(path)):
        pass
    opened = open_held(path, this_environment())
    try:
        yield opened.ledger.retry
    finally:
        opened.close()
