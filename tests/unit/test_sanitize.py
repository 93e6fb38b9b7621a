"""`plain` makes text from outside fit to print."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.sanitize import has_unprintable, sanitize


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("春天 🌸", "春天 🌸"),
        ("\x1b[31mred\n", r"\x1b[31mred\x0a"),
        ("a\x7f\x85b", r"a\x7f\x85b"),
        ("a\u202eb\u2066c\u2029", r"a\u202eb\u2066c\u2029"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert sanitize(text) == shown
    assert has_unprintable(text) == (text != shown)


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert sanitize("x" * 80, 80) == "x" * 80
    assert sanitize("x" * 81, 80) == "x" * 79 + "…"


@given(st.text(st.characters()), st.integers(1, 50))
def test_nothing_raw_is_left_and_the_limit_holds(text: str, limit: int) -> None:
    shown = sanitize(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in shown)
    shown.encode()
