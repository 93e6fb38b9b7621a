"""The metrics file of real runs, and the log of one, as those read them who watch a night."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from harvester.sides import Side
from tests.process.tool import Tool, Upstream

NAME = "harvester.prom"


def metrics_of(tool: Tool) -> dict[str, float]:
    """Values by series, without the label that names the output."""
    text = (tool.folder / NAME).read_text("utf-8")
    return {
        " ".join([s.name, *(v for k, v in s.labels.items() if k != "output")]): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_metrics_are_there_while_a_run_is_on_and_when_a_signal_ends_it(tool: Tool) -> None:
    async def answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth > 3:
            await upstream.opened()
        return upstream.reply(0, {"noteId": note_id})

    upstream = tool.upstream(answer)
    run = tool.start_harvest(upstream.url, tool.notes(9), "--metrics-file", NAME, "--workers", "4")
    tool.until(lambda: upstream.calls == 7, "seven calls")
    tool.until((tool.folder / NAME).exists, "the file")
    found = metrics_of(tool)
    assert (found["harvester_running"], found["harvester_exit_reason done"]) == (1, 0)
    assert "harvester_exit_code" not in found
    assert found["harvester_allowed_rate_calls_per_second"] == pytest.approx(1000)
    run.signal(signal.SIGTERM)
    run.says("SIGTERM")
    upstream.open()
    ended = run.finish()
    found = metrics_of(tool)
    assert found["harvester_exit_code"] == ended.code == 143
    assert found["harvester_exit_reason SIGTERM"] == 1
    assert found["harvester_calls_total 0"] == found["harvester_charged_total"] == 7
    assert (found["harvester_notes done"], found["harvester_queued"]) == (7, 2)
    assert found["harvester_call_duration_seconds_count"] == 7
    started = found["harvester_run_started_timestamp_seconds"]
    assert started <= found["harvester_last_success_timestamp_seconds"]
    assert started <= found["harvester_run_finished_timestamp_seconds"]
    assert [path.name for path in tool.folder.glob(NAME + "*")] == [NAME]


@pytest.mark.parametrize(
    ("faults", "options", "reason", "code"),
    [
        ((), (), "done", 0),
        (("--missing", "0.5"), (), "some failed", 1),
        (("--daily-quota", "1"), (), "quota", 3),
        ((), ("--max-calls", "1"), "limit", 7),
        ((), ("--token-file", "none"), "usage", 2),
        ((), ("none.txt",), "input", 2),
        ((), ("--log-file", "none/log"), "local I/O", 74),
    ],
)
def test_however_a_run_ends_its_metrics_and_its_exit_code_agree(
    tool: Tool, faults: tuple[str, ...], options: tuple[str, ...], reason: str, code: int
) -> None:
    simulator = tool.simulate(*faults)
    ended = tool.harvest(simulator.url, tool.notes(30), "--metrics-file", NAME, *options)
    found = metrics_of(tool)
    assert ended.code == found["harvester_exit_code"] == code, ended.text
    reasons = [
        name for name, value in found.items() if name.startswith("harvester_exit_r") and value
    ]
    assert reasons == [f"harvester_exit_reason {reason}"]


def test_a_run_that_finds_output_held_leaves_the_metrics_of_the_other_alone(tool: Tool) -> None:
    upstream = tool.upstream()
    first = tool.start_harvest(upstream.url, tool.notes(3), "--metrics-file", NAME)
    tool.until(lambda: upstream.calls == 3, "three calls")
    second = tool.harvest(upstream.url, "--metrics-file", NAME)
    assert second.code == 75, second.text
    assert metrics_of(tool)["harvester_running"] == 1
    upstream.open()
    assert first.finish().code == 0


def test_a_place_that_cannot_be_written_is_refused_before_the_first_call(tool: Tool) -> None:
    simulator = tool.simulate()
    refused = tool.harvest(simulator.url, tool.notes(3), "--metrics-file", f"none/{NAME}")
    assert refused.code == 74, refused.text
    assert "--metrics-file" in refused.err
    assert "Choose" in refused.err
    assert simulator.calls == 0
    assert not tool.output.exists()


def test_a_place_that_is_lost_on_the_way_costs_one_warning(tool: Tool) -> None:
    upstream = tool.upstream()
    folder = tool.folder / "metrics"
    folder.mkdir()
    run = tool.start_harvest(upstream.url, tool.notes(3), "--metrics-file", folder / NAME)
    tool.until(lambda: upstream.calls == 3, "three calls")
    tool.until((folder / NAME).exists, "the file")
    shutil.rmtree(folder)
    upstream.open()
    ended = run.finish()
    assert ended.code == 0, ended.text
    assert ended.err.count("--metrics-file") == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")
def test_promtool_has_nothing_against_the_metrics_of_a_run(tool: Tool) -> None:
    simulator = tool.simulate("--fail", "301=0.3", "--missing", "0.1")
    assert tool.harvest(simulator.url, tool.notes(50), "--metrics-file", NAME).code == 1
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - wherever it is installed
        input=(tool.folder / NAME).read_bytes(),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# The log


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_log_tells_a_run_from_its_beginning_to_its_exit_code(tool: Tool) -> None:
    simulator = tool.simulate("--fail", "301=0.3", "--missing", "0.2")
    log = tool.folder / "log.json"
    ids = tool.note_ids(40)
    for many in (20, 40):
        notes = tool.write(f"{many}.txt", ids[:many])
        run = tool.harvest(simulator.url, notes, "--log-file", log, "--log-format", "json")
        assert run.code == 1, run.text
    lines = lines_of(log)
    runs = list(dict.fromkeys(line["run"] for line in lines))
    assert len(runs) == 2
    for run_id in runs:
        first, *_, last = [line for line in lines if line["run"] == run_id]
        assert (first["event"], first["output"]) == ("begin", str(tool.output.resolve()))
        assert (last["event"], last["exitCode"], last["reason"]) == ("end", 1, "some failed")
    calls = [line for line in lines if line["event"] == "call"]
    assert len(calls) == simulator.calls
    assert sum(line["charged"] is True for line in calls) == simulator.charged


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_failed_note_is_found_in_the_log_by_its_id(tool: Tool, form: str) -> None:
    simulator = tool.simulate("--missing", "0.3")
    log = tool.folder / "harvest.log"
    run = tool.harvest(simulator.url, tool.notes(20), "--log-file", log, "--log-format", form)
    assert run.code == 1, run.text
    failed = tool.run("failures", tool.output, "--format", "ids", env=tool.env).out.split()
    assert failed
    for note_id in failed:
        (line,) = [line for line in log.read_text().splitlines() if note_id in line]
        assert "reject" in line
        assert "404" in line


def test_a_log_whose_process_is_killed_ends_in_a_whole_line(tool: Tool) -> None:
    simulator = tool.simulate()
    log = tool.folder / "harvest.log"
    run = tool.start_harvest(simulator.url, tool.notes(5000), "--log-file", log)
    tool.until(lambda: log.exists() and log.stat().st_size > 20_000, "some lines")
    run.signal(signal.SIGKILL)
    run.finish()
    assert log.read_bytes().endswith(b"\n")


def test_a_log_that_fails_costs_one_warning_and_no_note(tool: Tool) -> None:
    simulator = tool.simulate()
    run = tool.harvest(simulator.url, tool.notes(20), "--log-file", "/dev/full")
    assert run.code == 0, run.text
    assert run.err.count("--log-file /dev/full") == 1
    assert len(tool.saved()) == simulator.charged == 20


def test_a_metrics_file_that_is_something_else_is_left_as_it_is(tool: Tool) -> None:
    notes, token = tool.notes(2), tool.write("token.txt", [tool.token])
    assert tool.run("run", notes, "-o", tool.output, "--simulate", env=tool.env).code == 0
    for path in (tool.output, Side.LEDGER.of(tool.output), notes, token):
        before = path.read_bytes()
        given = ("--token-file", token, "--metrics-file", path)
        # Whatever else is wrong with the command.
        for wrong in ((), ("--timeout", "1s")):
            run = tool.run("run", notes, "-o", tool.output, *given, *wrong, env=tool.env)
            assert run.code == 2, run.text
            assert "are the same file" in run.text
            assert path.read_bytes() == before
