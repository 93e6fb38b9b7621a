"""Reads a ledger for people and programs, also while a run is writing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Struct, field

from harvester.errors import UsageError
from harvester.ledger.keys import from_key
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.sql import COUNTS, IS_CHARGED, IS_EMPTY, NOT_TAKEN, USED
from harvester.model import Counts, State
from harvester.money import Balances, read_balances

# A tuple of whatever was asked for.
Row = Any
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


# What `known_job` reads of a job.
KNOWN = "seq, state, line_end, lines, fetched_at, attempts"


def known_job(row: Row) -> KnownJob:
    """What the ledger knows of a note, as `KNOWN` asks for it."""
    seq, state, line_end, lines, fetched_at, attempts = row
    fetched = None if fetched_at is None else fetched_at / 1000
    return KnownJob(seq, State(state), line_end, lines, fetched, attempts)


class ExpectedLines(Struct, frozen=True):
    """The lines that OUTPUT should hold: current ones at known places, and older ones.

    `older_sum` adds up the numbers of the older ones' jobs: counting alone would not see one line
    taken out and another put in. `last_seq` is the highest number of a job.
    """

    current: int
    older: int
    older_sum: int
    last_seq: int


class LedgerReader(ABC):
    """Read-only queries, the same for every ledger; each has a way of its own to ask them.

    What is of one OUTPUT (`checkpoint`, `jobs_of` and what tells of lines) is of the one that the
    reader was opened for; of one that was opened for none, nothing is vouched for. `jobs` is, in
    SQL, a job with its lines there.
    """

    jobs = "job"

    @abstractmethod
    def ask(self, query: str, *values: object) -> Iterator[Row]:
        """The rows of a query; `values` stand in it as $1, $2 and so on."""

    def through(self, query: str) -> Iterator[Row]:
        """The same of rows that may be as many as all jobs, which are not held in memory."""
        return self.ask(query)

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Let all queries within see one moment, whatever a run writes meanwhile."""

    def checkpoint(self) -> Checkpoint:
        """How much of OUTPUT the ledger vouches for."""
        return Checkpoint()

    def newest_length(self) -> int:
        """How many bytes those are by now, also from within a snapshot."""
        return 0

    @abstractmethod
    def jobs_of(self, note_ids: Sequence[str]) -> dict[str, KnownJob]:
        """What is known of those notes that are known at all."""

    def require_index(self) -> None:
        """Refuse to look up notes while the run that reads a long input keeps no index of them."""
        if "last_sure" in self.meta():
            raise UsageError(
                "the ledger is being filled from a long input: wait until the run has read it; if "
                "no run is on, start the last one again."
            )

    def meta(self) -> dict[str, str | int]:
        """What the ledger was told of itself: endpoint, simulated."""
        return dict(self.ask("SELECT key, value FROM meta"))

    def counts(self, now: float) -> Counts:
        """Jobs by state; waiting for a moment after `now` (Unix seconds)."""
        return Counts(*next(self.ask(COUNTS.format(now=round(now * 1000)))))

    def next_due(self, now: float) -> float | None:
        """When the next waiting job is due, in Unix seconds."""
        query = "SELECT min(due) FROM job WHERE state = 0 AND due > $1"
        ((due,),) = self.ask(query, round(now * 1000))
        return None if due is None else due / 1000

    def charged(self, since: float = 0) -> int:
        """Calls charged since a moment in Unix seconds."""
        return self.one(
            f"SELECT coalesce(sum(calls), 0) FROM activity WHERE {IS_CHARGED} AND minute >= $1",
            int(since) // 60,
        )

    def empty(self) -> int:
        """Notes that are done with nothing in their data."""
        return self.one(f"SELECT count(*) FROM job WHERE {IS_EMPTY}")

    def unanswered(self) -> int:
        """Calls that may have been charged without an answer, in all runs."""
        return self.one("SELECT count(*) FROM unanswered")

    def one(self, query: str, *values: int | str) -> int:
        """The only number that a query gives."""
        ((number,),) = self.ask(query, *values)
        return int(number)

    def used(self, since: float, now: float) -> int:
        """Calls that count against a daily cap since a moment; both are Unix seconds.

        Those are the charged ones, and the unanswered ones that may have been. Of those that a
        wrong clock put more than a day ahead, none.
        """
        return self.one(USED.format(since=round(since * 1000), now=round(now * 1000)))

    def sent(self) -> int:
        """Calls that were sent and have no answer yet, or belong to a run that was killed."""
        return self.one("SELECT count(*) FROM claim WHERE sent_at IS NOT NULL")

    def is_leased(self, now: float) -> bool:
        """Whether any job is claimed under a lease that holds at `now` (Unix seconds)."""
        return self.one("SELECT count(*) FROM claim WHERE until > $1", round(now * 1000)) > 0

    def open_run(self) -> int | None:
        """The number of the last run if it has no end: it goes on, or was killed."""
        query = "SELECT id, finished_at FROM run ORDER BY id DESC LIMIT 1"
        number, finished_at = next(self.ask(query), (None, None))
        return number if finished_at is None else None

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        codes = self._by_run("SELECT run, code, sum(calls) FROM activity GROUP BY run, code")
        latencies = self._by_run("SELECT run, bucket, sum(calls) FROM latency GROUP BY run, bucket")
        unanswered = dict(self.ask("SELECT run, count(*) FROM unanswered GROUP BY run"))
        seen = self._last_seen()
        return [
            RunRow(
                started_at=started / 1000,
                finished_at=None if finished is None else finished / 1000,
                reason=reason,
                exit_code=exit_code,
                by_code=_by_code(codes.get(run, {})),
                number=run,
                rate=rate,
                daily_cap=cap,
                latencies=latencies.get(run, {}),
                unanswered=unanswered.get(run, 0),
                seen_at=max(started, finished or seen.get(run, 0)) / 1000,
                bad_lines=bad,
                closed=codes.get(run, {}).get(NOT_TAKEN, 0),
                balances=read_balances(balances),
                bad_example=example,
            )
            for run, started, finished, reason, exit_code, rate, cap, bad, balances, example in (
                self.ask(
                    "SELECT id, started_at, finished_at, reason, exit_code, rate, daily_cap,"
                    " bad_lines, balances, bad_example FROM run ORDER BY id"
                )
            )
        ]

    def _by_run(self, query: str) -> dict[int, dict[int, int]]:
        """Rows of run, key and number as numbers by key by run, in the order of the keys."""
        found: dict[int, dict[int, int]] = {}
        for run, key, number in self.ask(f"{query} ORDER BY 1, 2"):
            found.setdefault(run, {})[key] = number
        return found

    def _last_seen(self) -> dict[int, int]:
        """The last sign of each run that made calls, in Unix milliseconds.

        An unanswered call tells it to the millisecond, an answer only that it came in a minute.
        """
        seen = dict(self.ask("SELECT run, (max(minute) + 1) * 60000 FROM activity GROUP BY run"))
        for run, sent_at in self.ask(
            "SELECT run, max(sent_at) FROM (SELECT run, sent_at FROM unanswered UNION ALL"
            " SELECT claim_id >> 32, sent_at FROM claim WHERE sent_at IS NOT NULL) AS sent"
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
        for state, code, reason, jobs in self.ask(
            "SELECT state, code, coalesce(reason, ''), count(*) FROM job WHERE state >= 2"
            " GROUP BY state, code, reason ORDER BY min(seq)"
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
        for key, state, code, reason, attempts in self.through(
            "SELECT note_id, state, code, reason, attempts FROM job WHERE state >= 2 ORDER BY seq"
        ):
            yield FailedJob(from_key(key), State(state), code, reason or "", attempts)

    def expected_lines(self) -> ExpectedLines:
        """How many lines OUTPUT should hold."""
        ((current, older, older_sum),) = self.ask(
            "SELECT count(line_end), coalesce(sum(lines), 0) - count(line_end),"
            " coalesce(sum(lines * seq - CASE WHEN line_end IS NULL THEN 0 ELSE seq END), 0)"
            f" FROM {self.jobs} WHERE lines > 0"
        )
        return ExpectedLines(current, older, older_sum, self.last_seq())

    def last_seq(self) -> int:
        """The highest number of a job."""
        return self.one("SELECT coalesce(max(seq), 0) FROM job")

    def lines_within(self, length: int) -> int:
        """How many notes' current lines are within so many bytes of OUTPUT."""
        query = f"SELECT count(*) FROM {self.jobs} WHERE lines > 0 AND line_end <= $1"
        return self.one(query, length)

    def placed_lines(self) -> Iterator[tuple[int, str]]:
        """The number and note id of each job whose current line has a known place."""
        is_placed = "lines > 0 AND line_end IS NOT NULL"
        for seq, key in self.through(
            f"SELECT seq, note_id FROM {self.jobs} WHERE {is_placed} ORDER BY seq"
        ):
            yield seq, from_key(key)


def _by_code(calls: Mapping[int, int]) -> dict[int | None, int]:
    """The same with all calls that have no code under None."""
    by_code: Counter[int | None] = Counter()
    for code, many in calls.items():
        by_code[None if code < 0 else code] += many
    return dict(by_code)
