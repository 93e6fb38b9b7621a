"""Takes the run's tokens out of what the server says, in notes and in messages.

A server knows the token already; what is guarded against is an honest echo in files people share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import quote

from harvester.rules.envelope import is_json
from harvester.sanitize import sanitize
from harvester.secret import Secret

_MASK = "***"
# In place of a token of digits that stands in a note as a number.
_NUMBER_MASK = b"999"
# Shorter ones could be common words, which must not be cut from notes, nor, where they are shorter
# still, from messages.
SHORTEST_IN_NOTES = 12
_SHORTEST_IN_MESSAGES = 6
_LONGEST_SAID = 300
# As it is, as in a URL, and as in JSON text.
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    partial(quote, safe=""),
    lambda token: json.dumps(token)[1:-1],
    lambda token: json.dumps(token, ensure_ascii=False)[1:-1],
)


class Redaction:
    """Knows every token of a run: each as it is, as in a URL, and as in JSON text."""

    def __init__(self, tokens: Sequence[Secret[str]] = ()) -> None:
        self._in_messages = _spellings(tokens, _SHORTEST_IN_MESSAGES)
        # A quote or a backslash as it is would be JSON's own.
        self._in_notes = [
            Secret(spelling.reveal().encode())
            for spelling in _spellings(tokens, SHORTEST_IN_NOTES)
            if is_json(f'"{spelling.reveal()}"'.encode())
        ]

    def said(self, text: str) -> str:
        """What a server said, fit to be kept and shown: masked, printable, at most 300 long."""
        return sanitize(self.text(text), _LONGEST_SAID)

    def text(self, text: str) -> str:
        """A text with each token masked."""
        for spelling in self._in_messages:
            text = text.replace(spelling.reveal(), _MASK)
        return text

    def line(self, line: bytes) -> bytes:
        """A line of JSON without the tokens; it stays JSON."""
        for spelling in self._in_notes:
            if spelling.reveal() in line:
                masked = _masked(line, spelling, _MASK.encode())
                line = masked if is_json(masked) else _masked(line, spelling, _NUMBER_MASK)
        return line


def _spellings(tokens: Sequence[Secret[str]], shortest: int) -> list[Secret[str]]:
    """The longest first, so that none is hidden by a part of it."""
    spelt = [
        Secret(spell(token.reveal()))
        for token in tokens
        if len(token.reveal()) >= shortest
        for spell in _SPELLINGS
    ]
    each_once = {spelling.reveal(): spelling for spelling in spelt}
    return sorted(each_once.values(), key=lambda spelling: len(spelling.reveal()), reverse=True)


def _masked(line: bytes, spelling: Secret[bytes], mask: bytes) -> bytes:
    behind = partial(_behind_backslashes, spelling, mask)
    return re.sub(rb"(\\*)" + re.escape(spelling.reveal()), behind, line)


def _behind_backslashes(spelling: Secret[bytes], mask: bytes, match: re.Match[bytes]) -> bytes:
    """Where the first letter belongs to an escape, the escape stays."""
    backslashes = match[1]
    if len(backslashes) % 2 == 0:
        return backslashes + mask
    return backslashes + spelling.reveal()[: 5 if spelling.reveal().startswith(b"u") else 1] + mask
