"""Brings a part's lines and the ledger together: adopts lines, forgets them, loses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harvester.ledger.postgres.reconcile import Known, Reconciled, moment_of, reconcile
from harvester.ledger.postgres.transaction import Transaction, lock
from harvester.ledger.protocol import Checkpoint, FoundLine
from harvester.ledger.sql import LOST
from harvester.model import State

# Those that tell whether they are of calls of the part's dead runs.
_CLAIMS = (
    "SELECT claim.seq, sent_at IS NOT NULL AND run.part = %s FROM claim JOIN job USING (seq)"
    " JOIN run ON run.id = claim.run WHERE note_id = ANY(%s)"
    " ORDER BY claim.seq FOR UPDATE OF claim"
)
# A call that is out keeps its claim: it is recorded when its answer is there, or lapses.
_END_CLAIMS = "DELETE FROM claim WHERE seq = ANY(%s) AND (sent_at IS NULL OR seq = ANY(%s))"
_KNOWN = (
    "SELECT note_id, seq, state, fetched_at, part, line_end, attempts, lines, coalesce("
    "(SELECT lines FROM forgotten WHERE forgotten.part = %s AND forgotten.seq = job.seq), 0),"
    " coalesce(code = 0, false) FROM job WHERE note_id = ANY(%s) ORDER BY seq FOR UPDATE"
)
_WRITE = """
INSERT INTO job (state, seq, note_id, attempts, part, fetched_at, line_end, lines, code)
SELECT 1, * FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::int[], %s::int[])
ON CONFLICT (note_id) DO UPDATE SET state = 1, due = NULL, run = NULL, reason = NULL,
    code = excluded.code, attempts = excluded.attempts, fetched_at = excluded.fetched_at,
    part = excluded.part, line_end = excluded.line_end, lines = job.lines + excluded.lines
"""
_ADD_OLDER = """
INSERT INTO older (seq, part, lines, fetched_at, line_end)
SELECT seq, part, count(*), max(fetched_at), (array_agg(line_end ORDER BY fetched_at DESC))[1]
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
AS found (seq, part, fetched_at, line_end)
GROUP BY seq, part
ON CONFLICT (seq, part) DO UPDATE SET lines = older.lines + excluded.lines,
    fetched_at = greatest(older.fetched_at, excluded.fetched_at),
    line_end = CASE WHEN older.fetched_at > excluded.fetched_at THEN older.line_end
        ELSE excluded.line_end END
"""
_ADD_DUPLICATES = """
INSERT INTO duplicate (part, seq, line_end, fetched_at, found_at)
SELECT %s, seq, line_end, fetched_at, now_ms()
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS found (seq, line_end, fetched_at)
ON CONFLICT DO NOTHING
"""
_FIND_AGAIN = """
UPDATE forgotten SET lines = forgotten.lines - found.lines
FROM (SELECT %s::bigint AS part) AS mine, unnest(%s::bigint[], %s::int[]) AS found (seq, lines)
WHERE forgotten.part = mine.part AND forgotten.seq = found.seq
"""
_COUNT = """
INSERT INTO activity SELECT %s, minute, 0, calls, 0
FROM unnest(%s::bigint[], %s::bigint[]) AS paid (minute, calls)
ON CONFLICT (run, minute, code) DO UPDATE SET calls = activity.calls + excluded.calls
"""
# Calls that were taken for unanswered have been answered after all.
_ANSWER = f"""
WITH lost AS (
    SELECT lost.id, seq, row_number() OVER (PARTITION BY seq ORDER BY lost.id DESC) AS nth
    FROM unanswered AS lost JOIN run ON run.id = lost.run
    WHERE run.part = %s AND seq = ANY(%s) AND NOT in_activity AND how <> '{LOST}'
), answered AS (
    SELECT seq, count(*) AS calls FROM unnest(%s::bigint[]) AS line (seq) GROUP BY seq
)
DELETE FROM unanswered
WHERE id IN (SELECT id FROM lost JOIN answered USING (seq) WHERE nth <= calls)
"""
# Lines of ours that are gone: those past a length, or all. What another part holds stays paid for.
_GONE = "job.part = %(part)s AND (%(all)s OR job.line_end > %(length)s)"
# What is gone was counted as charged, should it be found again.
_FORGET = f"""
INSERT INTO forgotten (part, seq, lines)
SELECT %(part)s, seq, sum(lines) FROM (
    SELECT seq, lines FROM older WHERE %(all)s AND part = %(part)s
    UNION ALL SELECT seq, 1 FROM job WHERE {_GONE}
) AS line GROUP BY seq
ON CONFLICT (part, seq) DO UPDATE SET lines = forgotten.lines + excluded.lines
"""
_INHERIT = f"""
WITH heir AS (
    SELECT DISTINCT ON (older.seq) older.seq, older.part, older.fetched_at,
        older.line_end
    FROM job JOIN older USING (seq) WHERE {_GONE} AND older.part <> %(part)s
    ORDER BY older.seq, older.fetched_at DESC
), kept AS (
    UPDATE job SET part = heir.part, fetched_at = heir.fetched_at, line_end = heir.line_end,
        lines = job.lines - 1
    FROM heir WHERE job.seq = heir.seq
)
UPDATE older SET lines = older.lines - 1, line_end = NULL FROM heir
WHERE older.seq = heir.seq AND older.part = heir.part
"""
_FORGET_OLDER = """
WITH gone AS (DELETE FROM older WHERE part = %(part)s RETURNING seq, lines)
UPDATE job SET lines = job.lines - gone.lines FROM gone WHERE job.seq = gone.seq
"""
_LOSE_DUPLICATES = """
WITH gone AS (
    DELETE FROM duplicate WHERE part = %(part)s AND line_end > %(length)s
    RETURNING seq, line_end
), lines AS (
    SELECT gone.seq, count(*) AS lines FROM gone JOIN job USING (seq)
    WHERE (job.part, job.line_end) IS DISTINCT FROM (%(part)s::bigint, gone.line_end)
    GROUP BY gone.seq
), fewer AS (
    UPDATE older SET lines = older.lines - lines.lines, line_end = NULL FROM lines
    WHERE older.seq = lines.seq AND older.part = %(part)s
)
UPDATE job SET lines = job.lines - lines.lines FROM lines WHERE job.seq = lines.seq
"""
_TIDY = "DELETE FROM older WHERE lines <= 0"


def adopt(
    tx: Transaction, lines: Sequence[FoundLine], checkpoint: Checkpoint, *, is_anew: bool
) -> tuple[int, int]:
    """Make the jobs of the lines found done; gives how many were not, and how many duplicates."""
    tx.ask(lock("jobs"))
    by_note: dict[str, list[FoundLine]] = {}
    for line in lines:
        by_note.setdefault(line.note_id, []).append(line)
    ids = list(by_note)
    own = [seq for seq, is_own in tx.ask(_CLAIMS, (tx.part, ids)) if is_own and not tx.run]
    known = {
        row[0]: Known(row[1], State(row[2]), *row[3:]) for row in tx.ask(_KNOWN, (tx.part, ids))
    }
    reconciled = [
        reconcile(known.get(note_id), found, tx.part, is_anew=is_anew)
        for note_id, found in by_note.items()
    ]
    tx.checkpoint(checkpoint)
    if reconciled:
        _write(tx, reconciled, known)
    paid = [known[f.note_id].seq for f in reconciled if f.note_id in known for _ in f.paid]
    # Before a run begins, the part's claims are a dead run's: a line found answers its call.
    answered = [seq for seq in own if seq in paid]
    for seq in answered:
        paid.remove(seq)
    tx.later(_END_CLAIMS, ([job.seq for job in known.values()], answered))
    _pay(tx, reconciled, paid)
    return sum(note.is_new for note in reconciled), sum(len(note.duplicates) for note in reconciled)


def _write(tx: Transaction, reconciled: Sequence[Reconciled], known: dict[str, Known]) -> None:
    ((last,),) = tx.ask("SELECT coalesce(max(seq), 0) FROM job")
    new = (note.note_id for note in reconciled if note.note_id not in known)
    seq_of = {note_id: last + n for n, note_id in enumerate(new, 1)}
    seq_of |= {note_id: job.seq for note_id, job in known.items()}
    named = [(seq_of[note.note_id], note) for note in reconciled]
    written = (
        (seq, f.note_id, f.attempts, *(f.current or ()), f.lines, 0 if f.is_empty else None)
        for seq, f in named
    )
    again = ((seq, line.end, moment_of(line)) for seq, f in named for line in f.duplicates)
    tx.later_rows(_WRITE, written)
    tx.later_rows(_ADD_OLDER, ((seq, *line) for seq, f in named for line in f.older))
    tx.later_rows(_ADD_DUPLICATES, again, tx.part)
    found = ((seq, f.found_again) for seq, f in named if f.found_again)
    tx.later_rows(_FIND_AGAIN, found, tx.part)
    moves = Counter({State.DONE: len(reconciled)})
    moves.subtract(job.state for job in known.values())
    tx.shift(moves)


def _pay(tx: Transaction, reconciled: Sequence[Reconciled], late: Sequence[int]) -> None:
    """Count as charged what is not known as charged; `late` answers came after all, by job."""
    minutes = Counter(int(line.fetched_at) // 60 for note in reconciled for line in note.paid)
    tx.later_rows(_COUNT, minutes.items(), tx.last_run())
    if late:
        tx.later(_ANSWER, (tx.part, list(late), list(late)))


def forget_lines(tx: Transaction) -> int:
    """Take the notes whose only lines are the part's as queued, and vouch for nothing.

    Gives how many.
    """
    which: dict[str, object] = {"part": tx.part, "all": True, "length": 0}
    tx.do(_FORGET, which)
    tx.do(_FORGET_OLDER, which)
    many = _drop(tx, which)
    tx.checkpoint(Checkpoint())
    tx.later("UPDATE part SET rebuilding = true WHERE id = %s", (tx.part,))
    return many


def lose_lines(tx: Transaction, checkpoint: Checkpoint) -> int:
    """Queue again the notes whose paid lines a power cut took; gives how many.

    `checkpoint` is what is left of the part.
    """
    which: dict[str, object] = {"part": tx.part, "all": False, "length": checkpoint.length}
    run = tx.last_run()
    query = f"SELECT %(run)s, seq, fetched_at, '{LOST}', true FROM job WHERE {_GONE}"
    insert = f"INSERT INTO unanswered (run, seq, sent_at, how, in_activity) {query}"
    tx.do(insert, {**which, "run": run})
    tx.do(_FORGET, which)
    tx.do(_LOSE_DUPLICATES, which)
    lost = _drop(tx, which)
    tx.later(
        "UPDATE part SET synced = least(synced, %s) WHERE id = %s", (checkpoint.length, tx.part)
    )
    tx.checkpoint(checkpoint)
    return lost


def _drop(tx: Transaction, which: dict[str, object]) -> int:
    """Let current lines go; a note with a line in another part stays done by that one."""
    tx.do(_INHERIT, which)
    tx.do(_TIDY)
    is_forgetting = which["all"]
    states = (State.DONE,) if is_forgetting else tuple(State)
    rows = tx.ask(f"SELECT state, count(*) FROM job WHERE {_GONE} GROUP BY state", which)
    moves = Counter({State(state): -many for state, many in rows if state in states})
    queued = -sum(moves.values())
    moves[State.QUEUED] += queued
    is_queued = "state = 1" if is_forgetting else "true"
    tx.do(
        f"UPDATE job SET due = CASE WHEN {is_queued} THEN now_ms() ELSE due END,"
        f" state = CASE WHEN {is_queued} THEN 0 ELSE state END,"
        f" part = NULL, line_end = NULL, lines = lines - 1 WHERE {_GONE}",
        which,
    )
    tx.shift(moves)
    return queued
