"""The table of failures, in a pipe and on terminals wide and narrow."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from harvester.cli.failures import failures
from harvester.console.failures import failure_lines
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.reader import FailedJob
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import ledger_path
from harvester.model import Outcome, State

CHINESE = "笔记不存在或已被作者删除、请检查笔记编号后重试。" * 3
JOBS = [
    FailedJob("67000000a1b2c3d4e5f60718", State.REJECTED, 404, CHINESE, 1),
    FailedJob("笔记甲", State.EXHAUSTED, None, "no answer within 90 s", 1234),
]


def column_of(line: str, text: str) -> int:
    """The cell at which a text begins."""
    return cell_len(line[: line.index(text)])


def test_where_no_note_failed_it_is_said() -> None:
    assert [*failure_lines([], None)] == [*failure_lines([], 40)] == ["no note failed"]


def test_in_a_pipe_every_failure_is_one_whole_line() -> None:
    head, first, second = failure_lines(JOBS, None)
    assert first.endswith(CHINESE)
    begins = [column_of(head, "reason"), column_of(first, "笔记不"), column_of(second, "no answer")]
    assert begins == [53, 53, 53]
    assert first.startswith("67000000a1b2c3d4e5f60718  rejected    404         1  ")


def test_on_a_terminal_reasons_are_folded_in_their_column() -> None:
    lines = list(failure_lines(JOBS, 80))
    assert max(map(cell_len, lines)) <= 80
    folded = [line for line in lines if line.startswith(" " * 53)]
    assert folded
    assert all(line[53] != " " for line in folded)
    assert "".join(line.split()[-1] for line in lines[1:-1]) == CHINESE


@pytest.mark.parametrize("width", [20, 40, 60, 72])
def test_on_a_narrow_terminal_the_reason_goes_below(width: int) -> None:
    lines = list(failure_lines(JOBS, width))
    assert lines[0] == JOBS[0].note_id
    assert max(map(cell_len, lines[1:])) <= width
    assert "".join(lines).replace(" ", "").count(CHINESE) == 1


def test_a_failure_without_a_reason_is_a_line_too() -> None:
    job = FailedJob("a", State.REJECTED, 400, "", 1)
    assert list(failure_lines([job], 80))[1].split() == ["a", "rejected", "400", "1"]


def test_nothing_from_outside_steers_the_terminal() -> None:
    job = FailedJob("a\x1b[31m", State.REJECTED, 400, "b\x1b]0;x\x07\n[red]c", 1)
    for width in (None, 80, 40):
        text = "\n".join(failure_lines([job], width))
        assert "\x1b" not in text
        assert "[red]c" in text


@pytest.mark.parametrize("form", ["--format=table", "--format=ids", "--format=jsonl", "--json"])
def test_no_form_of_it_steers_the_terminal_whatever_ids_a_ledger_holds(
    tmp_path: Path, form: str
) -> None:
    output = tmp_path / "notes.jsonl"
    with closing(SqliteLedger(ledger_path(output), lambda: 1e9)) as ledger:
        ledger.begin_run(1.0)
        ledger.enrol(["a\x1b[31m\x9b2Jb"], None)
        jobs = ledger.claim(1, 10.0).jobs
        ledger.record([Outcome(job, State.REJECTED, 404, "") for job in jobs], (), Checkpoint())
    said = CliRunner().invoke(failures, [str(output), form])
    assert said.exit_code == 0, said.output
    assert said.output.count("a") > 0
    assert not set(said.output) & {"\x1b", "\x9b"}


def test_a_program_gets_one_object_or_a_line_each_but_not_both(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"
    with closing(SqliteLedger(ledger_path(output), lambda: 1e9)) as ledger:
        ledger.begin_run(1.0)
        ledger.enrol(["a", "b"], None)
        outcomes = [Outcome(job, State.REJECTED, 404, CHINESE) for job in ledger.claim(2, 9).jobs]
        ledger.record(outcomes, (), Checkpoint())
    told = json.loads(CliRunner().invoke(failures, [str(output), "--json"]).stdout)
    lines = CliRunner().invoke(failures, [str(output), "--format", "jsonl"]).stdout.splitlines()
    assert told == {"output": str(output), "failed": 2, "failures": list(map(json.loads, lines))}
    assert told["failures"][1] == {
        "noteId": "b",
        "state": "rejected",
        "code": 404,
        "reason": CHINESE,
        "attempts": 1,
    }
    both = CliRunner().invoke(failures, [str(output), "--json", "--format", "ids"])
    assert "contradict" in str(both.exception)
