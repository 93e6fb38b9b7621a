"""Reads a ledger for people and programs, also while a run is writing it."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct, field

from harvester.errors import DamagedLedgerError, LedgerError, LocalIOError, UsageError
from harvester.ledger.keys import from_key, to_key
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.schema import IS_CHARGED, IS_EMPTY, IS_GONE, LOST, NEWEST, NOT_TAKEN
from harvester.model import Counts, State
from harvester.money import Balances, read_balances
from harvester.sides import Side

# OUTPUT's moments are cut to the millisecond, the ledger's are rounded.
_SAME_MOMENT = 0.0015


class RunRow(Struct, frozen=True):
    """One run as the ledger knows it; times are Unix seconds, `by_code` None is no answer.

    `rate` (calls a second, None if it was to be found) and `daily_cap` are what was asked for.
    `latencies` counts answered calls by bucket, as rules/latency.py has them. `seen_at` is the last
    sign of the run, to the minute where nothing tells it closer. `bad_lines` of its input named no
    note, of which `bad_example` is one; a run that was killed did not tell. `closed` calls met
    a connection that had ended while it was idle: nobody took them.
    """

    started_at: float
    finished_at: float | None
    reason: str | None
    exit_code: int | None
    by_code: dict[int | None, int]
    number: int = 0
    rate: float | None = None
    daily_cap: int | None = None
    latencies: dict[int, int] = field(default_factory=dict)
    unanswered: int = 0
    seen_at: float = 0.0
    bad_lines: int = 0
    closed: int = 0
    balances: Balances = Balances()
    bad_example: str | None = None


class FailedGroup(Struct, frozen=True):
    """Jobs given up for one reason; `code` None is no answer."""

    state: State
    code: int | None
    reason: str
    jobs: int


class FailedJob(Struct, frozen=True):
    """A job that was given up."""

    note_id: str
    state: State
    code: int | None
    reason: str
    attempts: int


class KnownJob(Struct, frozen=True):
    """What the ledger knows of a note and its lines.

    `line_end` is where its current line ends in OUTPUT, None where that is not known; `lines` are
    all it has, `fetched_at` is Unix seconds.
    """

    seq: int
    state: State
    line_end: int | None
    lines: int
    fetched_at: float | None
    attempts: int

    def is_of(self, fetched_at: float) -> bool:
        """Whether a line that tells this moment is the note's current one."""
        return self.fetched_at is not None and abs(fetched_at - self.fetched_at) <= _SAME_MOMENT


class ExpectedLines(Struct, frozen=True):
    """The lines that OUTPUT should hold: current ones at known places, and older ones.

    `older_sum` adds up the numbers of the older ones' jobs: counting alone would not see one line
    taken out and another put in. `last_seq` is the highest number of a job.
    """

    current: int
    older: int
    older_sum: int
    last_seq: int


def ledger_path(output: Path) -> Path:
    """Where the ledger of an OUTPUT is."""
    return Side.LEDGER.of(output)


class LedgerReader:
    """Read-only queries; open one with `reading`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all queries within see one moment, whatever a run writes meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def check(self) -> None:
        """Raise DamagedLedgerError if the ledger's file is broken anywhere; reads all of it."""
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(self._path, found)

    def copy_to(self, path: Path) -> None:
        """Make a ledger at `path` that holds what this one does now."""
        with closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)

    def require_index(self) -> None:
        """Refuse to look up notes while the run that reads a long input keeps no index of them."""
        index = "SELECT count(*) FROM sqlite_schema WHERE name = 'job_by_note'"
        if not self._one(index):
            raise UsageError(
                f"{self._path} is being filled from a long input: wait until the run has read it; "
                "if no run is on, start the last one again."
            )

    def meta(self) -> dict[str, str | int]:
        """What the ledger was told of itself: endpoint, simulated."""
        return dict(self._db.execute("SELECT key, value FROM meta"))

    def counts(self, now: float) -> Counts:
        """Jobs by state; waiting for a moment after `now` (Unix seconds)."""
        jobs = dict(self._db.execute("SELECT state, jobs FROM tally"))
        moment = round(now * 1000)
        waiting = self._one("SELECT count(*) FROM job WHERE state = 0 AND due > ?", moment)
        claimed = self._one("SELECT count(*) FROM claim")
        gone = self._one(f"SELECT count(*) FROM job WHERE {IS_GONE}")
        return Counts(jobs[0], waiting, claimed, jobs[1], jobs[2], jobs[3], gone)

    def next_due(self, now: float) -> float | None:
        """When the next waiting job is due, in Unix seconds."""
        row = self._db.execute(
            "SELECT min(due) FROM job WHERE state = 0 AND due > ?", (round(now * 1000),)
        ).fetchone()
        return None if row[0] is None else row[0] / 1000

    def charged(self, since: float = 0) -> int:
        """Calls charged since a moment in Unix seconds."""
        return self._one(
            f"SELECT coalesce(sum(calls), 0) FROM activity WHERE {IS_CHARGED} AND minute >= ?",
            int(since) // 60,
        )

    def empty(self) -> int:
        """Notes that are done with nothing in their data."""
        return self._one(f"SELECT count(*) FROM job WHERE {IS_EMPTY}")

    def unanswered(self) -> int:
        """Calls that may have been charged without an answer, in all runs."""
        return self._one("SELECT count(*) FROM unanswered")

    def _one(self, query: str, *values: int | str) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    def used(self, since: float) -> int:
        """Calls that count against a daily cap since a moment in Unix seconds.

        Those are the charged ones, and the unanswered ones that may have been.
        """
        return self.charged(since) + self._one(
            "SELECT count(*) FROM unanswered WHERE sent_at >= ? AND how <> ?",
            round(since * 1000),
            LOST,
        )

    def sent(self) -> int:
        """Calls that were sent and have no answer yet, or belong to a run that was killed."""
        return self._one("SELECT count(*) FROM claim WHERE sent_at IS NOT NULL")

    def is_leased(self, now: float) -> bool:
        """Whether any job is claimed under a lease that holds at `now` (Unix seconds)."""
        return self._one("SELECT count(*) FROM claim WHERE until > ?", round(now * 1000)) > 0

    def open_run(self) -> int | None:
        """The number of the last run if it has no end: it goes on, or was killed."""
        row = self._db.execute(
            "SELECT id, finished_at FROM run ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return None if row is None or row[1] is not None else int(row[0])

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        codes = self._by_run("SELECT run, code, sum(calls) FROM activity GROUP BY run, code")
        latencies = self._by_run("SELECT run, bucket, sum(calls) FROM latency GROUP BY run, bucket")
        unanswered = dict(self._db.execute("SELECT run, count(*) FROM unanswered GROUP BY run"))
        seen = self._last_seen()
        return [
            RunRow(
                started / 1000,
                None if finished is None else finished / 1000,
                reason,
                code,
                _by_code(codes.get(run, {})),
                run,
                rate,
                cap,
                latencies.get(run, {}),
                unanswered.get(run, 0),
                max(started, finished or seen.get(run, 0)) / 1000,
                bad_lines,
                codes.get(run, {}).get(NOT_TAKEN, 0),
                read_balances(balances),
                example,
            )
            for run, started, finished, reason, code, rate, cap, bad_lines, balances, example in (
                self._db.execute(
                    "SELECT id, started_at, finished_at, reason, exit_code, rate, daily_cap,"
                    " bad_lines, balances, bad_example FROM run ORDER BY id"
                )
            )
        ]

    def _by_run(self, query: str) -> dict[int, dict[int, int]]:
        """Rows of run, key and number as numbers by key by run, in the order of the keys."""
        found: dict[int, dict[int, int]] = {}
        for run, key, number in self._db.execute(f"{query} ORDER BY 1, 2"):
            found.setdefault(run, {})[key] = number
        return found

    def _last_seen(self) -> dict[int, int]:
        """The last sign of each run that made calls, in Unix milliseconds.

        An unanswered call tells it to the millisecond, an answer only that it came in a minute.
        """
        ends = self._db.execute("SELECT run, (max(minute) + 1) * 60000 FROM activity GROUP BY run")
        seen = dict(ends)
        for run, sent_at in self._db.execute(
            "SELECT run, max(sent_at) FROM (SELECT run, sent_at FROM unanswered"
            " UNION ALL SELECT token >> 32, sent_at FROM claim WHERE sent_at IS NOT NULL) AS sent"
            " GROUP BY run"
        ):
            if sent_at >= seen.get(run, 0) - 60_000:
                seen[run] = sent_at
        return seen

    def failed_groups(self, kind_of: Callable[[str], str], most: int) -> list[FailedGroup]:
        """Jobs given up by state, code and kind of reason, the largest group first.

        Of more than `most` groups, the rest is told by state and code alone, with no reason.
        """
        groups: Counter[tuple[int, int | None, str]] = Counter()
        for state, code, reason, jobs in self._db.execute(
            "SELECT state, code, coalesce(reason, ''), count(*) FROM job WHERE state >= 2"
            " GROUP BY state, code, reason"
        ):
            group = (state, code, kind_of(reason))
            is_full = group not in groups and len(groups) >= most
            groups[(state, code, "") if is_full else group] += jobs
        return [
            FailedGroup(State(state), code, reason, jobs)
            for (state, code, reason), jobs in groups.most_common()
        ]

    def failures(self) -> Iterator[FailedJob]:
        """All jobs that were given up, in input order."""
        for key, state, code, reason, attempts in self._db.execute(
            "SELECT note_id, state, code, reason, attempts FROM job WHERE state >= 2 ORDER BY seq"
        ):
            yield FailedJob(from_key(key), State(state), code, reason or "", attempts)

    def job_of(self, note_id: str) -> KnownJob | None:
        """What is known of a note."""
        row = self._db.execute(
            "SELECT seq, state, line_end, lines, fetched_at, attempts FROM job WHERE note_id = ?",
            (to_key(note_id),),
        ).fetchone()
        if row is None:
            return None
        seq, state, line_end, lines, fetched_at, attempts = row
        fetched = None if fetched_at is None else fetched_at / 1000
        return KnownJob(seq, State(state), line_end, lines, fetched, attempts)

    def jobs_of(self, note_ids: Sequence[str]) -> dict[str, KnownJob]:
        """What is known of those notes that are known at all."""
        jobs = ((note_id, self.job_of(note_id)) for note_id in note_ids)
        return {note_id: job for note_id, job in jobs if job is not None}

    def checkpoint(self) -> Checkpoint:
        """How much of OUTPUT the ledger vouches for."""
        return Checkpoint(*self._db.execute("SELECT length, tail FROM output").fetchone())

    def length(self) -> int:
        """How many bytes of OUTPUT the ledger vouches for."""
        return self.checkpoint().length

    def newest_length(self) -> int:
        """The same by now, also from within a snapshot."""
        with closing(_connect(self._path)) as db:
            return LedgerReader(db, self._path).length()

    def expected_lines(self) -> ExpectedLines:
        """How many lines OUTPUT should hold."""
        is_placed = "(line_end IS NOT NULL)"
        current, older, older_sum = self._db.execute(
            f"SELECT coalesce(sum({is_placed}), 0), coalesce(sum(lines - {is_placed}), 0),"
            f" coalesce(sum((lines - {is_placed}) * seq), 0) FROM job WHERE lines > 0"
        ).fetchone()
        last_seq = self._one("SELECT coalesce(max(seq), 0) FROM job")
        return ExpectedLines(current, older, older_sum, last_seq)

    def lines_within(self, length: int) -> int:
        """How many notes' current lines are within so many bytes of OUTPUT."""
        return self._one("SELECT count(*) FROM job WHERE lines > 0 AND line_end <= ?", length)

    def placed_lines(self) -> Iterator[tuple[int, str]]:
        """The number and note id of each job whose current line has a known place."""
        for seq, key in self._db.execute(
            "SELECT seq, note_id FROM job WHERE lines > 0 AND line_end IS NOT NULL ORDER BY seq"
        ):
            yield seq, from_key(key)

    def known(self, note_ids: list[str]) -> dict[str, State]:
        """The states of those note ids that the ledger knows."""
        self.require_index()
        return {note_id: job.state for note_id, job in self.jobs_of(note_ids).items()}


@contextmanager
def reading(
    path: Path, *, allow_older: bool = False, is_brief: bool = False
) -> Iterator[LedgerReader]:
    """A reader of the ledger at a path; raises UsageError, LedgerError, LocalIOError.

    Of an older schema only `checkpoint` can be read. A brief look leaves no file of SQLite's beside
    the ledger, but sees nothing of a run that begins meanwhile.
    """
    if not path.exists():
        raise UsageError(_no_ledger(path))
    try:
        with closing(_connect(path, is_brief=is_brief)) as db:
            _check_version(db, path, allow_older=allow_older)
            db.execute("PRAGMA cache_size = -16000")  # in KiB: notes are looked up in no order
            yield LedgerReader(db, path)
    except sqlite3.OperationalError as error:
        raise LocalIOError(
            f"the ledger {path} cannot be read ({error}): check the disk and the permissions of "
            "the file and its folder, then try again."
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def _connect(path: Path, *, is_brief: bool = False) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    is_unwritten = is_brief or not os.access(path.parent, os.W_OK)
    if is_unwritten:
        # SQLite would make files beside the ledger. Where nobody can, nobody writes it either.
        how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    else:
        # Only who might write takes those files away again.
        how = "mode=rw"
    uri = f"file:{quote(os.fsencode(path))}?{how}"
    db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
    db.execute("PRAGMA query_only = 1")
    return db


def _check_version(db: sqlite3.Connection, path: Path, *, allow_older: bool) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > NEWEST:
        raise LedgerError(
            f"{path} was written by a newer harvester (schema {version}, this one reads {NEWEST}): "
            "upgrade harvester to go on with it."
        )
    if version == 0:
        raise LedgerError(
            f"{path} is no ledger of harvester's, or an empty one: name another OUTPUT, or "
            "start a run."
        )
    if version < NEWEST and not allow_older:
        raise LedgerError(
            f"{path} was written by an older harvester (schema {version}, this one reads "
            f"{NEWEST}): start a run, which brings it up to date."
        )


def _output_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(Side.LEDGER))


def _no_ledger(path: Path) -> str:
    output = _output_of(path)
    if output.name.endswith(Side.LEDGER) and output.exists():
        meant = shlex.quote(str(_output_of(output)))
        return f"{output} is a ledger itself: name its OUTPUT, {meant}."
    if output.exists():
        return (
            f"there is no ledger {path}, though {output} is there: put it back, or let a run "
            f"rebuild it from OUTPUT: harvester run INPUT -o {shlex.quote(str(output))}"
        )
    return f"there is no ledger {path}: name the OUTPUT of an earlier run, in the right folder."


def _damaged(path: Path, what: str) -> DamagedLedgerError:
    output = shlex.quote(str(_output_of(path)))
    return DamagedLedgerError(
        f"the ledger {path} is damaged ({_one_line(what)}): let a run set it aside and rebuild it "
        f"from OUTPUT: harvester run INPUT -o {output} --rebuild (what OUTPUT lacks is fetched, "
        "and paid for, again)"
    )


def _one_line(what: str) -> str:
    return " ".join(what.removeprefix("*** in database main ***").split())


def _by_code(calls: Mapping[int, int]) -> dict[int | None, int]:
    """The same with all calls that have no code under None."""
    by_code: Counter[int | None] = Counter()
    for code, many in calls.items():
        by_code[None if code < 0 else code] += many
    return dict(by_code)
