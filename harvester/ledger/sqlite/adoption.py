"""Brings OUTPUT's lines and the ledger together: adopts lines, forgets them, loses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harvester.ledger.keys import to_key
from harvester.ledger.protocol import Checkpoint, FoundLine
from harvester.ledger.sql import LOST, OVERTAKEN
from harvester.ledger.sqlite.claims import lose
from harvester.ledger.sqlite.records import add_activity
from harvester.ledger.sqlite.store import Store
from harvester.model import State


def adopt(store: Store, lines: Iterable[FoundLine], checkpoint: Checkpoint) -> int:
    """Make the jobs of the lines found done; gives how many were not."""
    with store.transaction() as db:
        db.execute(
            "CREATE TEMP TABLE IF NOT EXISTS found (note_id, attempts, fetched_at, ends, code)"
        )
        db.executemany(
            "INSERT INTO found VALUES (?, ?, ?, ?, ?)",
            (
                (
                    to_key(line.note_id),
                    line.attempts,
                    round(line.fetched_at * 1000),
                    line.end,
                    0 if line.is_empty else None,
                )
                for line in lines
            ),
        )
        _count_found(store)
        adopted = _adopt_found(store)
        db.execute("DELETE FROM found")
        store.set_checkpoint(checkpoint)
    return adopted


def _count_found(store: Store) -> None:
    """Count as charged the calls of the lines found that are not counted yet.

    A line that is there twice was paid for once. A claim of a note whose lines were all counted
    is of a call that none of them answers.
    """
    # The ledger's moments are rounded to the millisecond, a line's are cut.
    fresh = store.db.execute(
        "SELECT seq, line.fetched_at / 60000 FROM (SELECT note_id, fetched_at, row_number()"
        " OVER (PARTITION BY note_id ORDER BY min(ends)) AS nth FROM found WHERE NOT EXISTS"
        " (SELECT 1 FROM job WHERE job.note_id = found.note_id AND lines > 0"
        " AND job.fetched_at - found.fetched_at IN (0, 1)) GROUP BY note_id, fetched_at)"
        " AS line LEFT JOIN job USING (note_id) WHERE nth > coalesce(forgotten, 0)"
    ).fetchall()
    run = store.last_run()
    minutes = Counter(minute for _, minute in fresh)
    add_activity(store, ((run, minute, 0, calls, 0) for minute, calls in minutes.items()))
    store.db.executemany("DELETE FROM claim WHERE seq = ?", ((seq,) for seq, _ in fresh if seq))
    if store.run:
        # Before that, the next run finds what dead ones left.
        found = "seq IN (SELECT seq FROM job WHERE note_id IN (SELECT note_id FROM found))"
        lose(store, found, (), OVERTAKEN)


def _adopt_found(store: Store) -> int:
    """Make the jobs of the lines found done, in the order of the lines; gives how many."""
    db = store.db
    notes: int = db.execute("SELECT count(DISTINCT note_id) FROM found").fetchone()[0]
    known = Counter(
        {
            State(state): jobs
            for state, jobs in db.execute(
                "SELECT state, count(*) FROM job"
                " WHERE note_id IN (SELECT note_id FROM found) GROUP BY state"
            )
        }
    )
    db.execute(
        "INSERT INTO job (note_id, state, attempts, fetched_at, line_end, lines, code)"
        " SELECT note_id, 1, attempts, fetched_at, ends, 1, code FROM found WHERE 1"
        " ORDER BY ends ON CONFLICT (note_id) DO UPDATE SET state = 1, due = NULL, run = NULL,"
        " code = excluded.code, reason = NULL, attempts = max(attempts, excluded.attempts),"
        " fetched_at = excluded.fetched_at, line_end = excluded.line_end, lines = lines + 1,"
        " forgotten = max(0, forgotten - 1)"
    )
    if known.total() < notes:
        # What else was enrolled with them is not known, either: an input that is named tells.
        store.set_meta("queue_lost", 1)
    moves = Counter({State.DONE: notes})
    moves.subtract(known)
    store.shift(moves)
    return notes - known[State.DONE]


def forget_lines(store: Store) -> None:
    """Take every done job as queued, and vouch for nothing."""
    with store.transaction() as db:
        queue = "UPDATE job SET state = 0, due = ? WHERE state = 1"
        many = db.execute(queue, (store.now(),)).rowcount
        db.execute(
            "UPDATE job SET line_end = NULL, forgotten = forgotten + lines, lines = 0"
            " WHERE lines > 0"
        )
        store.shift(Counter({State.DONE: -many, State.QUEUED: many}))
        store.set_checkpoint(Checkpoint())


def lose_lines(store: Store, checkpoint: Checkpoint) -> int:
    """Queue again the jobs whose paid lines a power cut took; gives how many."""
    with store.transaction() as db:
        lost = db.execute(
            "SELECT seq, fetched_at, state FROM job WHERE line_end > ?", (checkpoint.length,)
        ).fetchall()
        run, now = store.last_run(), store.now()
        db.executemany(
            "INSERT INTO unanswered (run, seq, sent_at, how) VALUES (?, ?, ?, ?)",
            ((run, seq, fetched, LOST) for seq, fetched, _ in lost),
        )
        db.executemany(
            "UPDATE job SET state = 0, due = ?, line_end = NULL, lines = lines - 1,"
            " forgotten = forgotten + 1 WHERE seq = ?",
            ((now, seq) for seq, _, _ in lost),
        )
        moves = Counter({State.QUEUED: len(lost)})
        moves.subtract(State(state) for _, _, state in lost)
        store.shift(moves)
        db.execute("UPDATE output SET synced = min(synced, ?)", (checkpoint.length,))
        store.set_checkpoint(checkpoint)
    return len(lost)
