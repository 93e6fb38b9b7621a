"""Reads the history of all runs out of a ledger, added up so that months stay small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from harvester.ledger.reader import FailedGroup, LedgerReader
from harvester.ledger.sql import IS_CHARGED
from harvester.model import State, Verdict
from harvester.rules.codes import judge_code
from harvester.rules.latency import quantile

# A chart with more steps than this shows nothing more; in minutes, each a part of a day.
_MOST_STEPS = 240
_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 720, 1440)
# No time zone begins its days at another minute than a multiple of this.
_QUARTER = 15
# Servers that put something new into each message must not fill the memory.
_MOST_KINDS = 1000
# Notes tried more often than this are counted together.
MOST_ATTEMPTS = 10


class Step(Struct, frozen=True):
    """A stretch of minutes in which calls were made.

    `begins` is in Unix seconds; `busy` counts its minutes that had calls; `median` and `p95` are
    latencies in seconds, None without any answer.
    """

    begins: float
    busy: int
    calls: dict[Verdict, int]
    median: float | None
    p95: float | None


class Timeline(Struct, frozen=True):
    """Calls over time in steps of `width` seconds.

    `backlog` is what was queued by the end of a minute, by Unix seconds; `pauses` are stretches
    (from and to in Unix seconds) of whole steps without any call.
    """

    width: float
    steps: list[Step]
    backlog: list[tuple[float, int]]
    pauses: list[tuple[float, float]]


class FailedFor(Struct, frozen=True):
    """Notes given up for one kind of reason; `ids` are the first of them, in input order."""

    group: FailedGroup
    ids: list[str] = field(default_factory=list)


class Failures(Struct, frozen=True):
    """Notes given up, the largest group first; `others` counts those of no group told."""

    told: list[FailedFor]
    others: int


class History:
    """Queries over all runs; to be asked within the reader's snapshot, so that they agree."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader

    def timeline(self, zone: ZoneInfo) -> Timeline:
        """Calls, latencies and backlog over time; long steps begin with the days of a zone."""
        ((first, busy),) = self._reader.ask(
            "SELECT coalesce(min(minute), 0), count(DISTINCT minute) FROM activity"
        )
        width = step_width(busy)
        bucket = _Bucket(width, _offset(first, zone))
        steps = list(self._steps(bucket))
        return Timeline(width * 60.0, steps, self._backlog(bucket), _pauses(steps, width * 60.0))

    def _steps(self, bucket: _Bucket) -> Iterator[Step]:
        calls: dict[int, Counter[Verdict]] = {}
        for begins, code, many in self._reader.ask(
            f"SELECT {bucket.sql}, code, sum(calls) FROM activity GROUP BY 1, 2"
        ):
            calls.setdefault(begins, Counter())[verdict_of(code)] += many
        busy = dict(
            self._reader.ask(
                f"SELECT {bucket.sql}, count(DISTINCT minute) FROM activity GROUP BY 1"
            )
        )
        latencies = {begins: (median, p95) for begins, median, p95 in self._latencies(bucket.sql)}
        for begins in sorted(calls):
            median, p95 = latencies.get(begins, (None, None))
            yield Step(begins * 60.0, busy[begins], dict(calls[begins]), median, p95)

    def _latencies(self, key: str) -> Iterator[tuple[int, float | None, float | None]]:
        """Median and 95th percentile by what an expression over columns says."""
        rows = self._reader.ask(
            f"SELECT {key}, bucket, sum(calls) FROM latency GROUP BY 1, 2 ORDER BY 1"
        )
        for found, group in groupby(rows, itemgetter(0)):
            calls = {bucket: many for _, bucket, many in group}
            yield found, quantile(calls, 0.5), quantile(calls, 0.95)

    def _backlog(self, bucket: _Bucket) -> list[tuple[float, int]]:
        """The very first number, and the last one of each step, in the order they came.

        In steps of a minute also that of each run, at the moment when it ended.
        """
        query = (
            f"SELECT minute, queued, {bucket.sql}, run, finished_at FROM backlog"
            " LEFT JOIN run ON run.id = backlog.run ORDER BY minute, run"
        )
        told: dict[tuple[int, int], tuple[float, int]] = {}
        for minute, queued, begins, run, finished in self._reader.ask(query):
            end = (minute + 1) * 60.0
            at = end if finished is None else max(minute * 60.0, min(end, finished / 1000))
            # Each step's last number stands where that one came, not where the first did.
            key = (begins, run if bucket.width == 1 else 0) if told else (-1, -1)
            told.pop(key, None)
            told[key] = (at, queued)
        # One that was killed had ended by the time that the next one did.
        points = [*told.values()]
        ends = reversed([*accumulate((at for at, _ in reversed(points)), min)])
        return [(at, queued) for at, (_, queued) in zip(ends, points, strict=True)]

    def charged_by_day(self, zone: ZoneInfo) -> dict[date, int]:
        """Charged calls by calendar day of a time zone, oldest first."""
        days: Counter[date] = Counter()
        for quarter, calls in self._reader.ask(
            f"SELECT minute / {_QUARTER}, sum(calls) FROM activity"
            f" WHERE {IS_CHARGED} GROUP BY 1 ORDER BY 1"
        ):
            days[datetime.fromtimestamp(quarter * _QUARTER * 60, zone).date()] += calls
        return dict(days)

    def attempts(self) -> dict[int, dict[State, int]]:
        """Notes by how often they were asked for and by state; the last number means or more."""
        found: dict[int, dict[State, int]] = {}
        for attempts, state, notes in self._reader.ask(
            f"SELECT CASE WHEN attempts < {MOST_ATTEMPTS} THEN attempts ELSE {MOST_ATTEMPTS} END,"
            " state, count(*) FROM job WHERE attempts > 0 GROUP BY 1, 2 ORDER BY 1, 2"
        ):
            found.setdefault(attempts, {})[State(state)] = notes
        return found

    def failures(self, kind_of: Callable[[str], str], kinds: int, ids: int) -> Failures:
        """The most frequent kinds of reasons, each with its first ids."""
        groups = self._reader.failed_groups(kind_of, _MOST_KINDS)
        told = {(g.state, g.code, g.reason): FailedFor(g) for g in groups[:kinds]}
        for job in self._reader.failures():
            found = told.get((job.state, job.code, kind_of(job.reason)))
            if found is not None and len(found.ids) < ids:
                found.ids.append(job.note_id)
        return Failures(list(told.values()), sum(group.jobs for group in groups[kinds:]))

    def latency(self) -> tuple[float | None, float | None]:
        """Median and 95th percentile of all answers, in seconds."""
        return next(((median, p95) for _, median, p95 in self._latencies("0")), (None, None))


class _Bucket(Struct, frozen=True):
    """Stretches of `width` minutes; `offset` is the zone's, in minutes east of UTC."""

    width: int
    offset: int

    @property
    def sql(self) -> str:
        """The minute in which a row's stretch begins."""
        return f"(minute + {self.offset}) / {self.width} * {self.width} - {self.offset}"


def step_width(busy: int) -> int:
    """How many minutes go into one step, so that not too many steps hold all busy minutes."""
    return next((width for width in _WIDTHS if busy <= width * _MOST_STEPS), _WIDTHS[-1])


def verdict_of(code: int) -> Verdict:
    """What the judge says of a code; one below 0 is a call without a readable answer."""
    return Verdict.SAVE if code == 0 else judge_code(code).verdict


def _offset(minute: int, zone: ZoneInfo) -> int:
    shift = datetime.fromtimestamp(minute * 60, zone).utcoffset()
    return 0 if shift is None else round(shift.total_seconds()) // 60


def _pauses(steps: list[Step], width: float) -> list[tuple[float, float]]:
    ends = ((earlier.begins + width, later.begins) for earlier, later in pairwise(steps))
    return [(end, begins) for end, begins in ends if begins > end]
