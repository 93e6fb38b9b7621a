"""Puts notes of a harvest back in the queue, from outside any run of it."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.errors import UsageError
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.postgres import adoption, intake
from harvester.ledger.postgres.claims import lose
from harvester.ledger.postgres.connection import session
from harvester.ledger.postgres.runs import OF_PART
from harvester.ledger.postgres.transaction import Transaction, lock
from harvester.model import State

# No part and no run has it: the hosts that run count what is theirs, and are not disturbed.
_NOBODY = 0
_PARTS = """
SELECT id, op, uuid, path, host, EXISTS (SELECT FROM member WHERE member.part = part.id
    AND alive_until > now_ms()) FROM part ORDER BY id
"""


def retry_in_fleet(
    fleet: FleetAddress,
    states: Sequence[State],
    codes: Sequence[int] = (),
    ids: Sequence[str] = (),
) -> int:
    """Put failed jobs back in the queue; empty `codes` or `ids` mean any. Gives how many.

    Raises UsageError, LedgerError, LocalIOError. Where an answer was lost, it may be called again.
    """
    with session(fleet, "harvester retry") as db:
        tx = Transaction(db, _NOBODY, _NOBODY, _NOBODY)
        many = intake.retry(tx, states, codes, ids)
        tx.commit()
    return many


def lose_part_in_fleet(fleet: FleetAddress, part: str) -> int:
    """Take a part, by its path or its name, as gone for ever; gives how many notes are queued.

    Errors as `retry_in_fleet`'s; UsageError for a part that is not there, or whose host is alive.
    """
    with session(fleet, "harvester retry") as db:
        rows = db.execute(_PARTS).fetchall()
        found = [row for row in rows if part in (row[2], row[3])]
        if len(found) != 1:
            known = ", ".join(f"{path} on {host} ({uuid})" for _, _, uuid, path, host, _ in rows)
            raise UsageError(
                f"{part} names {'no part' if not found else 'more than one part'} of the harvest "
                f"{fleet.harvest}; there are: {known}."
            )
        ((number, op, _, _, host, is_alive),) = found
        if is_alive:
            raise UsageError(f"{part} is not lost: a run on {host} writes it now.")
        tx = Transaction(db, number, _NOBODY, op)
        lost = {"part": number, "how": "its part is lost"}
        tx.ask_all((lock("jobs"), ()), (lose(OF_PART), lost))
        many = adoption.lose_part(tx)
        tx.commit()
    return many
