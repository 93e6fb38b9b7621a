"""What a note id is, and how to find those that a piece of text names."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple
from urllib.parse import unquote

from harvester.errors import OptionError
from harvester.sanitize import has_unprintable, sanitize

LONGEST_ID = 512
NO_NOTE = "names no note"
SHORT_LINK = (
    "a short link, which only the vendor can resolve: --resolve-links does, by a paid call each"
)
_RUINED = (
    "a number or date that a spreadsheet (Excel) made of an id, which is lost: give links, or take "
    "the ids anew into a column of text"
)
NO_LINK = "names no short link"
_NOT_RESOLVED = "a short link that is not resolved yet, or did not lead to a note"

# What a spreadsheet writes out of a number beyond its 15 digits is no id, though it may look so.
_ROUND = r"[1-9]\d{14}0{9}"
_HEX_DIGITS = 24
_HEX_ID = rf"(?!{_ROUND})[0-9a-fA-F]{{{_HEX_DIGITS}}}"
_HEX_LINES = re.compile(rf"(?:[0-9a-fA-F]{{{_HEX_DIGITS}}}\n)*")
_ROUND_END = "0" * 9 + "\n"
_PLACE = (
    r"(?:(?:/+|(?<![\w.-]))(?:explore|discovery/item|search_result|user/profile/[\w-]{1,64})/+"
    r"|xhsdiscover://item/|[?&]note_?id=)"
)
# A custom id in a URL is a whole path segment; the 24 hex digits may have Chinese text behind them.
_CUSTOM_URL = re.compile(_PLACE + rf"([^/?#\s]{{1,{LONGEST_ID}}})(?![^/?#\s])", re.ASCII)
_GLUED = r"(?=https?://)"  # links that were pasted one behind the other
_NOTE = rf"{_PLACE}(?:[0-9a-f]{{24}}/+)?({_HEX_ID})(?:{_GLUED}|(?![\w-]))"
_LETTER = r"[^\s\"'<>,;|\\^`{}\[\]()\x80-\U0010ffff"  # what a URL is written in
_SITE = r"(?:xiaohongshu|rednote|xhslink)\.(?:com|cn)\b"
# Nothing stands behind a group that is repeated, so none of it is given back; to say so (`)*+`) is
# read wrongly by Python before 3.11.5.
# Of each URL the note that it is of, and no other id in it, unless it only leads to a note's; then
# ids that stand alone. A path, a name or a longer number around one makes it something else. It is
# compiled when it is needed: that takes as long as a twentieth of a run's start.
_NAMED = (
    rf"(?ai){_NOTE}(?:{_LETTER}h?&]++|[?&][\w.-]+=https?://|h(?!ttps?://)|[?&])*"
    r"|(?:https?://)?(?:www\.)?(xhslink\.(?:com|cn)/[\w/.-]*\w)"
    rf"|(?:(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{{1,20}}://|(?<![\w.-])(?:[\w-]{{1,30}}\.)?{_SITE})"
    rf"(?:{_LETTER}/?&]++|(?!{_NOTE})[/?&])*"
    r"|(?<![0-9a-z@])(?<![0-9a-z][-_])(?:(?<![0-9a-z]/)|(?<=[0-9a-f]{24}/))"
    rf"({_HEX_ID})(?:{_GLUED}|(?![0-9a-z])(?![-_][0-9a-z]))"
)
# Most text has neither, and need not be gone through.
_MAY_NAME = re.compile(r"[0-9a-fA-F]{24}|[xX][hH][sS]")
_OF_ANOTHER = (
    r"(?:user|uid|author|owner|creator|blogger|kol|profile|trace|request|share|board"
    r"|用户|作者|博主|达人|账号)"
)
# What stands before an id, and says that it is not a note's.
# What most lines with a URL are, and nothing else: the slower ways need not be gone.
_URL = rf"https?://[\w.-]+/(?:explore|discovery/item|search_result)/({_HEX_ID})(?:\?[\w=&.~+-]*)?"
_ONE_URL = re.compile(_URL, re.ASCII)
_URL_LINE = re.compile(rf"{_URL}\n", re.ASCII)
_URL_LINES = re.compile(rf"(?:{_URL}\n)*", re.ASCII)
_KEY_BEFORE = re.compile(
    rf"{_OF_ANOTHER}[_-]?(?:id|号)?[\"'”’]?\s*[=:：\s]\s*[\"'“‘]?\Z", re.IGNORECASE
)
_KEY = re.compile(rf"\w*{_OF_ANOTHER}[_-]?(?:id|号)?", re.IGNORECASE)
_BY_SPREADSHEET = re.compile(
    r"(?<![\w.])\d(?:\.\d+)?E\+?\d{2}(?!\w)|(?<!\w)[1-9]\d{14,}(?!\w)"
    r"|\A[\s\"'=]*\d{1,4}[-/.年]\d{1,2}[-/.月]\d{1,4}日?(?:[T\s][\d:]+)?[\s\"']*\Z",
    re.ASCII | re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:amp|quot|lt|gt|nbsp|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPED_END = re.compile(r"\\[nrt]")  # as in a text that a program has quoted
# Full-width signs become plain ones, and invisible ones nothing.
_PLAIN: Mapping[int, int | None] = {
    **{0xFF01 + at: 0x21 + at for at in range(94)},
    **dict.fromkeys((0x3000, 0xA0), 0x20),
    **dict.fromkeys((0xAD, 0x61C, 0x180E, 0xFEFF, *range(0xFE00, 0xFE10))),
    **dict.fromkeys((*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070))),
}
_LONG = 200  # no cell of a lost id is so long
_AROUND = " \t\r\n\"'`,;[](){}<>“”‘’，；、。"
_UNDECODABLE = "\ufffd"


class Named(NamedTuple):
    """The note ids that a text names, and why something of it is left out: "" where nothing is."""

    ids: list[str]
    reason: str


class IdRule:
    r"""What counts as a note id: 24 hex digits, or whatever fullmatches `pattern`.

    Hex ids are stored lower-case, others as they are; at most 512 characters, none unprintable. In
    `pattern` the classes \w, \d and \s mean ASCII. Short links are looked up by `resolve`, which
    gives None for one that leads to no note, "" for one whose note was forgotten. With `links` it
    is them that are the ids: "all" that is listed is to be one; with "some", notes are none of its
    business.
    Raises OptionError if `pattern` is no regular expression.
    """

    __slots__ = ("_hex", "_id", "_links", "_resolve")

    def __init__(
        self,
        pattern: str | None = None,
        resolve: Callable[[str], str | None] | None = None,
        links: Literal["all", "some"] | None = None,
    ) -> None:
        self._hex = pattern is None
        self._id = re.compile(_HEX_ID)
        if pattern is not None:
            self._id = _compiled(pattern)
        self._resolve = resolve
        self._links = links

    def bare(self, text: str) -> str | None:
        """Return the id that `text` is, all of it, or None."""
        if not self._hex:
            return text if _fit(text) and self._id.fullmatch(text) else None
        if self._links:
            return None
        # Looking at the length first spares most lines with URLs the regular expression.
        return text.lower() if len(text) == _HEX_DIGITS and self._id.fullmatch(text) else None

    def whole(self, text: str) -> str | None:
        """Return the id that `text` is, or whose URL it is, with nothing else but signs around."""
        if self._hex and (one := _ONE_URL.fullmatch(text)) and not self._links:
            return one[1].lower()
        text = plain(text).strip(_AROUND + "=")
        if (note_id := self.bare(text)) or any(map(str.isspace, text)):
            return note_id
        found = self.mentioned(text)
        is_place = "/" in text or "=" in text or (self._links and len(text) == _HEX_DIGITS)
        return found[0] if len(found) == 1 and is_place else None

    def mentioned(self, text: str) -> list[str]:
        """Return the ids and the short links in a text, whatever is wanted of them."""
        text = plain(text)
        ids, links = _found(text) if self._hex else self._custom(text)
        return [*ids, *links]

    def read(self, text: str) -> Named:
        """Return the ids that `text` is or names, in order, each once."""
        note_id = self.bare(text)
        if note_id is not None:
            return Named([note_id], "")
        if self._hex and (one := _ONE_URL.fullmatch(text)) and not self._links:
            return Named([one[1].lower()], "")
        text = plain(text)
        ids, links = _found(text) if self._hex else self._custom(text)
        if self._links:
            is_done = links or (ids and self._links == "some")
            return Named(links, "" if is_done else NO_LINK)
        if not ids and not links:
            is_ruined = self._hex and len(text) < _LONG and _BY_SPREADSHEET.search(text)
            return Named([], _RUINED if is_ruined else NO_NOTE)
        notes, reason = self._led_to(links)
        return Named(list(dict.fromkeys([*ids, *notes])), reason)

    def _led_to(self, links: list[str]) -> tuple[list[str], str]:
        """Return the notes that short links lead to, and why one is not known, if so."""
        resolve = self._resolve
        if resolve is None:
            return [], SHORT_LINK if links else ""
        notes = [*map(resolve, links)]
        return [*filter(None, notes)], _NOT_RESOLVED if None in notes else ""

    def all_bare(self, data: str) -> list[str] | None:
        """Return the ids of lines that are all hex ids, or all notes' URLs; None for others."""
        if not self._hex or self._links:
            return None
        if data.startswith("http"):
            return _URL_LINE.findall(data.lower()) if _is_all(_URL_LINES, data) else None
        if _is_all(_HEX_LINES, data) and _ROUND_END not in data:
            return data.lower().split()
        return None

    def _custom(self, text: str) -> tuple[list[str], list[str]]:
        text = text.strip()
        ids = [part for part in (text, text.strip(_AROUND)) if self.bare(part)][:1]
        ids = ids or [part for part in _CUSTOM_URL.findall(text) if self.bare(part)]
        parts = [part.strip(_AROUND) for part in re.split(r"[,;|\t]", text)]
        if not ids and all(map(self.bare, filter(None, parts))):
            ids = list(filter(None, parts))
        return ids, [] if ids else _found(text)[1]


def plain(text: str) -> str:
    """Return a text without what hides ids in it: escapes, full-width and invisible signs."""
    if not text.isascii():
        text = text.translate(_PLAIN)
    if "\\" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).replace("\\/", "/")
        text = _ESCAPED_END.sub(" ", text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    for _ in range(2):
        if "%" in text:
            text = unquote(text)
    return text


def is_of_another(key: str) -> bool:
    """Tell whether what goes by this name is the id of a person, or of something else."""
    return _KEY.fullmatch(plain(key).strip()) is not None


def _is_all(lines: re.Pattern[str], data: str) -> bool:
    """Whether a text is lines of a kind, without going back over those that are."""
    found = lines.match(data)
    return found is not None and found.end() == len(data)


def _found(text: str) -> tuple[list[str], list[str]]:
    """The hex ids and the short links that a plain text names."""
    ids: list[str] = []
    links: list[str] = []
    for match in re.finditer(_NAMED, text) if _MAY_NAME.search(text) else ():
        in_url, link, _, alone = match.groups()
        if in_url:
            ids.append(in_url.lower())
        elif link:
            host, _, path = link.partition("/")
            links.append(f"http://{host.lower()}/{path}")
        elif alone and not _KEY_BEFORE.search(text, max(0, match.start() - 40), match.start()):
            ids.append(alone.lower())
    return ids, list(dict.fromkeys(links))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        # The last where an inline (?u) contradicts the ASCII flag.
        told = f"is not a regular expression that can be used: {sanitize(str(error))}."
        raise OptionError("id_pattern", told, sanitize(repr(pattern))) from None


def _fit(text: str) -> bool:
    return 0 < len(text) <= LONGEST_ID and _UNDECODABLE not in text and not has_unprintable(text)
