"""Fills the ledger of an OUTPUT with a harvest that comes out of another one."""

from __future__ import annotations

from harvester.ledger.keys import to_key
from harvester.ledger.moving import HISTORY, NOTES, Moving
from harvester.ledger.sqlite.store import Store


def fill(store: Store, moving: Moving) -> None:
    """Put all that is moved into an empty ledger of an OUTPUT; raises LocalIOError."""
    first, _ = moving.runs()
    with store.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", moving.identity.items())
        db.executemany(
            f"INSERT INTO job ({NOTES}, forgotten) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            ((seq, to_key(note_id), *rest) for seq, note_id, *rest in moving.notes()),
        )
        db.execute(
            "UPDATE tally SET jobs = (SELECT count(*) FROM job WHERE job.state = tally.state)"
        )
        for table, columns in HISTORY.items():
            places = ", ".join("?" for _ in columns.split(","))
            db.executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({places})",
                ((run - first + 1, *rest) for run, *rest in moving.history(table)),
            )
