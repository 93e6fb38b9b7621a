"""Claims: which still hold, how long, and what becomes of those that nobody will record."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from harvester.ledger.sqlite.store import SEQS, Store
from harvester.model import Job


def held_of(store: Store, jobs: Sequence[Job]) -> list[Job]:
    """Those of the jobs whose claims still hold."""
    seqs = json.dumps([job.seq for job in jobs])
    ids = dict(store.db.execute(f"SELECT seq, claim_id FROM claim WHERE seq IN {SEQS}", (seqs,)))
    return [job for job in jobs if ids.get(job.seq) == job.claim_id]


def extend(store: Store, jobs: Collection[Job], lease: float) -> None:
    """Hold claims for so many seconds from now, where they still hold."""
    until = store.now() + round(lease * 1000)
    store.db.executemany(
        "UPDATE claim SET until = ? WHERE seq = ? AND claim_id = ?",
        ((until, job.seq, job.claim_id) for job in jobs),
    )


def end(store: Store, jobs: Sequence[Job]) -> str:
    """End the claims on jobs; gives the numbers of these as a JSON list."""
    seqs = json.dumps([job.seq for job in jobs])
    store.db.execute(f"DELETE FROM claim WHERE seq IN {SEQS}", (seqs,))
    return seqs


def lapse(store: Store, now: int, lease: float, held: Collection[Job]) -> None:
    """Lose the claims whose leases have lapsed, but renew those of jobs still worked on."""
    rows = store.db.execute("SELECT seq, claim_id FROM claim WHERE until <= ?", (now,))
    if lapsed := set(rows):
        extend(store, [job for job in held if (job.seq, job.claim_id) in lapsed], lease)
        lose(store, "until <= ?", (now,), "its lease lapsed")


def lose(store: Store, where: str, values: tuple[int | str, ...], how: str) -> int:
    """End claims nobody will record; those that were sent are unanswered. Gives how many.

    `where` is made of constants and placeholders only.
    """
    db = store.db
    rows = db.execute(f"SELECT seq, claim_id >> 32, sent_at FROM claim WHERE {where}", values)
    lost = rows.fetchall()
    sent = [row for row in lost if row[2] is not None]
    db.executemany(
        "INSERT INTO unanswered (run, seq, sent_at, how) VALUES (?, ?, ?, ?)",
        ((run, seq, sent_at, how) for seq, run, sent_at in sent),
    )
    db.executemany(
        "UPDATE job SET attempts = attempts + 1 WHERE seq = ?", ((row[0],) for row in sent)
    )
    now = store.now()
    db.executemany("UPDATE job SET due = ? WHERE seq = ?", ((now, row[0]) for row in lost))
    db.execute(f"DELETE FROM claim WHERE {where}", values)
    return len(sent)
