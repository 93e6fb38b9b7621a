"""A run in numbers for Prometheus: a file that node_exporter's textfile collector reads."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.parser import text_string_to_metric_families

from harvester.disk import replacing
from harvester.engine.ports import CallFinished, Event, RunEnded
from harvester.engine.run import Run
from harvester.engine.state import RunState
from harvester.errors import LocalIOError
from harvester.model import StopReason, Summary
from harvester.observe.outlet import Outlet
from harvester.observe.sampler import ProgressSampler
from harvester.sanitize import LONGEST_PATH, sanitize

# Seconds between two writes; Prometheus itself looks no more often than every ten or so.
_WRITE_EVERY = 5.0
# Of a call, in seconds: from an answer out of a cache to the longest timeout that is common.
_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
_SUCCESS = "last_success_timestamp_seconds"
# Of each: its name without `harvester_`, its meaning, and what it is told by beside OUTPUT.
_COUNTERS = (
    ("calls", "Answers of this run by business code; none where no answer arrived.", "code"),
    ("charged", "Calls that were charged."),
    ("unanswered", "Calls that may have been charged without an answer."),
)
_GAUGES = (
    ("notes", "Notes of the whole ledger by state.", "state"),
    ("queued", "Notes still to be fetched."),
    ("waiting", "Queued notes that wait for another try."),
    ("in_flight", "Calls whose answers are awaited."),
    ("rate_calls_per_second", "Calls made in the latest 30 s."),
    ("allowed_rate_calls_per_second", "Calls that the pace allows now."),
    ("running", "Whether the run is on."),
    (_SUCCESS, "When an answer was last saved."),
    ("run_started_timestamp_seconds", "When it began."),
    ("run_finished_timestamp_seconds", "When it ended."),
    ("exit_code", "What it exited with."),
    ("exit_reason", "Why it ended: 1 for the reason, 0 for others and while it is on.", "reason"),
)
# Why a run ends; the last ones are of those that never began.
_REASONS = (*(reason.value for reason in StopReason), "usage", "internal error")
# Others read it: node_exporter, if the user's mask lets it.
_FOR_ALL = 0o666


class MetricsFile:
    """Keeps a metrics file in step with a run; an observer of it, too.

    `clock` is Unix seconds; `warn` is told once why the file cannot be written, which never
    hurts the run. Nothing is written before the run has begun: until then, another run may
    hold OUTPUT, and the file may be its.
    """

    def __init__(
        self, path: Path, output: Path, clock: Callable[[], float], warn: Callable[[str], None]
    ) -> None:
        """Raises LocalIOError if the file cannot be written."""
        _check(path)
        self._path = path
        self._clock = clock
        self._warn = cache(warn)
        self._is_over = False
        # One that waits is enough: what is written are the latest numbers.
        self._outlet = Outlet[None](lambda _: self._write(), most=1)
        # Resolved as the run does it, so that the label names one OUTPUT by one name.
        self._output = sanitize(str(output.resolve()), LONGEST_PATH)
        self._registry = CollectorRegistry()
        # When a series began is when the run did.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library types it so
        self._counters = {
            name: Counter(f"harvester_{name}", meaning, ["output", *by], registry=self._registry)
            for name, meaning, *by in _COUNTERS
        }
        self._gauges = {
            name: Gauge(f"harvester_{name}", meaning, ["output", *by], registry=self._registry)
            for name, meaning, *by in _GAUGES
        }
        self._durations = Histogram(
            "harvester_call_duration_seconds",
            "How long calls took.",
            ["output"],
            registry=self._registry,
            buckets=_BUCKETS,
        ).labels(self._output)
        for name in ("charged", "unanswered"):
            self._counters[name].labels(self._output)
        self._set("running", 1)
        self._set("run_started_timestamp_seconds", self._clock())
        for reason in _REASONS:
            self._set("exit_reason", 0, reason)
        if (success := _success_before(self._path, self._output)) is not None:
            self._set(_SUCCESS, success)

    def _set(self, name: str, value: float, *labels: str) -> None:
        self._gauges[name].labels(self._output, *labels).set(value)

    def __call__(self, event: Event) -> None:
        """Take note of what the run tells."""
        if isinstance(event, CallFinished):
            self._count(event)
        elif isinstance(event, RunEnded):
            self._end(event.summary)

    def _count(self, call: CallFinished) -> None:
        code = "none" if call.code is None else str(call.code)
        self._counters["calls"].labels(self._output, code).inc()
        self._counters["charged"].labels(self._output).inc(call.charged)
        self._counters["unanswered"].labels(self._output).inc(call.unanswered)
        self._durations.observe(call.elapsed)
        if call.charged:
            self._set(_SUCCESS, self._clock())

    async def follow(self, run: Run) -> None:
        """Write the run's numbers now and then, until cancelled."""
        sampler, state = ProgressSampler(run), run.state
        while not self._is_over:
            snap = sampler.read()
            self._set_notes(state)
            self._set("in_flight", snap.in_flight)
            self._set("rate_calls_per_second", snap.rate)
            if (allowed := run.pool.per_second) is not None:
                self._set("allowed_rate_calls_per_second", allowed)
            self._outlet.put(None)
            await asyncio.sleep(_WRITE_EVERY)

    def _set_notes(self, held: RunState | Summary) -> None:
        for state in ("done", "queued", "rejected", "exhausted"):
            self._set("notes", getattr(held, state), state)
        self._set("queued", held.queued)
        self._set("waiting", held.waiting)

    def _end(self, summary: Summary) -> None:
        self._set_notes(summary)
        self._set("in_flight", 0)
        self._set("rate_calls_per_second", 0)
        self.fail(summary.reason, summary.exit_code)

    def fail(self, reason: str, exit_code: int) -> None:
        """Write that the run is over, or that none began, and why, as a word."""
        self._is_over = True
        self._set("running", 0)
        self._set("run_finished_timestamp_seconds", self._clock())
        self._set("exit_code", exit_code)
        self._set("exit_reason", 1, reason)
        self._outlet.put(None)

    def close(self) -> None:
        """Have the latest numbers in the file, if the disk takes them in time."""
        self._outlet.drain()

    def _write(self) -> None:
        """Replace the file by the latest numbers."""
        try:
            with replacing(self._path, mode=_FOR_ALL) as file:
                file.write(generate_latest(self._registry))
        except OSError as error:
            name = sanitize(str(self._path), LONGEST_PATH)
            reason = error.strerror or "it cannot be written"
            self._warn(
                f"--metrics-file {name} cannot be written: {reason}. The run goes on; it is tried "
                f"again every {_WRITE_EVERY:g} s."
            )


def _check(path: Path) -> None:
    """Refuse at the start what could not be written later; leaves what is there."""
    try:
        if path.exists() and not path.is_file():
            raise FileExistsError(0, "it is no plain file, which could be replaced")
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
    wanted = f"harvester_{_SUCCESS}"
    found = (s.value for s in samples if s.name == wanted and s.labels.get("output") == output)
    return next(found, None)
