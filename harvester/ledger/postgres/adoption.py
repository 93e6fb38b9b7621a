"""Brings a part's lines and the ledger together: adopts lines, forgets them, loses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from harvester.ledger.postgres.intake import enrol
from harvester.ledger.postgres.transaction import TALLIED, Row, Transaction, lock
from harvester.ledger.protocol import Checkpoint, FoundLine
from harvester.ledger.sql import LOST

# Those that tell whether they are of calls of the part's dead runs.
_CLAIMS = (
    "SELECT claim.seq, sent_at IS NOT NULL AND run.part = %s FROM claim JOIN job USING (seq)"
    " JOIN run ON run.id = claim.run WHERE note_id = ANY(%s)"
    " ORDER BY claim.seq FOR UPDATE OF claim"
)
# A call that is out keeps its claim: it is recorded when its answer is there, or lapses.
_END_CLAIMS = "DELETE FROM claim WHERE seq = ANY(%s) AND (sent_at IS NULL OR seq = ANY(%s))"
_NOTES = """
SELECT note_id, seq, state = 1 FROM job WHERE note_id = ANY(%s) ORDER BY seq FOR UPDATE
"""
_LINES = """
SELECT note_id, line.fetched_at, is_there, line.part = %s, line.ctid::text
FROM job JOIN line USING (seq) WHERE note_id = ANY(%s)
"""
_WRITE = """
INSERT INTO line (seq, fetched_at, part, line_end, is_empty, found_at)
SELECT seq, fetched_at, %s, line_end, is_empty, CASE WHEN is_again THEN now_ms() END
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[], %s::boolean[])
    AS found (seq, fetched_at, line_end, is_empty, is_again)
ON CONFLICT (seq, fetched_at) DO UPDATE SET part = excluded.part, line_end = excluded.line_end,
    is_there = true, is_empty = excluded.is_empty,
    found_at = coalesce(line.found_at, excluded.found_at)
"""
# The run that made the lines found: this one, or the part's last before it.
_LAST_RUN = "(SELECT coalesce(max(id), 0) FROM run WHERE part = %(part)s)"
_COUNT = f"""
INSERT INTO activity SELECT {_LAST_RUN}, minute, 0, calls, 0
FROM unnest(%(minutes)s::bigint[], %(calls)s::bigint[]) AS paid (minute, calls)
ON CONFLICT (run, minute, code) DO UPDATE SET calls = activity.calls + excluded.calls
"""
# Calls that were taken for unanswered have been answered after all.
_ANSWER = f"""
WITH lost AS (
    SELECT lost.id, seq, row_number() OVER (PARTITION BY seq ORDER BY lost.id DESC) AS nth
    FROM unanswered AS lost JOIN run ON run.id = lost.run
    WHERE run.part = %(part)s AND seq = ANY(%(seqs)s) AND NOT in_activity AND how <> '{LOST}'
), answered AS (
    SELECT seq, count(*) AS calls FROM unnest(%(seqs)s::bigint[]) AS line (seq) GROUP BY seq
)
DELETE FROM unanswered
WHERE id IN (SELECT id FROM lost JOIN answered USING (seq) WHERE nth <= calls)
"""
# All lines of the part, or those past a length.
_FORGET = """
UPDATE line SET is_there = false WHERE part = %(part)s AND is_there
AND (%(length)s::bigint IS NULL OR line_end > %(length)s)
"""
# Whoever has a part read anew, takes what is there as the truth.
_LOSE = f"""
INSERT INTO unanswered (run, seq, sent_at, how, in_activity)
SELECT {_LAST_RUN}, seq, fetched_at, '{LOST}', true FROM line JOIN part ON part.id = line.part
WHERE part.id = %(part)s AND NOT (is_there OR rebuilding) AND fetched_at IS NOT NULL
"""
_COUNT_LOST = """
SELECT count(DISTINCT seq) FROM line AS gone
WHERE gone.part = %s AND NOT is_there
    AND NOT EXISTS (SELECT FROM line WHERE line.seq = gone.seq AND is_there)
"""
_FOUND = "unnest(%(seqs)s::bigint[], %(attempts)s::int[]) AS named (seq, attempts)"
_GONE = """(
    SELECT DISTINCT seq, NULL::int AS attempts FROM line WHERE part = %(part)s AND NOT is_there
    AND (fetched_at IS NOT NULL OR %(is_all)s)
) AS named"""
_LOCK = f"""
SELECT count(*) FROM (
    SELECT FROM job WHERE seq IN (SELECT seq FROM {_GONE}) ORDER BY seq FOR UPDATE
) AS locked
"""
# Has notes be what their lines tell: the newest that is there is the current one. A note with lines
# found is done, one whose lines are gone is queued. Gives how many are.
_SETTLE = f"""
WITH settled AS MATERIALIZED (
    SELECT seq, state AS before, named.attempts, current.*, CASE
        WHEN named.attempts IS NOT NULL THEN 1
        WHEN state = 1 AND current.lines IS NULL THEN 0 ELSE state END AS state
    FROM {{named}} JOIN job USING (seq) LEFT JOIN LATERAL (
        SELECT part, fetched_at, line_end, is_empty, count(*) OVER () AS lines FROM line
        WHERE line.seq = job.seq AND is_there ORDER BY fetched_at DESC NULLS LAST LIMIT 1
    ) AS current ON true
), written AS (
    UPDATE job SET part = settled.part, fetched_at = coalesce(settled.fetched_at, job.fetched_at),
        line_end = settled.line_end, lines = coalesce(settled.lines, 0),
        state = settled.state, attempts = greatest(job.attempts, settled.attempts),
        due = CASE WHEN settled.state = before THEN due WHEN settled.state = 0 THEN now_ms() END,
        run = CASE WHEN settled.state <> 1 THEN run END,
        reason = CASE WHEN settled.state <> 1 THEN reason END,
        code = CASE WHEN settled.state <> 1 THEN code WHEN is_empty THEN 0 END
    FROM settled WHERE job.seq = settled.seq
), moved AS (
    SELECT before AS state, -1 AS jobs FROM settled UNION ALL SELECT state, 1 FROM settled
), {TALLIED}
SELECT count(*) FROM settled WHERE state < before
"""


class _Note(Struct):
    """What is known of a note that is on a line found.

    `moments` tell of each of its lines whether it is there; `owed` are rows of those whose moments
    are not known, though their calls are counted as charged.
    """

    seq: int
    is_done: bool
    has_line: bool = False
    attempts: int = 0
    moments: dict[int, bool] = field(default_factory=dict)
    owed: list[str] = field(default_factory=list)

    def has_newer(self, moment: int) -> bool:
        """Whether a line is there that was fetched after a moment."""
        return any(is_there and at > moment for at, is_there in self.moments.items())


class _Taken(Struct):
    """Lines that were found, by note and moment.

    Those `paid` were not counted as charged, those paid for `again` are of notes that were done;
    `owed` are rows that stood for some of them.
    """

    lines: dict[tuple[int, int], FoundLine] = field(default_factory=dict)
    paid: list[tuple[int, int]] = field(default_factory=list)
    again: set[tuple[int, int]] = field(default_factory=set)
    owed: list[str] = field(default_factory=list)


def moment_of(line: FoundLine) -> int:
    """When a line was fetched, in Unix milliseconds."""
    return round(line.fetched_at * 1000)


def adopt(
    tx: Transaction, lines: Sequence[FoundLine], checkpoint: Checkpoint, *, is_anew: bool
) -> tuple[int, int]:
    """Make the jobs of the lines found done; gives how many were not, and how many duplicates."""
    tx.checkpoint(checkpoint)
    ids = list(dict.fromkeys(line.note_id for line in lines))
    enrol(tx, ids, None, {})
    claims, notes = _known(tx, ids)
    new = sum(not (note.is_done and note.has_line) for note in notes.values())
    taken = _take(notes, lines, is_anew=is_anew)
    tx.later("DELETE FROM line WHERE ctid = ANY(%s::tid[])", (taken.owed,))
    rows = ((*at, line.end, line.is_empty, at in taken.again) for at, line in taken.lines.items())
    tx.later_rows(_WRITE, rows, tx.part)
    seqs = [note.seq for note in notes.values()]
    attempts = [note.attempts for note in notes.values()]
    named = {"run": tx.run, "seqs": seqs, "attempts": attempts}
    tx.later(_SETTLE.format(named=_FOUND), named)
    late = Counter(seq for seq, _ in taken.paid)
    # Before a run begins, the part's claims are a dead run's: a line found answers its call.
    answered = [seq for seq, is_own in claims if is_own and not tx.run and late[seq]]
    late.subtract(answered)
    tx.later(_END_CLAIMS, (seqs, answered))
    tx.later(_ANSWER, {"part": tx.part, "seqs": list(late.elements())})
    minutes = Counter(moment // 60_000 for _, moment in taken.paid)
    named = {"part": tx.part, "minutes": list(minutes), "calls": list(minutes.values())}
    tx.later(_COUNT, named)
    return new, len(taken.again)


def _take(notes: Mapping[str, _Note], lines: Iterable[FoundLine], *, is_anew: bool) -> _Taken:
    """Decide what each line found is, in their order.

    One is known by its note and its moment, whatever part it was in. A note that is done already
    was paid for again, unless the part is read anew from its beginning: then its older lines are
    those of refreshes. One that comes back was, if a newer one has taken its place.
    """
    taken = _Taken()
    for line in lines:
        note, moment = notes[line.note_id], moment_of(line)
        # Earlier versions cut moments in lines and rounded them in the ledger.
        moment += moment not in note.moments and moment + 1 in note.moments
        place, is_there = (note.seq, moment), note.moments.get(moment)
        if is_there is None and note.owed:
            taken.owed.append(note.owed.pop())
        elif is_there is None:
            taken.paid.append(place)
        is_new = is_there is None or (not is_there and note.has_newer(moment))
        if is_new and note.is_done and note.has_line and not is_anew:
            taken.again.add(place)
        taken.lines[place] = line
        note.attempts = max(note.attempts, line.attempts)
        note.moments[moment] = note.is_done = note.has_line = True
    return taken


def _known(tx: Transaction, ids: Sequence[str]) -> tuple[list[Row], dict[str, _Note]]:
    """The claims on notes, and what is known of each note; all are locked."""
    claims, rows, lines = tx.ask_all(
        (_CLAIMS, (tx.part, ids)), (_NOTES, (ids,)), (_LINES, (tx.part, ids))
    )
    notes = {note_id: _Note(*known) for note_id, *known in rows}
    for note_id, moment, is_there, is_ours, row in lines:
        note = notes[note_id]
        note.has_line |= is_there
        if moment is not None:
            note.moments[moment] = is_there
        elif is_ours and not is_there:
            note.owed.append(row)
    return claims.fetchall(), notes


def forget_lines(tx: Transaction) -> None:
    """Know none of the part's lines, and vouch for nothing; its notes stay done by them."""
    tx.ask(_FORGET, {"part": tx.part, "length": None})
    tx.later("UPDATE part SET rebuilding = true WHERE id = %s", (tx.part,))
    tx.checkpoint(Checkpoint())


def lose_lines(tx: Transaction, checkpoint: Checkpoint) -> int:
    """Know no more of the part's lines than a power cut left; gives how many notes have none now.

    `checkpoint` is what is left of the part.
    """
    tx.ask(_FORGET, {"part": tx.part, "length": checkpoint.length})
    ((lost,),) = tx.ask(_COUNT_LOST, (tx.part,))
    update = "UPDATE part SET synced = least(synced, %s) WHERE id = %s"
    tx.later(update, (checkpoint.length, tx.part))
    tx.checkpoint(checkpoint)
    return int(lost)


def lose_part(tx: Transaction) -> int:
    """Take all of the part as gone for ever; gives how many notes are queued.

    What is found of it one day was charged already.
    """
    forget_lines(tx)
    return _end(tx, is_all=True)


def end_reading(tx: Transaction) -> None:
    """Queue the notes whose lines were not found again, and know of those lines no more.

    What only another ledger knew stays done: nobody has said that it is to be paid for again.
    """
    tx.ask_all((lock("jobs"), ()), (_LOSE, {"part": tx.part}))
    _end(tx, is_all=False)
    tx.later("DELETE FROM line WHERE part = %s AND NOT is_there", (tx.part,))


def _end(tx: Transaction, *, is_all: bool) -> int:
    """Have the notes of lines that are gone be what is left; gives how many are queued."""
    values = {"part": tx.part, "run": tx.run, "is_all": is_all}
    _, queued = tx.ask_all((_LOCK, values), (_SETTLE.format(named=_GONE), values))
    tx.later("UPDATE part SET rebuilding = false WHERE id = %s", (tx.part,))
    return int(queued.fetchall()[0][0])
