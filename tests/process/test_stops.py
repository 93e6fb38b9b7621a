"""Crashes and signals: what was paid for is there, what may have been is said."""

from __future__ import annotations

import random
import re
import signal
import time

import pytest

from tests.process.tool import Started, Tool


def test_ten_kills_lose_nothing_and_pay_twice_only_what_was_unanswered(tool: Tool) -> None:
    many = 900
    simulator = tool.simulate("--latency", "20ms", "--jitter", "15ms", "--fail", "301=0.05")
    notes = tool.notes(many)
    dice = random.Random(20261123)
    kept = b""
    for _ in range(10):
        enough = simulator.charged + dice.randrange(5, 80)
        run = tool.start_harvest(simulator.url, notes)
        tool.until(lambda: simulator.charged >= enough, f"{enough} charged calls")  # noqa: B023
        assert run.is_running
        run.signal(signal.SIGKILL)
        assert run.finish().code == -signal.SIGKILL
        text = tool.output.read_bytes()
        assert text.startswith(kept)
        kept = text[: text.rfind(b"\n") + 1]

    last = tool.harvest(simulator.url, notes)
    assert last.code == 0, last.text
    assert tool.output.read_bytes().startswith(kept)
    assert sorted(tool.saved()) == sorted(tool.note_ids(many))
    verified = tool.verify()
    assert verified.code == 0, verified.text
    status = tool.status()
    assert len(simulator.charged_twice) <= simulator.charged - many <= status["unanswered"]
    assert status["charged"] == many
    assert (status["done"], status["queued"]) == (many, 0)


def drain(tool: Tool, run: Started, number: signal.Signals) -> None:
    run.signal(number)
    run.says(" in flight")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")],
)
def test_the_first_signal_saves_what_is_in_flight(
    tool: Tool, number: signal.Signals, code: int, words: str
) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(50), "--workers", "4")
    tool.until(lambda: upstream.calls == 4, "four calls")
    drain(tool, run, number)
    assert run.is_running
    upstream.open()
    ended = run.finish()
    assert ended.code == code, ended.text
    assert sorted(tool.saved()) == sorted(note_id for _, note_id in upstream.starts)
    assert upstream.calls == 4
    assert words in ended.closing_line
    assert "4 done, 46 left" in ended.closing_line
    status = tool.status()
    assert (status["done"], status["queued"], status["unanswered"]) == (4, 46, 0)
    assert status["runs"][-1]["exitCode"] == code


def test_the_second_signal_stops_at_once_and_the_ledger_is_right(tool: Tool) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(5), "--workers", "1")
    tool.until(lambda: upstream.calls == 1, "a call")
    drain(tool, run, signal.SIGINT)
    run.signal(signal.SIGINT)
    said = time.monotonic()
    tool.until(lambda: time.monotonic() > said + 1.1, "another second")
    assert run.is_running
    run.signal(signal.SIGINT)
    ended = run.finish()
    assert ended.code == 130, ended.text
    assert "0 done, 5 left" in ended.closing_line
    assert "1 call" in ended.out
    assert "without an answer" in ended.out
    status = tool.status()
    assert (status["unanswered"], status["queued"], status["done"]) == (1, 5, 0)
    assert status["inFlight"] == 0
    upstream.open()
    again = tool.harvest(upstream.url)
    assert again.code == 0, again.text
    assert sorted(tool.saved()) == sorted(tool.note_ids(5))
    assert upstream.calls == 6
    assert tool.verify().code == 0
    assert tool.status()["unanswered"] == 1


def test_a_killed_run_tells_the_next_one_how_many_calls_were_unanswered(tool: Tool) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(10), "--workers", "3")
    tool.until(lambda: upstream.calls == 3, "three calls")
    run.signal(signal.SIGKILL)
    run.finish()
    upstream.open()
    again = tool.harvest(upstream.url)
    assert again.code == 0, again.text
    assert "3 calls of the last run may have been charged without an answer" in again.err
    assert tool.status()["unanswered"] == 3


def test_a_full_disk_stops_the_run_which_then_goes_on(tool: Tool) -> None:
    many = 600
    simulator = tool.simulate()
    notes = tool.notes(many)
    limited = 'ulimit -f 1000; exec "$@"'
    run = tool.harvest(simulator.url, notes, shell=limited)
    assert run.code == 74, run.text
    before = simulator.charged
    text = tool.output.read_bytes()
    kept = text[: text.rfind(b"\n") + 1]
    assert 0 < before < many

    again = tool.harvest(simulator.url, notes)
    assert again.code == 0, again.text
    assert tool.output.read_bytes().startswith(kept)
    assert sorted(tool.saved()) == sorted(tool.note_ids(many))
    assert tool.verify().code == 0
    # Paid again is only what the stopped run said it could not write.
    told = re.search(r"(\d+) answers that were paid for could not be written", run.out)
    assert simulator.charged - many <= (int(told[1]) if told else 0)
