"""What a note id is, and how to find the one that a piece of text names."""

from __future__ import annotations

import re

from harvester.errors import OptionError
from harvester.sanitize import has_unprintable, sanitize

LONGEST_ID = 512

_HEX_DIGITS = 24
_HEX_ID = rf"[0-9a-fA-F]{{{_HEX_DIGITS}}}"
_NOTE_PATH = r"/(?:explore|discovery/item|search_result|user/profile/[\w-]{1,64})/"
# A custom id in a URL is a whole path segment; the 24 hex digits may have Chinese text behind them.
_CUSTOM_URL = re.compile(_NOTE_PATH + rf"([^/?#\s]{{1,{LONGEST_ID}}})(?![^/?#\s])", re.ASCII)
_HEX_URL = re.compile(_NOTE_PATH + rf"({_HEX_ID})(?![\w-])", re.ASCII)
_HEX_LINES = re.compile(rb"(?:[0-9a-fA-F]{24}\r?\n)*+")
_BYTE_ORDER_MARK = "\ufeff"
_UNDECODABLE = "\ufffd"


class NoNoteError(Exception):
    """Text that names no note, or not just one; its message is the reason, in a few words."""


class IdRule:
    r"""What counts as a note id: 24 hex digits, or whatever fullmatches `pattern`.

    Hex ids are stored lower-case, others as they are; at most 512 characters, none unprintable. In
    `pattern` the classes \w, \d and \s mean ASCII.
    Raises OptionError if `pattern` is no regular expression.
    """

    __slots__ = ("_hex", "_id", "_url")

    def __init__(self, pattern: str | None = None) -> None:
        self._hex = pattern is None
        self._id = re.compile(_HEX_ID) if pattern is None else _compiled(pattern)
        self._url = _HEX_URL if pattern is None else _CUSTOM_URL

    def bare(self, text: str) -> str | None:
        """Return the id that `text` is, all of it, or None."""
        if not self._hex:
            return text if _fit(text) and self._id.fullmatch(text) else None
        # Looking at the length first spares most lines with URLs the regular expression.
        return text.lower() if len(text) == _HEX_DIGITS and self._id.fullmatch(text) else None

    def find(self, text: str) -> str:
        """Return the id that `text` is or names by a note URL; raises NoNoteError with the reason.

        White space around it is no part of an id.
        """
        text = text.strip().strip(_BYTE_ORDER_MARK)
        return self.bare(text) or self._in_url(text)

    def all_bare(self, data: bytes) -> list[str] | None:
        """Return the ids of whole lines that are nothing but hex ids, else None: the fast way."""
        if self._hex and _HEX_LINES.fullmatch(data):
            return data.decode("ascii").lower().split()
        return None

    def _in_url(self, text: str) -> str:
        found = None
        for part in self._url.findall(text):
            note_id = self.bare(part)
            if found is not None and note_id not in (None, found):
                raise NoNoteError("names two notes")
            found = found or note_id
        if found is not None:
            return found
        if "xhslink.com" in text.lower():
            raise NoNoteError("short link: open it and paste the full URL")
        raise NoNoteError("names no note")


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        told = f"is not a regular expression: {sanitize(str(error))}."
        raise OptionError("id_pattern", told, sanitize(repr(pattern))) from None
    except ValueError as error:  # an inline (?u) contradicts the ASCII flag
        told = f"cannot be used: {sanitize(str(error))}."
        raise OptionError("id_pattern", told, sanitize(repr(pattern))) from None


def _fit(text: str) -> bool:
    return 0 < len(text) <= LONGEST_ID and _UNDECODABLE not in text and not has_unprintable(text)
