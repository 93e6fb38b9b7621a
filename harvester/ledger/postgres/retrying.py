"""Puts failed notes of a harvest back in the queue, from outside any run of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import psycopg

from harvester.ledger.postgres import intake
from harvester.ledger.postgres.connection import Address, failure, refusal
from harvester.ledger.postgres.schema import schema_of
from harvester.ledger.postgres.transaction import Transaction
from harvester.model import State

# No part and no run has it: the hosts that run count what is theirs, and are not disturbed.
_NOBODY = 0


def retry_in_fleet(
    url: str,
    harvest: str,
    states: Sequence[State],
    codes: Sequence[int] = (),
    ids: Sequence[str] = (),
) -> int:
    """Put failed jobs back in the queue; empty `codes` or `ids` mean any. Gives how many.

    Raises UsageError, LedgerError, LocalIOError. Where an answer was lost, it may be called again.
    """
    address = Address.parse(url)
    try:
        db = address.connect(schema_of(harvest), "harvester retry")
    except psycopg.Error as error:
        raise refusal(error, address) from error
    try:
        with closing(db), db.for_long():
            tx = Transaction(db, _NOBODY, _NOBODY, _NOBODY)
            many = intake.retry(tx, states, codes, ids)
            tx.commit()
    except psycopg.Error as error:
        raise failure(error, address) from error
    return many
