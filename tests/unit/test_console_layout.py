"""Text as wide as a terminal: folded at blanks, in columns, aligned in any script."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from harvester.console.layout import folded, table, wrapped

ROWS = [("done", "18,204", ""), ("不存在 404", "20", "该笔记不存在或者已经被作者删除了 and more")]


def test_a_line_is_broken_at_blanks_and_stays_as_far_in() -> None:
    assert list(folded("  one two three", 9)) == ["  one two", "  three"]


def test_a_word_that_is_longer_than_a_line_is_cut() -> None:
    assert list(folded("a 长长长长长 b", 4)) == ["a", "长长", "长长", "长", "b"]


def test_a_command_that_is_to_be_copied_is_not_broken() -> None:
    text = "stopped: go on with `harvester run -o a.jsonl`, or not"
    assert list(wrapped(text, 16)) == [
        "stopped: go on",
        "with",
        "`harvester run -o a.jsonl`,",
        "or not",
    ]


@pytest.mark.parametrize("width", [20, 24, 40, 200])
def test_columns_keep_to_the_width_and_lose_nothing(width: int) -> None:
    lines = list(table(ROWS, width))
    assert max(map(cell_len, lines)) <= width
    whole = "".join("".join(row) for row in ROWS)
    assert "".join("".join(lines).split()) == "".join(whole.split())


def test_numbers_end_at_one_column() -> None:
    done, gone = table(ROWS, 100)
    assert cell_len(done) == cell_len(gone[: gone.index("20") + 2])


def test_no_rows_are_no_lines() -> None:
    assert list(table([], 40)) == []
