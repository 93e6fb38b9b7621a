"""Takes the token out of what a server says, in whatever spelling it comes back."""

from __future__ import annotations

import json
import re

from harvester.rules.envelope import read_envelope

_MASK = "***"
# A token shorter than this could be a common word, which must not be cut from notes, nor, where it
# is shorter still, from messages.
_SHORTEST_IN_NOTES = 12
_SHORTEST_IN_MESSAGES = 6
# What hides a word from a search but not from a reader: controls, blanks, characters of no width,
# bytes that are no text; also spelled as escapes. Bounded, so that no body makes the search slow.
_BETWEEN = (
    r"(?:[\x00-\x20\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufffd"
    r"\ud800-\udfff]"
    r"|\\{1,4}(?:[nrtbf]|u(?:00[0189][0-9a-fA-F]|007[fF]|00[aA][dD]|20[0-6][0-9a-fA-F]"
    r"|[fF][eE][fF][fF])))"
    r"{0,8}"
)
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
# Where a letter stands behind a backslash, the two are read as this.
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# Nearly no answer holds the token, so a look at its bytes, which is faster, comes before a search.
_MARKS = (b"%", b"&#")
_SHORT_ESCAPES = frozenset((b"n", b"r", b"t", b"b", b"f"))
_LONG_ESCAPED = frozenset((b"u", b"x"))
_LONG_ESCAPES = re.compile(rb"\\u(?:00[0189].|007f|00ad|20[0-6].|feff)")
_FOLDED_AWAY = bytes([*range(0x21), ord("\\"), *range(0x7F, 0x100)])
# A search holds all threads up, so a long text is searched in slices; no spelling of one letter,
# and what is between two, is longer than this.
_SLICE = 64 << 10
_LONGEST_SPELLING = 128
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class Redaction:
    """Knows one token, and masks it; spellings are those of URLs, JSON, HTML, and in other case."""

    def __init__(self, token: str) -> None:
        self._is_known = len(token) >= _SHORTEST_IN_MESSAGES
        self._is_for_notes = len(token) >= _SHORTEST_IN_NOTES
        letters = [_spellings(letter) for letter in token]
        if token[:1] in _ESCAPED:
            letters[0] = f"(?:{_ESCAPED[token[0]]}|{letters[0]})"
        self._pattern = re.compile(_BETWEEN.join(letters))
        self._overlap = _LONGEST_SPELLING * len(token)
        self._lower = token.encode().lower()
        self._folded = self._lower.translate(None, _FOLDED_AWAY)
        self._marks = _MARKS if set(token).isdisjoint(_ENTITIES) else (*_MARKS, b"&")
        self._escaped = re.compile(_escapes(token).encode())

    def text(self, text: str) -> str:
        """A text without the token."""
        return self._pattern.sub(_MASK, text) if self._is_known else text

    def body(self, body: bytes) -> bytes:
        """An answer's body without the token; what is of use in it stays as it means.

        Of an answer that is not charged, only code and message are of use.
        """
        forms = (body, _narrow(body)) if b"\0" in body else (body,)
        if not (self._is_known and any(self._holds(form) for form in forms)):
            return body
        envelope = read_envelope(body)
        if envelope.code is None:
            return b""
        if envelope.code != 0:
            said = {"code": envelope.code, "message": self.text(envelope.message)}
            return json.dumps(said).encode()
        return self._note(body) if self._is_for_notes else body

    def _holds(self, body: bytes) -> bool:
        return self._may_hold(body) and self._is_in(_loosely(body))

    def _may_hold(self, body: bytes) -> bool:
        """Whether a closer look is worth it."""
        folded = body.lower().replace(b"\0", b"")
        if self._lower in folded:
            return True
        first, *escapes = folded.split(b"\\")
        letters = {escape[:1] for escape in escapes}
        is_spelled = not letters.isdisjoint(_LONG_ESCAPED)
        if is_spelled or any(mark in folded for mark in self._marks):
            if self._escaped.search(folded):
                return True
            folded = _LONG_ESCAPES.sub(b"", folded)
            first, *escapes = folded.split(b"\\")
        if escapes:
            ends = [e[1:] if e[:1] in _SHORT_ESCAPES else e for e in escapes]
            folded = b"".join((first, *ends))
        return self._folded in folded.translate(None, _FOLDED_AWAY)

    def _is_in(self, text: str) -> bool:
        return any(
            self._pattern.search(text, start, start + _SLICE + self._overlap)
            for start in range(0, len(text), _SLICE)
        )

    def _note(self, body: bytes) -> bytes:
        """A paid answer: strings are masked as they are read, so that it stays JSON."""
        try:
            text, odd = body.decode(json.detect_encoding(body), "surrogatepass"), "backslashreplace"
        except UnicodeDecodeError:
            text, odd = body.decode("utf-8", "surrogateescape"), "surrogateescape"
        text = _STRING.sub(self._string, text)
        # What is left is in no string: the answer is odd anyway, and kept as it came.
        return self.text(text).encode("utf-8", odd)

    def _string(self, match: re.Match[str]) -> str:
        try:
            said = str(json.loads(match[0], strict=False))
        except ValueError:
            return match[0]
        return json.dumps(self.text(said)) if self._is_in(said) else match[0]


def _loosely(body: bytes) -> str:
    """A body as text, near enough for a search in whatever encoding it is."""
    return body.replace(b"\0", b"").decode("utf-8", "replace")


def _narrow(body: bytes) -> bytes:
    """A body of UTF-16 or UTF-32 in UTF-8, near enough for a search."""
    text = body.decode(json.detect_encoding(body), "replace")
    return text.encode("utf-8", "replace")


def _spellings(letter: str) -> str:
    """A pattern for one letter of the token: itself, its escapes, its percent and HTML forms."""
    units = letter.encode("utf-16-be").hex()
    percent = "".join(f"%(?:25){{0,3}}{_hex(f'{byte:02x}')}" for byte in letter.encode())
    unicode = "".join(rf"\\{{1,4}}u{_hex(units[i : i + 4])}" for i in range(0, len(units), 4))
    forms = [_any_case(letter), percent, unicode, f"&#0{{0,4}}{ord(letter)};"]
    forms.append(f"&#[xX]0{{0,4}}{_hex(f'{ord(letter):x}')};")
    if letter.isascii():
        forms.append(rf"\\{{1,4}}x{_hex(f'{ord(letter):02x}')}")
    if letter in _ENTITIES:
        forms.append(f"&{_ENTITIES[letter]};")
    if letter in "/'\"":
        forms.append(rf"\\{{1,4}}{letter}")
    return f"(?:{'|'.join(forms)})"


def _escapes(token: str) -> str:
    """A pattern for any letter of the token where it is spelled as anything but itself."""
    codes = "|".join(sorted({f"{byte:02x}" for byte in token.encode()}))
    forms = [f"%(?:25)*(?:{codes})", rf"\\\\?(?:u00|x)(?:{codes})", "&#"]
    forms += [f"&{name};" for letter, name in _ENTITIES.items() if letter in token]
    if not token.isascii():
        forms.append(r"\\u")
    return "|".join(forms)


def _hex(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def _any_case(letter: str) -> str:
    other = letter.swapcase()
    return re.escape(letter) if other == letter or len(other) > 1 else f"[{letter}{other}]"
