"""Text from outside made fit to print: one line, no control characters, no end in sight cut off."""

from __future__ import annotations

import re

# C0, DEL and C1; Arabic, left and right marks; line and paragraph ends; bidi embeddings,
# overrides and isolates; lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# A path is cut off no sooner than the system would refuse it.
LONGEST_PATH = 4096
_UNCLEAN = re.compile(rf"(?![\t\n]){_UNPRINTABLE.pattern}")


def sanitize(text: str, limit: int = 200) -> str:
    r"""Return `text` with unprintable characters as `\xNN` or `\uNNNN`, at most `limit` long.

    Where something was cut off, the last character is an ellipsis.
    """
    if len(text) <= limit and text.isprintable():
        return text
    shown = _UNPRINTABLE.sub(_escape, text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def has_unprintable(text: str) -> bool:
    """Tell whether `text` holds a character that `sanitize` would escape."""
    return _UNPRINTABLE.search(text) is not None


def cleaned(text: str) -> str:
    """Return `text` as `sanitize` does, but of any length, and with its tabs and line ends."""
    return text if text.isprintable() else _UNCLEAN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = f"{ord(match[0]):02x}"
    return rf"\x{code}" if len(code) == len("ff") else rf"\u{code:0>4}"
