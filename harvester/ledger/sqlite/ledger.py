"""The embedded ledger on SQLite: one connection, used from one thread at a time."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harvester.errors import DamagedLedgerError, HaltedError, LocalIOError
from harvester.halt import Look
from harvester.ledger.keys import from_key, mark_of_key, to_key
from harvester.ledger.protocol import (
    ANY_MARK,
    Checkpoint,
    Claimed,
    Enrolled,
    FoundLine,
    Identity,
    RunRequest,
    Sent,
    StartedRun,
)
from harvester.ledger.sql import (
    BALANCES,
    DAY_MS,
    IS_EMPTY,
    LOST,
    NO_CODE,
    OVERTAKEN,
    code_of,
)
from harvester.ledger.sqlite.bulk import BULK_AFTER, Bulk
from harvester.ledger.sqlite.reading import SqliteReader
from harvester.ledger.sqlite.schema import migrate
from harvester.model import Counts, Job, Outcome, State
from harvester.money import Balances, read_balances
from harvester.rules.latency import bucket_of
from harvester.rules.turns import Turns

Connection = sqlite3.Connection
# A reader such as `status` may hold the file for a moment; nobody holds it this long.
_BUSY_SECONDS = 30.0
# No window holds more starts (pace/window.py).
_MOST_UNKEPT = 4096
_NO_REQUEST = RunRequest()
# In steps of SQLite's machine, of which it does some ten million a second.
_LOOK_EVERY = 100_000
_SEQS = "(SELECT value FROM json_each(?))"
_JOB_COLUMNS = (
    "seq, note_id, attempts, run, tries_collection, tries_server, tries_unanswered, carried"
)
_JobRow = tuple[int, bytes | str, int, int | None, int, int, int, str | None]


def _make_private(path: Path) -> None:
    """Make the file for its owner alone; SQLite gives its log and index the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LocalIOError(
            f"the ledger {path} cannot be written ({error.strerror}): check free space and "
            "permissions, and that it is no link, then run the same command again."
        ) from error


class SqliteLedger:
    """The ledger of one OUTPUT.

    `clock` gives Unix seconds; it should not step while a run is on, since leases are kept by it.
    After `bulk_after` new ids of an input, the rest is enrolled in bulk. Another program that holds
    the file is waited for, but not for ever.
    All methods are the `Ledger` protocol's, called directly.
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
        self.is_damaged = False
        self._path = path
        self._clock = clock
        self._run = 0
        self._claims = 0
        self._frontier = 0
        self._repeats = 0
        with self._errors():
            _make_private(path)
            self._db = sqlite3.connect(
                path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                factory=connection,
            )
            self._reader = SqliteReader(self._db, path)
        try:
            with self._errors():
                self._prepare(bulk_after, sync=sync)
            self._end_bulk()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, bulk_after: int, *, sync: bool) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        # Of macOS alone, whose fsync leaves what was written in the drive's cache.
        self._db.execute(f"PRAGMA fullfsync = {int(sync)}")
        # Checkpoints wait for `settle`, which comes after OUTPUT itself was made durable.
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        self._db.execute("PRAGMA cache_size = -16000")  # in KiB
        migrate(self._db, str(self._path))
        self._bulk = Bulk(self._db, bulk_after)
        self._forgotten = {mark for (mark,) in self._db.execute("SELECT mark FROM forgotten")}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise HaltedError from error
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            ):
                raise LocalIOError(
                    f"the ledger {self._path} was locked by another program for "
                    f"{_BUSY_SECONDS:g} s: close what has it open (a database browser, a "
                    "backup), then run the same command again; nothing that was paid for is lost."
                ) from error
            raise LocalIOError(
                f"the ledger {self._path} cannot be written ({error}): "
                "check free space and permissions, then run the same command again."
            ) from error
        except sqlite3.DatabaseError as error:
            self.is_damaged = True
            raise DamagedLedgerError(
                f"the ledger {self._path} is damaged ({error}) and is set aside: run again and "
                "name your INPUT; the ledger will be rebuilt from OUTPUT."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        is_part = self._db.in_transaction
        if is_part:
            yield self._db
            return
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # A COMMIT that fails may leave its transaction open; one the disk broke is gone.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _now(self) -> int:
        return round(self._clock() * 1000)

    def _shift(self, moves: Counter[State]) -> None:
        """Keep the tally in step with the jobs, in the same transaction."""
        rows = [(many, state) for state, many in moves.items() if many]
        self._db.executemany("UPDATE tally SET jobs = jobs + ? WHERE state = ?", rows)

    # StartedRun and closing

    def identity(self) -> Identity | None:
        """What this ledger holds, or None if it was never told."""
        with self._errors():
            rows = self._reader.meta()
        if "endpoint" not in rows:
            return None
        return Identity(str(rows["endpoint"]), bool(rows["simulated"]))

    def identify(self, identity: Identity) -> None:
        """Tell the ledger what it holds."""
        rows = {"endpoint": identity.endpoint, "simulated": int(identity.simulated)}
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows.items())

    def checkpoint(self) -> Checkpoint:
        """How much of OUTPUT the ledger vouches for."""
        with self._errors():
            return self._reader.checkpoint()

    def synced(self) -> int:
        """How many bytes of OUTPUT were made durable, at least."""
        with self._errors():
            (length,) = self._db.execute("SELECT synced FROM output").fetchone()
        return int(length)

    def boot(self) -> str:
        """The start of the system that the last run was under; empty if it is not known."""
        return self._told("boot") or ""

    def mark_boot(self, boot: str) -> None:
        """Write down which start of the system this run is under."""
        self._tell("boot", boot)

    def lose_queue(self) -> None:
        """Say that what was still queued is not known; an input that is named makes up for it."""
        self._tell("queue_lost", 1)

    def is_queue_lost(self) -> bool:
        """Whether that was said, and no input named since."""
        return self._told("queue_lost") is not None

    def _told(self, key: str) -> Any:  # noqa: ANN401 - SQLite keeps it as it was given
        """What was kept under a name; None if nothing was."""
        with self._errors():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _tell(self, key: str, value: float | str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def lose_lines(self, checkpoint: Checkpoint) -> int:
        """Queue again the jobs whose paid lines a power cut took; gives how many.

        `checkpoint` is what is left of OUTPUT.
        """
        with self._transaction() as db:
            lost = db.execute(
                "SELECT seq, fetched_at, state FROM job WHERE line_end > ?", (checkpoint.length,)
            ).fetchall()
            run = self._last_run()
            db.executemany(
                "INSERT INTO unanswered (run, seq, sent_at, how) VALUES (?, ?, ?, ?)",
                ((run, seq, fetched, LOST) for seq, fetched, _ in lost),
            )
            db.executemany(
                "UPDATE job SET state = 0, due = ?, line_end = NULL, lines = lines - 1,"
                " forgotten = forgotten + 1 WHERE seq = ?",
                ((self._now(), seq) for seq, _, _ in lost),
            )
            moves = Counter(
                {State(state): -many for state, many in Counter(r[2] for r in lost).items()}
            )
            moves[State.QUEUED] += len(lost)
            self._shift(moves)
            db.execute("UPDATE output SET synced = min(synced, ?)", (checkpoint.length,))
            self._checkpoint(checkpoint)
        return len(lost)

    def knows(self, line: FoundLine) -> bool:
        """See `Ledger.knows`."""
        with self._errors():
            row = self._db.execute(
                "SELECT 1 FROM job WHERE note_id = ? AND fetched_at - ? IN (0, 1) AND lines > 0"
                " AND ? IN (0, line_end)",
                (to_key(line.note_id), round(line.fetched_at * 1000), line.end),
            ).fetchone()
        return row is not None

    def begin_run(self, longest_delay: float, request: RunRequest = _NO_REQUEST) -> StartedRun:
        """Begin a run: what dead runs had claimed is released, what they had sent is unanswered.

        Only one run at a time can hold OUTPUT, so every claim found is a dead one. No requeued
        job waits longer than `longest_delay` seconds, whatever the wall clock did meanwhile.
        """
        now = self._now()
        with self._transaction() as db:
            lost = self._lose_claims("1", (), "the run ended")
            self._add_unkept_starts(now, lost)
            db.execute(
                "UPDATE job SET due = ? WHERE state = 0 AND due > ?",
                (now + round(longest_delay * 1000),) * 2,
            )
            db.execute("DELETE FROM meta WHERE key = 'resumes_at'")
            self._frontier = self._told("frontier") or 0
            cursor = db.execute(
                "INSERT INTO run (started_at, rate, daily_cap) VALUES (?, ?, ?)",
                (now, request.rate, request.daily_cap),
            )
            self._run = cursor.lastrowid or 0
            db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('token_file', ?)", (request.token_file,)
            )
        return StartedRun(self._run, lost)

    def _add_unkept_starts(self, now: int, lost: int) -> None:
        """Count calls that the last run made after it last kept their starts, if it died."""
        row = self._db.execute(
            "SELECT id, (SELECT coalesce(sum(calls), 0) FROM activity WHERE run = id)"
            " FROM run WHERE finished_at IS NULL AND id = (SELECT max(id) FROM run)"
        ).fetchone()
        if row is None:
            return
        run, recorded = row
        kept_run, kept, starts = self._kept_starts()
        unkept = recorded + lost - (kept if kept_run == run else 0)
        more = [now] * min(max(0, unkept), _MOST_UNKEPT)
        # Nobody knows whose they were, and a token that was never kept may have made them.
        starts.setdefault(ANY_MARK, [])
        starts = {mark: earlier + more for mark, earlier in starts.items()}
        self._keep_starts(run, recorded + lost, starts)

    def _kept_starts(self) -> tuple[int, int, dict[str, list[int]]]:
        """Whose starts were kept, after how many calls, and when they were, by mark."""
        run, calls, starts = json.loads(self._told("starts") or "[0, 0, {}]")
        return run, calls, starts

    def _keep_starts(self, run: int, calls: int, starts: Mapping[str, list[int]]) -> None:
        now = self._now()
        # A clock that was ahead must not hold up those who come later.
        kept = {mark: [min(start, now) for start in some] for mark, some in starts.items()}
        kept = {mark: some for mark, some in kept.items() if some and some[-1] > now - DAY_MS}
        self._tell("starts", json.dumps([run, calls, kept]))

    def starts(self) -> dict[str, list[float]]:
        """See `Ledger.starts`."""
        _, _, starts = self._kept_starts()
        return {mark: [start / 1000 for start in some] for mark, some in starts.items()}

    def remember_starts(self, calls: int, starts: Mapping[str, Sequence[float]]) -> None:
        """See `Ledger.remember_starts`."""
        with self._transaction():
            _, _, kept = self._kept_starts()
            # Those of tokens that are not used now stay as they are.
            kept |= {mark: [round(start * 1000) for start in some] for mark, some in starts.items()}
            self._keep_starts(self._run, calls, kept)

    def is_rebuilding(self) -> bool:
        """Never, as it is done as one."""
        return False

    @contextmanager
    def as_one(self, look: Look) -> Iterator[None]:
        """See `Ledger.as_one`."""
        # What it raises interrupts the statement that is on.
        self._db.set_progress_handler(look, _LOOK_EVERY)
        try:
            with self._transaction():
                yield
        finally:
            self._db.set_progress_handler(None, 0)

    def forget_lines(self) -> None:
        """See `Ledger.forget_lines`."""
        with self._transaction() as db:
            now = self._now()
            many = db.execute("UPDATE job SET state = 0, due = ? WHERE state = 1", (now,)).rowcount
            db.execute(
                "UPDATE job SET line_end = NULL, forgotten = forgotten + lines, lines = 0"
                " WHERE lines > 0"
            )
            self._shift(Counter({State.DONE: -many, State.QUEUED: many}))
            self._checkpoint(Checkpoint())

    def forget(self, ids: Sequence[str]) -> int:
        """Erase all that is known of notes, and keep a mark of each; gives how many were known.

        Their lines in OUTPUT are to be erased until `end_forgetting`.
        """
        self._end_bulk()
        keys = [to_key(note_id) for note_id in ids]
        with self._errors():
            self._db.execute("PRAGMA secure_delete = ON")
        with self._transaction() as db:
            find = "SELECT seq FROM job WHERE note_id = ?"
            seqs = json.dumps([seq for key in keys for (seq,) in db.execute(find, (key,))])
            self._lose_claims(f"seq IN {_SEQS}", (seqs,), "the run ended")
            moves: Counter[State] = Counter()
            for (state,) in db.execute(f"SELECT state FROM job WHERE seq IN {_SEQS}", (seqs,)):
                moves[State(state)] -= 1
            self._shift(moves)
            db.execute(f"DELETE FROM job WHERE seq IN {_SEQS}", (seqs,))
            # Their numbers may be given to others.
            db.execute(f"UPDATE unanswered SET seq = 0 WHERE seq IN {_SEQS}", (seqs,))
            db.execute(
                "UPDATE meta SET value = min(value, (SELECT coalesce(max(seq), 0) FROM job))"
                " WHERE key = 'frontier'"
            )
            marks = {mark_of_key(key) for key in keys}
            db.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", ((m,) for m in marks))
            self._tell("forgetting", 1)
        self._forgotten |= marks
        return -sum(moves.values())

    def forgets(self, note_id: str) -> bool:
        """Whether a note is never to be fetched again."""
        return bool(self._forgotten) and mark_of_key(to_key(note_id)) in self._forgotten

    def is_forgetting(self) -> bool:
        """Whether lines of such notes may be in OUTPUT, or beside it."""
        return self._told("forgetting") is not None

    def end_forgetting(self) -> None:
        """Say that no line of such a note is there any more."""
        with self._transaction() as db:
            db.execute("DELETE FROM meta WHERE key = 'forgetting'")

    def end_reading(self) -> None:
        """Say that OUTPUT was read to its end."""
        with self._transaction() as db:
            db.execute("UPDATE job SET forgotten = 0 WHERE forgotten > 0")

    def start_rate(self) -> float | None:
        """The pace to begin with, which the last run found; in calls a second."""
        borne: float | None = self._told("borne")
        return borne

    def remember_start_rate(self, per_second: float) -> None:
        """Keep the pace to begin the next run with."""
        self._tell("borne", per_second)

    def balances(self) -> list[Balances]:
        """See `Ledger.balances`."""
        with self._errors():
            return [read_balances(text) for (text,) in self._db.execute(BALANCES)]

    def keep_balances(self, balances: Balances) -> None:
        """See `Ledger.keep_balances`."""
        with self._transaction() as db:
            values = balances.as_text(), self._run
            db.execute("UPDATE run SET balances = ? WHERE id = ?", values)

    def finish_run(
        self, reason: str, exit_code: int, bad_lines: int = 0, bad_example: str | None = None
    ) -> None:
        """See `Ledger.finish_run`."""
        with self._transaction() as db:
            db.execute(
                "UPDATE run SET finished_at = ?, reason = ?, exit_code = ?, bad_lines = ?,"
                " bad_example = ?"
                " WHERE id = ?",
                (self._now(), reason, exit_code, bad_lines, bad_example, self._run),
            )

    def close(self) -> None:
        """Fold the write-ahead log in and close."""
        with self._errors():
            self._db.close()

    # The run

    def enrol(
        self,
        ids: Sequence[str],
        refresh_before: float | None,
        extra_fields: Mapping[str, str] | None = None,
    ) -> Enrolled:
        """See `Ledger.enrol`."""
        if extra_fields:
            # Which job it goes to can only be told with the index.
            self._end_bulk()
        keys = [(to_key(note_id),) for note_id in ids if not self.forgets(note_id)]
        refreshed = differed = 0
        with self._transaction() as db:
            db.execute("DELETE FROM meta WHERE key = 'queue_lost'")
            if refresh_before is not None:
                older = (self._now(), round(refresh_before * 1000))
                refreshed = db.executemany(
                    "UPDATE job SET state = 0, due = ? WHERE note_id = ? AND state = 1"
                    " AND fetched_at < ?",
                    ((older[0], key, older[1]) for (key,) in keys),
                ).rowcount
            added = self._bulk.add(keys)
            self._shift(Counter({State.QUEUED: added + refreshed, State.DONE: -refreshed}))
            if extra_fields:
                carried = [(text, to_key(note_id)) for note_id, text in extra_fields.items()]
                queued = "UPDATE job SET carried = ?1 WHERE note_id = ?2 AND state = 0"
                differed = db.executemany(f"{queued} AND carried <> ?1", carried).rowcount
                db.executemany(f"{queued} AND carried IS NULL", carried)
            elif refresh_before is None:
                self._bulk.begin()
        return Enrolled(added, refreshed, differed)

    def end_input(self) -> int:
        """See `Ledger.end_input`."""
        self._end_bulk()
        repeats, self._repeats = self._repeats, 0
        return repeats

    def _end_bulk(self) -> None:
        if not self._bulk.is_on:
            return
        with self._transaction():
            repeats = self._bulk.end()
            self._shift(Counter({State.QUEUED: -repeats}))
        self._repeats += repeats

    def refresh(self, before: float) -> int:
        """Queue again all that is done and was fetched before a moment in Unix seconds."""
        with self._transaction() as db:
            many = db.execute(
                "UPDATE job SET state = 0, due = ? WHERE state = 1 AND fetched_at < ?",
                (self._now(), round(before * 1000)),
            ).rowcount
            self._shift(Counter({State.QUEUED: many, State.DONE: -many}))
        return many

    def retry(
        self, states: Sequence[State], codes: Sequence[int] = (), ids: Sequence[str] = ()
    ) -> int:
        """Put failed jobs back in the queue; empty `codes` or `ids` mean any. Gives how many."""
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
        """See `Ledger.requeue`."""
        self._requeue_where(f"state >= 2 AND seq IN {_SEQS}", [json.dumps(list(seqs))])

    def _requeue_where(self, where: str, values: Sequence[int | str | bytes]) -> int:
        with self._transaction() as db:
            # `where` is made of constants and placeholders only.
            moved = db.execute(
                f"SELECT state, count(*) FROM job WHERE {where} GROUP BY state",
                values,
            ).fetchall()
            db.execute(
                f"UPDATE job SET state = 0, due = ?, run = NULL WHERE {where}",
                (self._now(), *values),
            )
            moves = Counter({State(state): -many for state, many in moved})
            total = -sum(moves.values())
            moves[State.QUEUED] = total
            self._shift(moves)
        return total

    def claim(self, limit: int, lease: float, held: Collection[Job] = ()) -> Claimed:
        """See `Ledger.claim`."""
        now = self._now()
        self._claims += 1
        claim_id = (self._run << 32) + self._claims
        if self._bulk.is_on and self._frontier >= self._bulk.last_sure:
            self._end_bulk()
        with self._transaction() as db:
            self._lapse(now, lease, held)
            rows = db.execute(
                f"SELECT {_JOB_COLUMNS} FROM job WHERE state = 0 AND due <= ?"
                " AND seq NOT IN (SELECT seq FROM claim) ORDER BY due LIMIT ?",
                (now, limit),
            ).fetchall()
            rows += self._claim_new(limit - len(rows))
            until = now + round(lease * 1000)
            db.executemany(
                "INSERT INTO claim (seq, token, until) VALUES (?, ?, ?)",
                ((row[0], claim_id, until) for row in rows),
            )
            next_due = None if len(rows) == limit else self._next_due()
        delay = None if next_due is None else max(0.0, (next_due - now) / 1000)
        if len(rows) == limit:
            delay = 0.0
        return Claimed([self._job(row, claim_id) for row in rows], delay)

    def _lapse(self, now: int, lease: float, held: Collection[Job]) -> None:
        """Lose the claims whose leases have lapsed, but renew those of jobs still worked on."""
        rows = self._db.execute("SELECT seq, token FROM claim WHERE until <= ?", (now,))
        if lapsed := set(rows):
            self._extend([job for job in held if (job.seq, job.claim_id) in lapsed], now, lease)
            self._lose_claims("until <= ?", (now,), "its lease lapsed")

    def _extend(self, jobs: Collection[Job], now: int, lease: float) -> None:
        until = now + round(lease * 1000)
        self._db.executemany(
            "UPDATE claim SET until = ? WHERE seq = ? AND token = ?",
            ((until, job.seq, job.claim_id) for job in jobs),
        )

    def _claim_new(self, limit: int) -> list[_JobRow]:
        """Jobs never asked for, in input order; all before the frontier have been."""
        rows = self._db.execute(
            f"SELECT {_JOB_COLUMNS} FROM job WHERE seq > ? AND seq <= ? AND state = 0"
            " AND due IS NULL ORDER BY seq LIMIT ?",
            (self._frontier, self._bulk.last_sure, limit),
        ).fetchall()
        if rows:
            self._frontier = rows[-1][0]
            self._tell("frontier", rows[-1][0])
        return rows

    def _next_due(self) -> int | None:
        row = self._db.execute(
            "SELECT due FROM job WHERE state = 0 AND due IS NOT NULL"
            " AND seq NOT IN (SELECT seq FROM claim) ORDER BY due LIMIT 1"
        ).fetchone()
        return row[0] if row else None

    def _job(self, row: _JobRow, claim_id: int) -> Job:
        seq, key, attempts, run, collection, server, unanswered, extra = row
        failures = (collection, server, unanswered) if run == self._run else (0, 0, 0)
        return Job(seq, from_key(key), claim_id, attempts, failures, extra)

    def renew(self, jobs: Sequence[Job], lease: float) -> None:
        """See `Ledger.renew`."""
        with self._transaction():
            self._extend(jobs, self._now(), lease)

    def mark_sent(self, jobs: Sequence[Job], lease: float, turns: Turns | None = None) -> Sent:  # noqa: ARG002 - all are ours
        """See `Ledger.mark_sent`."""
        now = self._now()
        until = now + round(lease * 1000)
        with self._transaction() as db:
            held = self._held(jobs)
            db.executemany(
                "UPDATE claim SET sent_at = ?, until = ? WHERE seq = ?",
                ((now, until, job.seq) for job in held),
            )
        return Sent(held)

    def _held(self, jobs: Sequence[Job]) -> list[Job]:
        seqs = json.dumps([job.seq for job in jobs])
        ids = dict(self._db.execute(f"SELECT seq, token FROM claim WHERE seq IN {_SEQS}", (seqs,)))
        return [job for job in jobs if ids.get(job.seq) == job.claim_id]

    def record(
        self, outcomes: Sequence[Outcome], ends: Sequence[int], checkpoint: Checkpoint
    ) -> list[Outcome]:
        """See `Ledger.record`."""
        end_of = dict(
            zip((o.job.seq for o in outcomes if o.state is State.DONE), ends, strict=True)
        )
        with self._transaction() as db:
            held = {job.seq for job in self._held([outcome.job for outcome in outcomes])}
            good = [outcome for outcome in outcomes if outcome.job.seq in held]
            db.executemany("DELETE FROM claim WHERE seq = ?", ((o.job.seq,) for o in good))
            self._write_saves(good, end_of)
            self._write_others(good)
            moves: Counter[State] = Counter(o.state for o in good)
            del moves[State.QUEUED]
            moves[State.QUEUED] = -sum(moves.values())
            self._shift(moves)
            self._count_calls(good)
            self._checkpoint(checkpoint)
        return [outcome for outcome in outcomes if outcome.job.seq not in held]

    def _write_saves(self, outcomes: Sequence[Outcome], end_of: dict[int, int]) -> None:
        self._db.executemany(
            "UPDATE job SET state = 1, due = NULL, attempts = ?, run = NULL, code = ?,"
            " reason = NULL, fetched_at = ?, line_end = ?, lines = lines + 1 WHERE seq = ?",
            (
                (
                    o.job.attempts + 1,
                    o.code if o.is_empty else None,
                    round(o.fetched_at * 1000),
                    end_of[o.job.seq],
                    o.job.seq,
                )
                for o in outcomes
                if o.state is State.DONE
            ),
        )

    def _write_others(self, outcomes: Sequence[Outcome]) -> None:
        now = self._now()
        self._db.executemany(
            "UPDATE job SET state = ?, due = ?, attempts = ?, run = ?, tries_collection = ?,"
            " tries_server = ?, tries_unanswered = ?, code = ?, reason = ? WHERE seq = ?",
            (
                (
                    o.state,
                    now + round(o.delay * 1000) if o.state is State.QUEUED else None,
                    o.job.attempts + o.attempted,
                    self._run,
                    *o.failures_by_cause,
                    o.code,
                    o.reason,
                    o.job.seq,
                )
                for o in outcomes
                if o.state is not State.DONE
            ),
        )
        self._db.executemany(
            "INSERT INTO unanswered (run, seq, sent_at, how) VALUES (?, ?, ?, ?)",
            (
                (self._run, o.job.seq, now - round(o.elapsed * 1000), o.reason)
                for o in outcomes
                if o.unanswered
            ),
        )

    def _count_calls(self, outcomes: Sequence[Outcome]) -> None:
        minute = self._now() // 60_000
        calls: Counter[int] = Counter()
        elapsed: Counter[int] = Counter()
        for outcome in outcomes:
            code = code_of(outcome)
            calls[code] += 1
            elapsed[code] += round(outcome.elapsed * 1000)
        self._add_activity((self._run, minute, code, calls[code], elapsed[code]) for code in calls)
        self._count_latencies(minute, outcomes)
        self._db.execute(
            "INSERT OR REPLACE INTO backlog SELECT ?, ?, jobs FROM tally WHERE state = 0",
            (self._run, minute),
        )

    def _count_latencies(self, minute: int, outcomes: Sequence[Outcome]) -> None:
        buckets = Counter(bucket_of(o.elapsed) for o in outcomes if o.code is not None)
        self._db.executemany(
            "INSERT INTO latency VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET calls = calls + excluded.calls",
            ((self._run, minute, bucket, calls) for bucket, calls in buckets.items()),
        )

    def _add_activity(self, rows: Iterator[tuple[int, int, int, int, int]]) -> None:
        self._db.executemany(
            "INSERT INTO activity VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " calls = calls + excluded.calls, elapsed_ms = elapsed_ms + excluded.elapsed_ms",
            rows,
        )

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        self._db.execute(
            "UPDATE output SET length = ?, tail = ?", (checkpoint.length, checkpoint.tail)
        )

    def release(self, jobs: Sequence[Job]) -> None:
        """See `Ledger.release`."""
        now = self._now()
        with self._transaction() as db:
            held = [(job.seq,) for job in self._held(jobs)]
            db.executemany("DELETE FROM claim WHERE seq = ?", held)
            db.executemany("UPDATE job SET due = ? WHERE seq = ?", ((now, seq) for (seq,) in held))

    def abandon(self, jobs: Sequence[Job], how: str) -> None:
        """See `Ledger.abandon`."""
        with self._transaction():
            seqs = json.dumps([job.seq for job in self._held(jobs)])
            self._lose_claims(f"seq IN {_SEQS}", (seqs,), how)

    def _lose_claims(self, where: str, values: tuple[int | str, ...], how: str) -> int:
        """End claims nobody will record; those that were sent are unanswered. Gives how many."""
        # `where` is made of constants and placeholders only.
        rows = self._db.execute(
            f"SELECT seq, token >> 32, sent_at FROM claim WHERE {where}",
            values,
        ).fetchall()
        sent = [row for row in rows if row[2] is not None]
        self._db.executemany(
            "INSERT INTO unanswered (run, seq, sent_at, how) VALUES (?, ?, ?, ?)",
            ((run, seq, sent_at, how) for seq, run, sent_at in sent),
        )
        self._db.executemany(
            "UPDATE job SET attempts = attempts + 1 WHERE seq = ?", ((row[0],) for row in sent)
        )
        now = self._now()
        self._db.executemany(
            "UPDATE job SET due = ? WHERE seq = ?", ((now, row[0]) for row in rows)
        )
        self._db.execute(f"DELETE FROM claim WHERE {where}", values)
        return len(sent)

    def adopt(self, lines: Sequence[FoundLine], checkpoint: Checkpoint) -> int:
        """See `Ledger.adopt`."""
        rows = [
            (
                to_key(line.note_id),
                line.attempts,
                round(line.fetched_at * 1000),
                line.end,
                0 if line.is_empty else None,
            )
            for line in lines
            if not self.forgets(line.note_id)
        ]
        self._end_bulk()
        with self._transaction() as db:
            db.execute(
                "CREATE TEMP TABLE IF NOT EXISTS found (note_id, attempts, fetched_at, ends, code)"
            )
            db.executemany("INSERT INTO found VALUES (?, ?, ?, ?, ?)", rows)
            self._count_found()
            adopted = self._adopt_found()
            db.execute("DELETE FROM found")
            self._checkpoint(checkpoint)
            if len(rows) < len(lines):
                self._tell("forgetting", 1)
        return adopted

    def _count_found(self) -> None:
        """Count as charged the calls of the lines found that are not counted yet.

        A line that is there twice was paid for once. A claim of a note whose lines were all counted
        is of a call that none of them answers.
        """
        # The ledger's moments are rounded to the millisecond, a line's are cut.
        fresh = self._db.execute(
            "SELECT seq, line.fetched_at / 60000 FROM (SELECT note_id, fetched_at, row_number()"
            " OVER (PARTITION BY note_id ORDER BY min(ends)) AS nth FROM found WHERE NOT EXISTS"
            " (SELECT 1 FROM job WHERE job.note_id = found.note_id AND lines > 0"
            " AND job.fetched_at - found.fetched_at IN (0, 1)) GROUP BY note_id, fetched_at)"
            " AS line LEFT JOIN job USING (note_id) WHERE nth > coalesce(forgotten, 0)"
        ).fetchall()
        run = self._last_run()
        minutes = Counter(minute for _, minute in fresh)
        self._add_activity((run, minute, 0, calls, 0) for minute, calls in minutes.items())
        self._db.executemany("DELETE FROM claim WHERE seq = ?", ((seq,) for seq, _ in fresh if seq))
        if self._run:
            # Before that, the next run finds what dead ones left.
            found = "seq IN (SELECT seq FROM job WHERE note_id IN (SELECT note_id FROM found))"
            self._lose_claims(found, (), OVERTAKEN)

    def _adopt_found(self) -> int:
        """Make the jobs of the lines found done, in the order of the lines; gives how many."""
        db = self._db
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
        adopted = notes - known[State.DONE]
        moves = Counter({state: -jobs for state, jobs in known.items()})
        moves[State.DONE] += notes
        self._shift(moves)
        return adopted

    def _last_run(self) -> int:
        """The run that made the lines being adopted: this one, or the last before it."""
        row = self._db.execute("SELECT max(id) FROM run").fetchone()
        return self._run or row[0] or 0

    def counts(self) -> Counts:
        """See `Ledger.counts`."""
        with self._errors():
            return self._reader.counts(self._clock())

    def charged_since(self, since: float) -> int:
        """See `Ledger.charged_since`."""
        with self._errors():
            return self._reader.used(since, self._clock())

    def note_wait(self, until: float | None) -> None:
        """See `Ledger.note_wait`."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('resumes_at', ?)", (until,))

    def settle(self, synced: int) -> None:
        """See `Ledger.settle`."""
        with self._errors():
            self._db.execute("UPDATE output SET synced = ?", (synced,))
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
