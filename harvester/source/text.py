"""Bytes become text: the encoding told by them, line ends made one, nothing replaced."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from operator import itemgetter

from harvester.source.streams import BLOCK, begun

UTF8, CHINESE = "utf-8", "gb18030"

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Behind each of these bytes a character ends, in UTF-8 as in GB18030.
_WITHIN = bytes(range(0x30, 0x100))
_PLAIN = bytes(range(0x80))
_ESCAPED = "surrogateescape"
_STRAY = re.compile("[\udc80-\udcff]")
_LOOKED_AT = 16  # bytes
_FEWEST_ZEROS = 16  # bytes to each


def text_blocks(
    blocks: Iterator[bytes], encoding: str | None, tell: Callable[[str], None]
) -> Iterator[str]:
    r"""Yield text as it comes in, each line ending in "\n", without NUL bytes.

    What is not UTF-8, has no mark and was not named is told with the encoding it is taken for. A
    byte that is no text in any becomes an escape.
    """
    head = begun(blocks, (*_MARKS, codecs.BOM_UTF8), _LOOKED_AT)
    name = encoding or next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    name = name or _unmarked_utf16(head, tell)
    decode: Callable[[bytes, bool], str]
    if name is None:
        decode = _Guess(tell, is_utf8=head.startswith(codecs.BOM_UTF8)).decode
    else:
        decode = codecs.getincrementaldecoder(name)("backslashreplace").decode
    ends, is_first = io.IncrementalNewlineDecoder(None, translate=True), True
    for block in chain((head,), blocks, (None,)):
        text = ends.decode(decode(block or b"", block is None), final=block is None)
        if is_first and text:
            text, is_first = text.removeprefix("\ufeff"), False
        if text:
            yield text.replace("\0", "") if "\0" in text else text


def _unmarked_utf16(head: bytes, tell: Callable[[str], None]) -> str | None:
    """UTF-16 that lost its mark: of letters, digits and signs one byte is a zero, always the same.

    Of a few Chinese letters it is the other.
    """
    odd, even = head[1::2].count(0), head[::2].count(0)
    name, zeros, others = max(("utf-16-le", odd, even), ("utf-16-be", even, odd), key=itemgetter(1))
    if zeros * _FEWEST_ZEROS < len(head) or zeros <= others * _FEWEST_ZEROS:
        return None
    tell(f"it is taken for {name.upper()} without a mark")
    return name


class _Guess:
    """Decodes UTF-8, or GB18030 where it is not that."""

    def __init__(self, tell: Callable[[str], None], *, is_utf8: bool) -> None:
        self._tell = tell
        self._name = UTF8 if is_utf8 else None
        self._kept = b""

    def decode(self, block: bytes, is_last: bool) -> str:  # noqa: FBT001 - as codecs have it
        """The text as far as whole characters go."""
        data = self._kept + block
        self._kept = b""
        if data.isascii():
            return data.decode("ascii")
        if not is_last and len(data) < 2 * BLOCK:
            self._kept = data[len(data.rstrip(_WITHIN)) :]
            data = data[: len(data) - len(self._kept)]
        return self._decoded(data)

    def _decoded(self, data: bytes) -> str:
        if data.isascii():
            return data.decode("ascii")
        name = self._name or self._told(data)
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            return "".join(_line(line, name) for line in data.splitlines(keepends=True))

    def _told(self, data: bytes) -> str:
        """Which of the two it is, as far as can be told."""
        if not _is_text(data, UTF8) and not _is_text(data, CHINESE):
            return UTF8
        # Little of Chinese text in the one is good in the other.
        good = len(data.decode(UTF8, "ignore").encode().translate(None, _PLAIN))
        self._name = UTF8 if good * 2 > len(data.translate(None, _PLAIN)) else CHINESE
        if self._name != UTF8:
            self._tell(
                "it is not UTF-8 and is taken for GB18030: say --encoding NAME if it is another"
            )
        return self._name


def _is_text(data: bytes, name: str) -> bool:
    with suppress(UnicodeDecodeError):
        return bool(data.decode(name))
    return False


def _line(line: bytes, name: str) -> str:
    """A line that may be of another encoding than the rest."""
    for other in (name, CHINESE if name == UTF8 else UTF8):
        if _is_text(line, other):
            return line.decode(other)
    return _STRAY.sub(lambda match: f"%{ord(match[0]) & 0xFF:02X}", line.decode(name, _ESCAPED))
