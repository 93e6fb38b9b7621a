"""The ways in which a token may come back, and a reader that sees through all of them."""

from __future__ import annotations

import html
import re
from urllib.parse import quote, unquote

from hypothesis import strategies as st

TOKEN = "tok-3f9ac17e55d04b28"  # noqa: S105 - a made up one, to be searched for in what is written
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([nrtbf/]))")
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "/": "/"}


def bare(text: str) -> str:
    """A text with all escapes read and all that is not seen left out, in one case."""
    for _ in range(6):
        text = html.unescape(unquote(_ESCAPE.sub(_read, text)))
    return re.sub(r"[^!-~]", "", text).casefold()


def _read(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _SHORT[match[3]]


def holds_token(text: str, token: str = TOKEN) -> bool:
    """Whether somebody who takes pains can read the token in a text."""
    seen = re.sub(r"[^!-~]", "", text).casefold()
    return token.casefold() in seen or token.casefold() in bare(text)


def _letter(letter: str) -> list[str]:
    code = ord(letter)
    spellings = [
        *(letter, letter, letter, letter.upper()),
        *(rf"\u{code:04x}", rf"\u{code:04X}", f"&#{code};", f"&#x{code:X};", f"&#0{code};"),
    ]
    if letter.isascii():
        percent = (f"%{code:02x}", f"%{code:02X}", f"%25{code:02X}", f"%2525{code:02x}")
        spellings += [*percent, rf"\x{code:02x}"]
    else:
        spellings += [quote(letter), quote(letter).lower(), quote(quote(letter))]
    return spellings


_GAPS = [
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "\x00",
    "\t",
    "\r\n",
    "\x1b",
    "\x7f",
    "\u200b",
    "\u202e",
    "\x85",
]


@st.composite
def spelled(draw: st.DrawFn, token: str = TOKEN) -> str:
    """The token, each letter in a spelling of its own, with gaps here and there."""
    if draw(st.booleans()):
        whole = [token, token.upper(), quote(token, safe=""), token.replace("-", "%2D")]
        return draw(st.sampled_from(whole))
    is_gapped = draw(st.booleans())
    parts = []
    for letter in token:
        parts.append(draw(st.sampled_from(_letter(letter))))
        parts.append(draw(st.sampled_from(_GAPS)) if is_gapped else "")
    return "".join(parts[:-1])


@st.composite
def said(draw: st.DrawFn, token: str = TOKEN) -> str:
    """A text that a server may say, with the token in it."""
    before = draw(
        st.sampled_from(["", "the token ", "https://h/p?token=", "令牌:", '{"t":"', "\\"])
    )
    after = draw(st.sampled_from(["", " is bad", "&noteId=67", "\x1b[31m", "。", '"}', "\n"]))
    return before + draw(spelled(token)) + after
