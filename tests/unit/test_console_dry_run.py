"""A dry run says what the run would do, by doing all of it but the calls, on a copy."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester.config import RunConfig
from harvester.console.dry_run import estimate, estimate_lines
from harvester.errors import HarvesterError, InputError
from harvester.secret import Secret
from harvester.source.options import Inputs
from tests.process.tool import note_ids

IDS = note_ids(20)


def options_with(more: dict[str, Any]) -> Any:  # noqa: ANN401 - options by name
    return {"simulate": True, "rate": "1000/s", "price": 0.5, **more}


def harvest(inputs: Inputs, output: Path, **more: Any) -> int:  # noqa: ANN401 - the same
    """Run it; gives how many calls it made."""
    return asyncio.run(harvester.harvest(inputs, output, **options_with(more))).calls


def dry(inputs: Inputs, output: Path, **more: Any) -> str:  # noqa: ANN401 - the same
    """What a dry run says; it changes nothing and leaves nothing behind."""
    before = {path: path.read_bytes() for path in output.parent.iterdir() if path.is_file()}
    token = Secret(more.pop("token", ""))
    config = RunConfig.read(inputs, output, options_with(more), token)
    said = "\n".join(estimate_lines(config, estimate(config, None)))
    assert {p: p.read_bytes() for p in before} == before
    assert {path for path in output.parent.iterdir() if path.is_file()} == set(before)
    return said


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An OUTPUT with its ledger, ten notes done."""
    output = tmp_path / "notes.jsonl"
    assert harvest(IDS[:10], output) == 10
    return output


def without_ledger(output: Path) -> None:
    for part in output.parent.glob("notes.jsonl.ledger*"):
        part.unlink()


def first_lines(output: Path, many: int) -> None:
    output.write_bytes(b"".join(output.read_bytes().splitlines(keepends=True)[:many]))


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, 10),
        ({"refresh": "0s"}, 20),
        ({"refresh": "7d"}, 10),
        ({"max_calls": 3}, 3),
        ({"max_notes": 4}, 4),
        ({"max_charged": 5}, 5),
        ({"max_charged_daily": 16}, 6),
        ({"max_charged_daily": 9}, 0),
    ],
)
def test_it_tells_the_calls_that_the_run_then_makes(
    output: Path, more: dict[str, Any], calls: int
) -> None:
    said = dry(IDS, output, **more)
    assert f"at least {calls} call" in said
    assert f"({calls * 0.5:,.2f} at 0.5 a call)" in said
    left = (20 if more.get("refresh") == "0s" else 10) - calls
    assert (f"its own limit, with at least {left} left" in said) == (left > 0)
    assert harvest(IDS, output, **more) == calls


def test_where_nothing_is_left_no_call_is_told(output: Path) -> None:
    harvest(IDS, output)
    assert "would make no call: nothing is left to fetch" in dry(IDS, output)


def test_the_time_that_a_run_has_bounds_it(output: Path) -> None:
    said = dry(IDS, output, rate="1/s", max_runtime="4s")
    assert "at least 5 calls" in said
    assert "its own limit, with at least 5 left" in said


def test_it_goes_by_the_lines_of_output_where_a_run_would(output: Path) -> None:
    whole = output.read_bytes()
    first_lines(output, 6)
    assert "at least 14 calls" in dry(IDS, output, rebuild=True)
    assert "at least 4 calls" in dry((), output, rebuild=True)
    without_ledger(output)
    assert "at least 14 calls" in dry(IDS, output)
    assert harvest(IDS, output) == 14
    assert len(output.read_bytes()) > len(whole)


def test_lines_that_a_crash_left_unrecorded_are_not_called_for_again(
    output: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "notes.jsonl"
    other.parent.mkdir()
    harvest(IDS[10:15], other)
    output.write_bytes(output.read_bytes() + other.read_bytes() + b'{"noteId":"67')
    assert "at least 5 calls" in dry(IDS, output)
    assert harvest(IDS, output) == 5


def test_of_a_long_output_only_the_end_is_copied(tmp_path: Path) -> None:
    output = tmp_path / "long.jsonl"
    harvest(IDS[:10], output)
    line = json.loads(output.read_bytes().splitlines()[0])
    line["data"]["padding"] = "x" * 6_000_000
    output.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    for part in tmp_path.glob("long.jsonl.ledger*"):
        part.unlink()
    # Few calls at once: for each, room is kept free for answers so long.
    harvest(IDS[:11], output, workers=2)
    assert "at least 9 calls" in dry(IDS, output)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"endpoint": "xiaohongshu/note-detail/v7"}, "choose another --output"),
        ({"simulate": False, "base_url": "http://h", "token": "t"}, "choose another --output"),
        ({"simulate": False}, "no token"),
        ({"strict": True}, "names no note"),
    ],
)
def test_it_refuses_what_the_run_would_refuse(
    output: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], told: str
) -> None:
    monkeypatch.delenv("JUSTONEAPI_TOKEN", raising=False)
    inputs = [*IDS, "nonsense"] if "strict" in more else IDS
    with pytest.raises(HarvesterError) as caught:
        dry(inputs, output, **more)
    assert caught.value.exit_code == 2
    assert told in str(caught.value)
    assert "/harvester-" not in str(caught.value)


def test_a_lost_or_shortened_output_is_refused_by_its_own_name(output: Path) -> None:
    first_lines(output, 6)
    for _ in range(2):
        with pytest.raises(HarvesterError) as caught:
            dry(IDS, output)
        assert caught.value.exit_code == 2
        assert str(output) in str(caught.value)
        assert "--rebuild" in str(caught.value)
        output.unlink(missing_ok=True)


def test_input_that_names_no_note_is_refused(tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("nonsense\n" * 3)
    with pytest.raises(InputError, match=r"names no note at all; the first line: .*ids\.txt:1"):
        dry(ids, tmp_path / "new.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def test_its_memory_does_not_grow_with_bad_lines(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield IDS[0]
        yield from ("no note" for _ in range(25_000))

    config = RunConfig.read(lines(), tmp_path / "new.jsonl", options_with({}))
    tracemalloc.start()
    said = "\n".join(estimate_lines(config, estimate(config, None)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "25,000 lines of input named no note and were left out:" in said
    assert said.count("no note\n") == 10
    assert peak < 2_000_000
