"""Every stop prints one plain line: why, how many are done, how many are left, what to do next."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.console.summary import bad_line_lines, closing_line, summary_lines
from harvester.model import BadLine, StopReason, Summary
from harvester.money import Balance, Balances, Counted
from harvester.rules.spending import spending
from harvester.sanitize import has_unprintable

GO_ON = "harvester run -o out.jsonl"
OUT = Path("out.jsonl")
EXIT_CODES = {
    StopReason.DONE: 0,
    StopReason.FAILED: 1,
    StopReason.INPUT: 2,
    StopReason.QUOTA: 3,
    StopReason.BALANCE: 4,
    StopReason.REFUSED: 5,
    StopReason.UPSTREAM: 6,
    StopReason.LIMIT: 7,
    StopReason.LOCAL_IO: 74,
    StopReason.SIGINT: 130,
    StopReason.CANCELLED: 130,
    StopReason.SIGTERM: 143,
}


def test_the_summary_tells_what_the_account_holds_and_how_far_that_reaches() -> None:
    before, after = (Balance(Decimal(held), "CNY") for held in ("100", "97"))
    told = spending(Balances(before, after), Counted(60), None)
    lines = list(summary_lines(replace(summary_of(), spending=told), OUT, None))
    assert lines[2:4] == [
        "the account paid 3.00 CNY for 60 calls (0.05 each); the ledger agrees",
        "the balance of 97.00 CNY reaches for about 1,940 calls at 0.05 each",
    ]
    wrong = list(summary_lines(replace(summary_of(), spending=told), OUT, Decimal("0.06")))
    assert wrong[2:5] == [
        lines[2],
        "a call costs the account 0.05, and not 0.06 as --price says",
        lines[3],
    ]


def summary_of(reason: StopReason = StopReason.DONE) -> Summary:
    return Summary(
        reason=reason.value,
        exit_code=reason.exit_code,
        done=1234,
        queued=5678,
        failed=0,
        charged=1000,
        unanswered=0,
        calls=1500,
        by_code={"0": 1000, "301": 500},
        saved=1000,
        elapsed=300.0,
    )


@pytest.mark.parametrize("reason", list(StopReason))
def test_every_reason_has_the_contracts_exit_code(reason: StopReason) -> None:
    assert reason.exit_code == EXIT_CODES[reason]


@pytest.mark.parametrize("reason", list(StopReason))
def test_the_closing_line_says_why_how_many_and_what_next(reason: StopReason) -> None:
    line = closing_line(summary_of(reason), OUT, GO_ON)
    why, counts, advice = line.split("; ", 2)
    assert why.startswith("harvester: ")
    assert len(why) > len("harvester: ")
    assert counts == "1,234 done, 5,678 left"
    assert advice.startswith("next: ")
    assert len(advice) > len("next: ")
    assert "{" not in line
    assert not has_unprintable(line)


def test_what_cannot_be_known_is_not_called_nothing() -> None:
    line = closing_line(replace(summary_of(), is_queue_lost=True), OUT, GO_ON)
    assert line.startswith("harvester: nothing that is known is left to do;")
    assert line.endswith(f"next: name the INPUT again: `{GO_ON} INPUT`")
    # A ledger may only be locked.
    assert "disk" not in closing_line(summary_of(StopReason.LOCAL_IO), OUT, GO_ON)


def test_every_reason_is_told_in_other_words() -> None:
    told = {closing_line(summary_of(reason), OUT, GO_ON).split(";")[0] for reason in StopReason}
    assert len(told) == len(StopReason)


def test_the_closing_line_names_failures_and_the_detail_on_one_line() -> None:
    summary = replace(summary_of(StopReason.REFUSED), failed=2000, detail="bad\n\x1b[31mtoken")
    line = closing_line(summary, OUT, GO_ON)
    assert ", 2,000 failed; next: " in line
    assert r"(bad\x0a\x1b[31mtoken)" in line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("out.jsonl", "`harvester retry out.jsonl`"),
        ("my out.jsonl", "`harvester retry 'my out.jsonl'`"),
        ("{output}.jsonl", "`harvester retry '{output}.jsonl'`"),
        ("out\n.jsonl", r"`harvester retry 'out\x0a.jsonl'`"),
    ],
)
def test_a_command_names_the_output_as_a_shell_reads_it(name: str, shown: str) -> None:
    summary = replace(summary_of(StopReason.FAILED), failed=1)
    assert closing_line(summary, Path(name), GO_ON).endswith(shown)


def test_the_command_to_go_on_is_the_one_given_uncut() -> None:
    command = "harvester run -o " + "long/" * 100
    assert closing_line(summary_of(StopReason.LIMIT), OUT, command).endswith(f"`{command}`")


def test_the_summary_counts_calls_notes_and_money() -> None:
    assert list(summary_lines(summary_of(), OUT, Decimal("0.05"))) == [
        "1,500 calls in 5 min 0 s (5.00/s); answers by code: 0: 1,000, 301: 500",
        "1,000 notes saved to out.jsonl; 1,000 calls charged (50.00 at 0.05 a call)",
    ]


def test_the_summary_tells_what_is_out_of_the_ordinary() -> None:
    summary = replace(
        summary_of(StopReason.FAILED),
        failed=3,
        rejected=1,
        exhausted=2,
        adopted=4,
        unanswered=5,
        found_unanswered=6,
        elapsed=0.0,
    )
    lines = list(summary_lines(summary, OUT, None))
    assert lines[0] == "1,500 calls in 0 s; answers by code: 0: 1,000, 301: 500"
    assert lines[1].endswith("1,000 calls charged")
    assert lines[2:] == [
        "4 paid lines of an earlier run adopted",
        "5 calls of this run and 6 calls of an earlier run may have been charged without an answer",
        "3 notes failed: 1 rejected, 2 exhausted (tried again by the next run)",
    ]


def test_calls_that_nobody_took_are_counted_apart() -> None:
    assert not any("idle" in line for line in summary_lines(summary_of(), OUT, None))
    lines = summary_lines(replace(summary_of(), closed=3), OUT, None)
    assert any("3 calls met an idle connection" in line for line in lines)


def test_bad_lines_are_counted_and_the_first_ten_named() -> None:
    bad = tuple(BadLine("ids.txt", n, "names no note", "x") for n in range(1, 11))
    summary = replace(summary_of(), bad_lines=1012, bad_examples=bad)
    lines = list(bad_line_lines(summary))
    assert lines[0] == "1,012 lines of input named no note and were left out:"
    assert lines[1] == "  ids.txt:1: names no note: x"
    assert lines[-1] == "  … and 1,002 more"
    assert len(lines) == 12
    assert list(bad_line_lines(summary_of())) == []
    one = replace(summary_of(), bad_lines=1, bad_examples=bad[:1])
    assert next(bad_line_lines(one)) == "1 line of input named no note and was left out:"


def test_rows_that_differ_are_counted() -> None:
    (line,) = bad_line_lines(replace(summary_of(), differed=2))
    assert line.startswith("2 rows named a note again with other columns")


def test_the_rate_that_the_server_bore_is_told_and_suggested() -> None:
    summary = replace(summary_of(), by_code={"0": 90, "302": 3}, sustained_rate=39.7)
    (line,) = [line for line in summary_lines(summary, Path("n.jsonl"), None) if "--rate" in line]
    assert line == (
        "3 calls refused by the rate limit: the server sustains about 39/s; suggested: --rate 39/s"
    )


def test_notes_that_are_gone_did_not_fail() -> None:
    gone = replace(summary_of(StopReason.FAILED), failed=9, rejected=9, exhausted=0, gone=9)
    line = closing_line(gone, OUT, GO_ON)
    assert "finished, but some notes are gone" in line
    assert "9 gone; next: nothing is left to do" in line
    assert "some notes failed" not in line
    assert "9 notes are gone (404): not called for again" in [*summary_lines(gone, OUT, None)]
