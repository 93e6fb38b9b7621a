"""`harvester retry`: put failed notes back in the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.helping import option
from harvester.cli.ledgers import OpenLedger, fleet_options, opened_reader, output_or_fleet
from harvester.cli.params import Command
from harvester.cli.telling import json_option, masked, say, tell
from harvester.errors import UsageError
from harvester.formatting import count
from harvester.ledger.protocol import FAILED
from harvester.model import State
from harvester.rules.codes import CHARGED
from harvester.sanitize import sanitize
from harvester.source.ids import IdRule

if TYPE_CHECKING:
    from harvester.ledger.fleet import FleetAddress
    from harvester.ledger.reader import LedgerReader

# More codes than these tell nobody anything.
_MOST_GROUPS = 1000


@click.command(cls=Command, examples=("harvester retry notes.jsonl --code 404",))
@output_or_fleet
@option(
    "--code", "codes", metavar="CODE", type=int, multiple=True, help="Only this code; repeatable."
)
@option(
    "--id",
    "ids",
    metavar="ID",
    multiple=True,
    help="Only this note, by its id or link; repeatable.",
)
@option("--empty", is_flag=True, help="Saved notes with nothing in their data: paid for again.")
@option("--lost-part", metavar="PART", help="What a lost disk held: all of it is paid for again.")
@fleet_options
@json_option
def retry(
    output: Path | None,
    codes: tuple[int, ...],
    ids: tuple[str, ...],
    *,
    empty: bool,
    lost_part: str | None,
    ledger: str | None,
    harvest: str | None,
) -> None:
    """Put failed notes back in the queue: all of them, or by code or id."""
    from harvester.status.verdict_text import command_to_go_on

    if lost_part is not None and (empty or codes or ids):
        raise UsageError("--lost-part puts back all that the part held: give it alone.")
    if empty and codes:
        raise UsageError("--empty is for notes that are saved, and --code for failed ones.")
    rule = IdRule()
    wanted = [rule.whole(note_id) or note_id for note_id in ids]
    with opened_reader(output, ledger, harvest) as opened:
        missed = list(_missed(opened.reader, codes, wanted, empty=empty))
        command = command_to_go_on(opened.target, opened.reader.meta())
    if lost_part is not None:
        paid, free = _lost(lost_part, opened.fleet), 0
    else:
        with _ledger_of(opened) as put_back:
            paid, free = _put_back(put_back, codes, wanted, empty=empty)
    text = f"{count(paid + free, 'note')} back in the queue"
    if paid:
        text += f"; {paid:,} of them were charged, and are paid for again"
    if paid + free:
        text += f"; next: `{command}`" + (", unless a run is on" if opened.fleet else "")
    for line in (*missed, text):
        say(line)
    tell({"queued": paid + free, "paidAgain": paid, "missed": missed, "next": command})


def _lost(part: str, fleet: FleetAddress | None) -> int:
    """Put the notes of a fleet's part back in the queue; gives how many."""
    if fleet is None:
        raise UsageError("--lost-part is of a harvest that hosts share: give --ledger.")
    from harvester.ledger.postgres.retrying import lose_part_in_fleet

    return lose_part_in_fleet(fleet, part)


def _missed(
    reader: LedgerReader, codes: Sequence[int], ids: Sequence[str], *, empty: bool
) -> Iterator[str]:
    """What was asked for, and finds no note."""
    states = (State.DONE,) if empty else FAILED
    known = reader.jobs_of(ids)
    for note_id in ids:
        if note_id not in known:
            yield f"{sanitize(masked(note_id))} is not known here: no list named it"
        elif (state := known[note_id].state) not in states:
            yield f"{note_id} is {state.name.lower()}: nothing to put back"
    failed = {group.code for group in reader.failed_groups(lambda _: "", _MOST_GROUPS)}
    yield from (f"no failed note has code {code}" for code in codes if code not in failed)


_PutBack = Callable[[Sequence[State], Sequence[int], Sequence[str]], int]


def _put_back(
    put_back: _PutBack, codes: Sequence[int], ids: Sequence[str], *, empty: bool
) -> tuple[int, int]:
    """Put notes back in the queue; gives how many of them were charged, and how many not."""
    if empty:
        return put_back((State.DONE,), (), ids), 0
    charged = [code for code in CHARGED if not codes or code in codes]
    paid = put_back(FAILED, charged, ids) if charged else 0
    return paid, put_back(FAILED, codes, ids)


@contextmanager
def _ledger_of(looked_at: OpenLedger) -> Iterator[_PutBack]:
    """What puts notes back in the queue of an OUTPUT's own ledger, or of a fleet's."""
    if looked_at.fleet is not None:
        from harvester.ledger.postgres.retrying import retry_in_fleet

        yield partial(retry_in_fleet, looked_at.fleet)
    if looked_at.output is None:
        return
    from harvester.engine.open_output import open_held
    from harvester.engine.open_run import this_environment

    with closing(open_held(looked_at.output, this_environment())) as opened:
        yield opened.ledger.retry
