"""The embedded ledger on SQLite, as a run uses it: one connection, one thread at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harvester.halt import Look
from harvester.ledger.keys import from_key, mark_of_key, to_key
from harvester.ledger.protocol import (
    Checkpoint,
    Claimed,
    Enrolled,
    FoundLine,
    Identity,
    Ledger,
    RunRequest,
    Sent,
    StartedRun,
)
from harvester.ledger.sql import BALANCES, IS_EMPTY, JOB_COLUMNS, NO_CODE, JobRow, job_of
from harvester.ledger.sqlite import adoption, claims, records, runs
from harvester.ledger.sqlite.bulk import BULK_AFTER, Bulk
from harvester.ledger.sqlite.reading import SqliteReader
from harvester.ledger.sqlite.store import SEQS, Connection, Store
from harvester.model import Counts, Job, Outcome, State
from harvester.money import Balances, read_balances
from harvester.rules.turns import Turns

_NO_REQUEST = RunRequest()
# In steps of SQLite's machine, of which it does some ten million a second.
_LOOK_EVERY = 100_000


class SqliteLedger(Store, Ledger):
    """The ledger of one OUTPUT.

    Its clock should not step while a run is on, since leases are kept by it. After `bulk_after` new
    ids of an input, the rest is enrolled in bulk. All methods are the `Ledger` protocol's, called
    directly, and those of an OUTPUT of which notes can be forgotten.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        *,
        sync: bool = False,
        connection: type[Connection] = Connection,
        bulk_after: int = BULK_AFTER,
    ) -> None:
        super().__init__(path, clock, connection, sync=sync)
        self._claims = 0
        self._frontier = 0
        self._repeats = 0
        try:
            with self.errors():
                self._reader = SqliteReader(self.db, path)
                self._bulk = Bulk(self.db, bulk_after)
                marks = self.db.execute("SELECT mark FROM forgotten")
                self._forgotten = {mark for (mark,) in marks}
            self._end_bulk()
        except BaseException:
            self.db.close()
            raise

    # Beginning and end

    def identity(self) -> Identity | None:
        endpoint = self.get_meta("endpoint")
        return None if endpoint is None else Identity(endpoint, bool(self.get_meta("simulated")))

    def identify(self, identity: Identity) -> None:
        with self.transaction():
            self.set_meta("endpoint", identity.endpoint)
            self.set_meta("simulated", int(identity.simulated))

    def checkpoint(self) -> Checkpoint:
        with self.errors():
            return self._reader.checkpoint()

    def synced(self) -> int:
        with self.errors():
            (length,) = self.db.execute("SELECT synced FROM output").fetchone()
        return int(length)

    def boot(self) -> str:
        return self.get_meta("boot") or ""

    def mark_boot(self, boot: str) -> None:
        self.set_meta("boot", boot)

    def is_queue_lost(self) -> bool:
        """Whether lines told of notes that were never enrolled, and no input was named since."""
        return self.get_meta("queue_lost") is not None

    def lose_lines(self, checkpoint: Checkpoint) -> int:
        return adoption.lose_lines(self, checkpoint)

    def knows(self, line: FoundLine) -> bool:
        with self.errors():
            row = self.db.execute(
                "SELECT 1 FROM job WHERE note_id = ? AND fetched_at - ? IN (0, 1) AND lines > 0"
                " AND ? IN (0, line_end)",
                (to_key(line.note_id), round(line.fetched_at * 1000), line.end),
            ).fetchone()
        return row is not None

    def begin_run(self, longest_delay: float, request: RunRequest = _NO_REQUEST) -> StartedRun:
        lost = runs.begin(self, longest_delay, request)
        self._frontier = self.get_meta("frontier") or 0
        return StartedRun(self.run, lost)

    def starts(self) -> dict[str, list[float]]:
        starts = runs.kept_starts(self).starts
        return {mark: [start / 1000 for start in some] for mark, some in starts.items()}

    def remember_starts(self, calls: int, starts: Mapping[str, Sequence[float]]) -> None:
        with self.transaction():
            kept = runs.kept_starts(self).starts
            # Those of tokens that are not used now stay as they are.
            kept |= {mark: [round(start * 1000) for start in some] for mark, some in starts.items()}
            runs.keep_starts(self, self.run, calls, kept)

    def is_rebuilding(self) -> bool:
        """Never, as it is done as one."""
        return False

    @contextmanager
    def as_one(self, look: Look) -> Iterator[None]:
        # What it raises interrupts the statement that is on.
        self.db.set_progress_handler(look, _LOOK_EVERY)
        try:
            with self.transaction():
                yield
        finally:
            self.db.set_progress_handler(None, 0)

    def forget_lines(self) -> None:
        adoption.forget_lines(self)

    def forget(self, ids: Sequence[str]) -> int:
        """Erase all that is known of notes, and keep a mark of each; gives how many were known.

        Their lines in OUTPUT are to be erased until `end_forgetting`.
        """
        self._end_bulk()
        keys = [to_key(note_id) for note_id in ids]
        with self.errors():
            self.db.execute("PRAGMA secure_delete = ON")
        with self.transaction() as db:
            find = "SELECT seq FROM job WHERE note_id = ?"
            seqs = json.dumps([seq for key in keys for (seq,) in db.execute(find, (key,))])
            claims.lose(self, f"seq IN {SEQS}", (seqs,), "the run ended")
            moves: Counter[State] = Counter()
            for (state,) in db.execute(f"SELECT state FROM job WHERE seq IN {SEQS}", (seqs,)):
                moves[State(state)] -= 1
            self.shift(moves)
            db.execute(f"DELETE FROM job WHERE seq IN {SEQS}", (seqs,))
            # Their numbers may be given to others.
            db.execute(f"UPDATE unanswered SET seq = 0 WHERE seq IN {SEQS}", (seqs,))
            db.execute(
                "UPDATE meta SET value = min(value, (SELECT coalesce(max(seq), 0) FROM job))"
                " WHERE key = 'frontier'"
            )
            self.remember_marks({mark_of_key(key) for key in keys})
            self.set_meta("forgetting", 1)
        return -sum(moves.values())

    def marks(self) -> frozenset[bytes]:
        """What is kept of the notes that are never to be fetched again."""
        return frozenset(self._forgotten)

    def remember_marks(self, marks: Collection[bytes]) -> None:
        """Never fetch the notes of these marks again."""
        with self.errors():
            add = "INSERT OR IGNORE INTO forgotten VALUES (?)"
            self.db.executemany(add, ((mark,) for mark in marks))
        self._forgotten.update(marks)

    def marked(self, marks: Collection[bytes]) -> list[str]:
        """The notes of these marks that are known here, which goes through all."""
        with self.errors():
            keys = self.db.execute("SELECT note_id FROM job")
            return [from_key(key) for (key,) in keys if mark_of_key(key) in marks]

    def forgets(self, note_id: str) -> bool:
        """Whether a note is never to be fetched again."""
        return bool(self._forgotten) and mark_of_key(to_key(note_id)) in self._forgotten

    def is_forgetting(self) -> bool:
        """Whether lines of such notes may be in OUTPUT, or beside it."""
        return self.get_meta("forgetting") is not None

    def end_forgetting(self) -> None:
        """Say that no line of such a note is there any more."""
        self.delete_meta("forgetting")

    def end_reading(self) -> None:
        """Say that OUTPUT was read to its end."""
        with self.transaction() as db:
            db.execute("UPDATE job SET forgotten = 0 WHERE forgotten > 0")

    def start_rate(self) -> float | None:
        found: float | None = self.get_meta("start_rate")
        return found

    def remember_start_rate(self, per_second: float) -> None:
        self.set_meta("start_rate", per_second)

    def balances(self) -> list[Balances]:
        with self.errors():
            return [read_balances(text) for (text,) in self.db.execute(BALANCES)]

    def keep_balances(self, balances: Balances) -> None:
        with self.transaction() as db:
            values = balances.as_text(), self.run
            db.execute("UPDATE run SET balances = ? WHERE id = ?", values)

    def finish_run(
        self, reason: str, exit_code: int, bad_lines: int = 0, bad_example: str | None = None
    ) -> None:
        with self.transaction() as db:
            db.execute(
                "UPDATE run SET finished_at = ?, reason = ?, exit_code = ?, bad_lines = ?,"
                " bad_example = ? WHERE id = ?",
                (self.now(), reason, exit_code, bad_lines, bad_example, self.run),
            )

    def close(self) -> None:
        """Fold the write-ahead log in and close."""
        self.put_back()
        with self.errors():
            self.db.close()

    # The run

    def enrol(
        self,
        ids: Sequence[str],
        refresh_before: float | None,
        extra_fields: Mapping[str, str] | None = None,
    ) -> Enrolled:
        if extra_fields:
            # Which job it goes to can only be told with the index.
            self._end_bulk()
        keys = [(to_key(note_id),) for note_id in ids if not self.forgets(note_id)]
        refreshed = differed = 0
        with self.transaction() as db:
            self.delete_meta("queue_lost")
            if refresh_before is not None:
                older = (self.now(), round(refresh_before * 1000))
                refreshed = db.executemany(
                    "UPDATE job SET state = 0, due = ? WHERE note_id = ? AND state = 1"
                    " AND fetched_at < ?",
                    ((older[0], key, older[1]) for (key,) in keys),
                ).rowcount
            added = self._bulk.add(keys)
            self.shift(Counter({State.QUEUED: added + refreshed, State.DONE: -refreshed}))
            if extra_fields:
                rows = [{"text": text, "key": to_key(id_)} for id_, text in extra_fields.items()]
                queued = "UPDATE job SET extra_fields = :text WHERE note_id = :key AND state = 0"
                differed = db.executemany(f"{queued} AND extra_fields <> :text", rows).rowcount
                db.executemany(f"{queued} AND extra_fields IS NULL", rows)
            elif refresh_before is None:
                self._bulk.begin()
        return Enrolled(added, refreshed, differed)

    def queued_of(self, note_ids: Sequence[str]) -> list[str]:
        """Those of some notes that are still to be called for."""
        self._end_bulk()
        with self.errors():
            jobs = self._reader.jobs_of(note_ids)
        return [note_id for note_id, job in jobs.items() if job.state is State.QUEUED]

    def end_input(self) -> int:
        self._end_bulk()
        repeats, self._repeats = self._repeats, 0
        return repeats

    def _end_bulk(self) -> None:
        if not self._bulk.is_on:
            return
        with self.transaction():
            repeats = self._bulk.end()
            self.shift(Counter({State.QUEUED: -repeats}))
        self._repeats += repeats

    def refresh(self, before: float) -> int:
        with self.transaction() as db:
            many = db.execute(
                "UPDATE job SET state = 0, due = ? WHERE state = 1 AND fetched_at < ?",
                (self.now(), round(before * 1000)),
            ).rowcount
            self.shift(Counter({State.QUEUED: many, State.DONE: -many}))
        return many

    def retry(
        self, states: Sequence[State], codes: Sequence[int] = (), ids: Sequence[str] = ()
    ) -> int:
        keys = [to_key(note_id) for note_id in ids]
        # The first condition lets SQLite use the index of failed jobs, or of empty ones.
        where = [IS_EMPTY if State.DONE in states else "state >= 2"]
        where.append(f"state IN ({','.join('?' * len(states))})")
        values: list[int | str | bytes] = [int(state) for state in states]
        if codes:
            where.append(f"coalesce(code, {NO_CODE}) IN ({','.join('?' * len(codes))})")
            values += codes
        if keys:
            where.append(f"note_id IN ({','.join('?' * len(keys))})")
            values += keys
        return self._requeue_where(" AND ".join(where), values)

    def requeue(self, seqs: Sequence[int]) -> None:
        self._requeue_where(f"state >= 2 AND seq IN {SEQS}", [json.dumps(list(seqs))])

    def _requeue_where(self, where: str, values: Sequence[int | str | bytes]) -> int:
        with self.transaction() as db:
            # `where` is made of constants and placeholders only.
            moved = db.execute(
                f"SELECT state, count(*) FROM job WHERE {where} GROUP BY state",
                values,
            ).fetchall()
            db.execute(
                f"UPDATE job SET state = 0, due = ?, run = NULL WHERE {where}",
                (self.now(), *values),
            )
            moves = Counter({State(state): -many for state, many in moved})
            total = -sum(moves.values())
            moves[State.QUEUED] = total
            self.shift(moves)
        return total

    def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        now = self.now()
        self._claims += 1
        claim_id = (self.run << 32) + self._claims
        if self._bulk.is_on and self._frontier >= self._bulk.last_sure:
            self._end_bulk()
        with self.transaction() as db:
            claims.lapse(self, now, lease, held)
            rows = db.execute(
                f"SELECT {JOB_COLUMNS} FROM job WHERE state = 0 AND due <= ?"
                " AND seq NOT IN (SELECT seq FROM claim) ORDER BY due LIMIT ?",
                (now, limit),
            ).fetchall()
            rows += self._claim_new(limit - len(rows))
            until = now + round(lease * 1000)
            db.execute(
                "INSERT INTO claim (seq, claim_id, until) SELECT value, ?, ? FROM json_each(?)",
                (claim_id, until, json.dumps([row[0] for row in rows])),
            )
            next_due = now if len(rows) == limit else self._next_due()
        delay = None if next_due is None else max(0.0, (next_due - now) / 1000)
        return Claimed([job_of(row, claim_id, self.run) for row in rows], delay)

    def _claim_new(self, limit: int) -> list[JobRow]:
        """Jobs never asked for, in input order; all before the frontier have been."""
        rows = self.db.execute(
            f"SELECT {JOB_COLUMNS} FROM job WHERE seq > ? AND seq <= ? AND state = 0"
            " AND due IS NULL ORDER BY seq LIMIT ?",
            (self._frontier, self._bulk.last_sure, limit),
        ).fetchall()
        if rows:
            self._frontier = rows[-1][0]
            self.set_meta("frontier", rows[-1][0])
        return rows

    def _next_due(self) -> int | None:
        row = self.db.execute(
            "SELECT due FROM job WHERE state = 0 AND due IS NOT NULL"
            " AND seq NOT IN (SELECT seq FROM claim) ORDER BY due LIMIT 1"
        ).fetchone()
        return row[0] if row else None

    def renew(self, jobs: Sequence[Job], lease: float) -> None:
        with self.transaction():
            claims.extend(self, jobs, lease)

    def mark_sent(self, jobs: Sequence[Job], lease: float, turns: Turns | None = None) -> Sent:  # noqa: ARG002 - all are ours
        now = self.now()
        until = now + round(lease * 1000)
        with self.transaction() as db:
            held = claims.held_of(self, jobs)
            seqs = json.dumps([job.seq for job in held])
            db.execute(
                f"UPDATE claim SET sent_at = ?, until = ? WHERE seq IN {SEQS}", (now, until, seqs)
            )
        return Sent(held)

    def record(
        self, outcomes: Sequence[Outcome], ends: Sequence[int], checkpoint: Checkpoint
    ) -> list[Outcome]:
        end_of = dict(
            zip((o.job.seq for o in outcomes if o.state is State.DONE), ends, strict=True)
        )
        with self.transaction():
            held = {job.seq for job in claims.held_of(self, [outcome.job for outcome in outcomes])}
            good = [outcome for outcome in outcomes if outcome.job.seq in held]
            claims.end(self, [outcome.job for outcome in good])
            records.write_saves(self, good, end_of)
            records.write_others(self, good)
            moves: Counter[State] = Counter(o.state for o in good)
            del moves[State.QUEUED]
            moves[State.QUEUED] = -sum(moves.values())
            self.shift(moves)
            records.count_calls(self, good)
            self.set_checkpoint(checkpoint)
        return [outcome for outcome in outcomes if outcome.job.seq not in held]

    def release(self, jobs: Sequence[Job]) -> None:
        now = self.now()
        with self.transaction() as db:
            seqs = claims.end(self, claims.held_of(self, jobs))
            db.execute(f"UPDATE job SET due = ? WHERE seq IN {SEQS}", (now, seqs))

    def abandon(self, jobs: Sequence[Job], how: str) -> None:
        with self.transaction():
            seqs = json.dumps([job.seq for job in claims.held_of(self, jobs)])
            claims.lose(self, f"seq IN {SEQS}", (seqs,), how)

    def adopt(self, lines: Sequence[FoundLine], checkpoint: Checkpoint) -> int:
        wanted = [line for line in lines if not self.forgets(line.note_id)]
        self._end_bulk()
        with self.transaction():
            if len(wanted) < len(lines):
                self.set_meta("forgetting", 1)
            return adoption.adopt(self, wanted, checkpoint)

    def counts(self) -> Counts:
        with self.errors():
            return self._reader.counts(self.clock())

    def charged_since(self, since: float) -> int:
        with self.errors():
            return self._reader.used(since, self.clock())

    def note_wait(self, until: float | None) -> None:
        self.set_meta("resumes_at", until)

    def settle(self, synced: int) -> None:
        with self.errors():
            self.db.execute("UPDATE output SET synced = ?", (synced,))
            self.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
