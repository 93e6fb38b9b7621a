"""A run in numbers for Prometheus: a file that node_exporter's textfile collector reads."""

from __future__ import annotations

import asyncio
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from harvester.engine.ports import CallFinished, Event, RunEnded
from harvester.engine.run import Run
from harvester.errors import LocalIOError
from harvester.model import StopReason, Summary
from harvester.observe.outlet import Outlet
from harvester.observe.sampler import ProgressSampler
from harvester.sanitize import sanitize

# Seconds between two writes; Prometheus itself looks no more often than every ten or so.
_WRITE_EVERY = 5.0
# Of a call, in seconds: from an answer out of a cache to the longest timeout that is common.
_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
_SUCCESS = "harvester_last_success_timestamp_seconds"
# How a run ends that never began, besides the reasons that one stops for.
_FAILURES = ("usage", "internal error")
_LONGEST_PATH = 4096


class Numbers(Struct, frozen=True):
    """A run at a moment; moments are Unix seconds, rates calls a second, None is not known.

    `notes` are by state, of the whole ledger; the calls are those of this run.
    """

    started: float
    notes: dict[str, int] | None = None
    waiting: int = 0
    in_flight: int = 0
    by_code: dict[str, int] = field(default_factory=dict)
    charged: int = 0
    unanswered: int = 0
    rate: float = 0.0
    allowed_rate: float | None = None
    durations: tuple[int, ...] = (0,) * (len(_BUCKETS) + 1)
    duration_sum: float = 0.0
    success: float | None = None
    finished: float | None = None
    exit_code: int | None = None
    reason: str = ""


class MetricsFile:
    """Keeps a metrics file in step with a run; an observer of it, too.

    `clock` is Unix seconds; `warn` is told the first time that the file cannot be written, which
    never hurts the run. Nothing is written before the run has begun: until then, another run may
    hold OUTPUT, and the file may be its.
    """

    def __init__(
        self, path: Path, output: Path, clock: Callable[[], float], warn: Callable[[str], None]
    ) -> None:
        """Raises LocalIOError if the file cannot be written."""
        _check(path)
        self._path = path
        self._clock = clock
        self._warn = warn
        self._has_failed = False
        # One that waits is enough: what is written are the latest numbers.
        self._outlet = Outlet[None](lambda _: self._write(), most=1)
        self._durations = [0] * (len(_BUCKETS) + 1)
        self._duration_sum = 0.0
        # Resolved as the run does it, so that the label names one OUTPUT by one name.
        self._output = sanitize(str(output.resolve()), _LONGEST_PATH)
        self._success = _success_before(path, self._output)
        self._started = clock()
        self._numbers = Numbers(self._started, success=self._success)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(lambda: self._numbers, self._output))

    def __call__(self, event: Event) -> None:
        """Take note of what the run tells."""
        if isinstance(event, CallFinished):
            self._durations[bisect_left(_BUCKETS, event.elapsed)] += 1
            self._duration_sum += event.elapsed
            if event.charged:
                self._success = self._clock()
        elif isinstance(event, RunEnded):
            self._end(event.summary)

    async def follow(self, run: Run) -> None:
        """Write the run's numbers now and then, until cancelled."""
        sampler = ProgressSampler(run)
        while self._numbers.finished is None:
            self._numbers = self._read(run, sampler)
            self._outlet.put(None)
            await asyncio.sleep(_WRITE_EVERY)

    def fail(self, reason: str, exit_code: int) -> None:
        """Write that no run began, and why, as a word."""
        self._numbers = replace(
            self._numbers, finished=self._clock(), exit_code=exit_code, reason=reason
        )
        self._outlet.put(None)

    def close(self) -> None:
        """Have the latest numbers in the file, if the disk takes them in time."""
        self._outlet.drain()

    def _read(self, run: Run, sampler: ProgressSampler) -> Numbers:
        progress, spent, snap = run.progress, run.progress.spent, sampler.read()
        return Numbers(
            self._started,
            {
                "done": progress.done,
                "queued": progress.queued,
                "rejected": progress.rejected,
                "exhausted": progress.exhausted,
            },
            progress.waiting,
            snap.in_flight,
            snap.by_code,
            spent.charged,
            spent.unanswered,
            snap.rate,
            run.lanes.per_second,
            tuple(self._durations),
            self._duration_sum,
            self._success,
        )

    def _end(self, summary: Summary) -> None:
        self._numbers = Numbers(
            self._started,
            {
                "done": summary.done,
                "queued": summary.queued,
                "rejected": summary.rejected,
                "exhausted": summary.exhausted,
            },
            summary.waiting,
            by_code=dict(summary.by_code),
            charged=summary.charged,
            unanswered=summary.unanswered,
            allowed_rate=self._numbers.allowed_rate,
            durations=tuple(self._durations),
            duration_sum=self._duration_sum,
            success=self._success,
            finished=self._clock(),
            exit_code=summary.exit_code,
            reason=summary.reason,
        )
        self._outlet.put(None)

    def _write(self) -> None:
        """Replace the file by the latest numbers."""
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            self._tell_failed(error.strerror or "it cannot be written")

    def _tell_failed(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            name = sanitize(str(self._path), _LONGEST_PATH)
            self._warn(
                f"--metrics-file {name} cannot be written: {reason}. The run goes on; it is tried "
                f"again every {_WRITE_EVERY:g} s."
            )


class _Collector(Collector):
    """Gives the numbers as metrics; made anew each time, so that no series has a `_created`."""

    def __init__(self, numbers: Callable[[], Numbers], output: str) -> None:
        self._numbers = numbers
        self._output = output

    def collect(self) -> Iterator[Metric]:
        """All metrics, each with the label `output`."""
        numbers = self._numbers()
        yield from self._calls(numbers)
        yield from self._jobs(numbers)
        yield from self._pace(numbers)
        yield from self._course(numbers)

    def _calls(self, numbers: Numbers) -> Iterator[Metric]:
        yield self._counter(
            "harvester_calls",
            "Answers of this run by business code; none where no answer arrived.",
            numbers.by_code,
            "code",
        )
        yield self._counter("harvester_charged", "Calls that were charged.", numbers.charged)
        yield self._counter(
            "harvester_unanswered",
            "Calls that may have been charged without an answer.",
            numbers.unanswered,
        )
        seconds = HistogramMetricFamily(
            "harvester_call_duration_seconds", "How long calls took.", labels=["output"]
        )
        seconds.add_metric([self._output], _cumulated(numbers.durations), numbers.duration_sum)
        yield seconds

    def _jobs(self, numbers: Numbers) -> Iterator[Metric]:
        notes = numbers.notes
        if notes is None:
            return
        yield self._gauge("harvester_notes", "Notes of the whole ledger by state.", notes, "state")
        yield self._gauge("harvester_queued", "Notes still to be fetched.", notes["queued"])
        yield self._gauge(
            "harvester_waiting", "Queued notes that wait for another try.", numbers.waiting
        )
        yield self._gauge(
            "harvester_in_flight", "Calls whose answers are awaited.", numbers.in_flight
        )

    def _pace(self, numbers: Numbers) -> Iterator[Metric]:
        yield self._gauge(
            "harvester_rate_calls_per_second", "Calls made in the latest 30 s.", numbers.rate
        )
        if numbers.allowed_rate is not None:
            yield self._gauge(
                "harvester_allowed_rate_calls_per_second",
                "Calls that the pace allows now.",
                numbers.allowed_rate,
            )

    def _course(self, numbers: Numbers) -> Iterator[Metric]:
        is_running = numbers.finished is None
        yield self._gauge("harvester_running", "Whether the run is on.", is_running)
        moments = (
            (_SUCCESS, "When an answer was last saved.", numbers.success),
            ("harvester_run_started_timestamp_seconds", "When it began.", numbers.started),
            ("harvester_run_finished_timestamp_seconds", "When it ended.", numbers.finished),
            ("harvester_exit_code", "What it exited with.", numbers.exit_code),
        )
        for name, meaning, value in moments:
            if value is not None:
                yield self._gauge(name, meaning, value)
        reasons = (*(reason.value for reason in StopReason), *_FAILURES)
        yield self._gauge(
            "harvester_exit_reason",
            "Why it ended: 1 for the reason and 0 for the others; 0 for all while it is on.",
            {reason: reason == numbers.reason for reason in reasons},
            "reason",
        )

    def _counter(
        self, name: str, meaning: str, values: float | Mapping[str, float], label: str = ""
    ) -> Metric:
        family = CounterMetricFamily(name, meaning, labels=self._labels(label))
        for labelled, value in self._series(values):
            family.add_metric(labelled, value)
        return family

    def _gauge(
        self, name: str, meaning: str, values: float | Mapping[str, float], label: str = ""
    ) -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=self._labels(label))
        for labelled, value in self._series(values):
            family.add_metric(labelled, value)
        return family

    def _labels(self, label: str) -> list[str]:
        return ["output", label] if label else ["output"]

    def _series(self, values: float | Mapping[str, float]) -> Iterator[tuple[list[str], float]]:
        if not isinstance(values, Mapping):
            yield [self._output], values
            return
        for labelled, value in values.items():
            yield [self._output, labelled], value


def _cumulated(counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Counts by bucket as Prometheus has them: each holds the smaller ones."""
    bounds = [*map(str, _BUCKETS), "+Inf"]
    return [(bound, sum(counts[: i + 1])) for i, bound in enumerate(bounds)]


def _check(path: Path) -> None:
    """Refuse at the start what could not be written later; leaves what is there."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise LocalIOError(
            f"--metrics-file {path} cannot be written: {error.strerror}. Choose a file in a "
            "directory that you may write to, with room."
        ) from error


def _success_before(path: Path, output: str) -> float | None:
    """The last success that an earlier run left in the file, since a new run may have none."""
    try:
        families = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    samples = (sample for family in families for sample in family.samples)
    found = (s.value for s in samples if s.name == _SUCCESS and s.labels.get("output") == output)
    return next(found, None)
