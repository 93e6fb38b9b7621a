"""A run in numbers, as Prometheus reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from harvester.engine.ports import CallFinished, Notice, RunEnded
from harvester.errors import LocalIOError
from harvester.model import Summary
from harvester.observe.metrics import MetricsFile

PROMTOOL = shutil.which("promtool")
SUMMARY = Summary(
    "quota", 3, done=5, queued=7, failed=2, charged=4, unanswered=1, calls=9,
    by_code={"0": 4, "none": 1, "303": 4}, saved=4, waiting=6, rejected=1, exhausted=1,
)  # fmt: skip


def clock() -> Callable[[], float]:
    return map(float, count(1000)).__next__


def silent(text: str) -> None:
    pytest.fail(text)


def call(code: int | None, elapsed: float) -> CallFinished:
    return CallFinished("a", "save", code, "", 1, elapsed, charged=code == 0)


@dataclass
class Place:
    """A metrics file of an output, and what was warned of."""

    folder: Path
    told: list[str] = field(default_factory=list)
    opened: list[MetricsFile] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "harvester.prom"

    @property
    def output(self) -> Path:
        return self.folder / "notes.jsonl"

    def open(self, output: str = "notes.jsonl") -> MetricsFile:
        self.opened.append(MetricsFile(self.path, self.folder / output, clock(), self.told.append))
        return self.opened[-1]

    def settle(self) -> None:
        """Let all be written that is on its way."""
        for metrics in self.opened:
            metrics.close()

    def read(self) -> dict[str, float]:
        """Values by series; all carry the output, so it is left out."""
        found = {}
        self.settle()
        for family in text_string_to_metric_families(self.path.read_text("utf-8")):
            for sample in family.samples:
                labels = dict(sample.labels)
                assert labels.pop("output") == str(self.output)
                shown = "".join(f" {name}={value}" for name, value in labels.items())
                assert sample.name + shown not in found
                found[sample.name.removeprefix("harvester_") + shown] = sample.value
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path.resolve())


def test_nothing_is_written_before_the_run_has_begun(place: Place) -> None:
    place.path.write_text("of another run\n")
    place.open()
    assert place.path.read_text() == "of another run\n"
    assert [path.name for path in place.folder.iterdir()] == ["harvester.prom"]


def test_the_end_of_a_run_is_in_the_file(place: Place) -> None:
    metrics = place.open()
    for event in (call(0, 0.03), call(0, 0.05), call(None, 200.0), Notice("cut", "x")):
        metrics(event)
    metrics(RunEnded(SUMMARY))
    read = place.read()
    assert {name: read[name] for name in read if not name.startswith(("call_d", "exit_r"))} == {
        "calls_total code=0": 2,
        "calls_total code=none": 1,
        "charged_total": 2,
        "unanswered_total": 0,
        "notes state=done": 5,
        "notes state=queued": 7,
        "notes state=rejected": 1,
        "notes state=exhausted": 1,
        "queued": 7,
        "waiting": 6,
        "in_flight": 0,
        "rate_calls_per_second": 0,
        "running": 0,
        "last_success_timestamp_seconds": 1002,
        "run_started_timestamp_seconds": 1000,
        "run_finished_timestamp_seconds": 1003,
        "exit_code": 3,
    }
    assert [name for name in read if name.startswith("exit_reason") and read[name]] == [
        "exit_reason reason=quota"
    ]
    assert read["exit_reason reason=balance"] == 0
    within = {le: read[f"call_duration_seconds_bucket le={le}"] for le in ("0.02", "0.05", "120.0")}
    assert within == {"0.02": 0, "0.05": 2, "120.0": 2}
    assert read["call_duration_seconds_bucket le=+Inf"] == 3
    assert read["call_duration_seconds_count"] == 3
    assert read["call_duration_seconds_sum"] == pytest.approx(200.08)
    assert not [name for name in read if "_created" in name]


def test_a_run_that_could_not_begin_says_why_and_keeps_the_last_success(place: Place) -> None:
    before = place.open()
    before(call(0, 0.1))
    before(RunEnded(SUMMARY))
    place.settle()
    place.open().fail("usage", 2)
    read = place.read()
    assert read["last_success_timestamp_seconds"] == 1001
    assert (read["exit_code"], read["exit_reason reason=usage"], read["running"]) == (2, 1, 0)
    assert "notes state=done" not in read


def test_the_last_success_of_another_output_is_not_taken_over(place: Place) -> None:
    before = place.open("other.jsonl")
    before(call(0, 0.1))
    before(RunEnded(SUMMARY))
    place.settle()
    place.open().fail("usage", 2)
    assert "last_success_timestamp_seconds" not in place.read()


@given(rubbish=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_rubbish_in_its_place_is_no_hindrance(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes
) -> None:
    place = Place(tmp_path_factory.mktemp("rubbish").resolve())
    place.path.write_bytes(rubbish)
    place.open().fail("usage", 2)
    assert place.read()["exit_code"] == 2


@pytest.mark.parametrize("name", ["", "none/m.prom", "/dev/null"])
def test_a_file_that_cannot_be_written_is_refused_at_the_start(place: Place, name: str) -> None:
    with pytest.raises(LocalIOError, match=r"--metrics-file .* cannot be written: .* Choose a"):
        MetricsFile(place.folder / name, place.output, clock(), silent)


def test_a_file_that_fails_later_is_told_once_and_written_when_it_can_be(place: Place) -> None:
    metrics = place.open()
    place.path.mkdir()
    for _ in range(2):
        metrics(RunEnded(SUMMARY))
        place.settle()
    assert len(place.told) == 1
    assert "run goes on" in place.told[0]
    place.path.rmdir()
    metrics(RunEnded(SUMMARY))
    assert place.read()["exit_code"] == 3
    assert [path.name for path in place.folder.iterdir()] == ["harvester.prom"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is in Debian's package prometheus")
@pytest.mark.parametrize("name", ["notes.jsonl", '上海 "a"\\b\x1b\n.jsonl'])
def test_promtool_finds_nothing_to_mend(place: Place, name: str) -> None:
    metrics = place.open(name)
    metrics(call(0, 0.1))
    metrics(RunEnded(SUMMARY))
    place.settle()
    checked = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=place.path.read_bytes(),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
