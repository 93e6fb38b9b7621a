"""Reads one HTTP answer as its bytes come in: leniently, since it may be paid for."""

from __future__ import annotations

import re

from harvester.rules.envelope import is_json

# A real answer is about 3 KB; one of up to this many bytes is kept.
MOST_BYTES = 32 << 20
# What frames a body may be as long as the body and so many bytes: more is a game.
_MOST_FRAMING = 1 << 20
_MOST_HEAD = 256 << 10
_MOST_LINE = 8 << 10
# An answer may have some of HTTP's "100 Continue" before it, but never so many.
_MOST_HEADS = 16
_HTTP = b"HTTP/"
_END_OF_HEAD = re.compile(rb"\n\r?\n")
# A line with a chunk's size, or the empty one that ends the chunk before it.
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?|()\r?", re.DOTALL)
_BEGINS_SIZE = frozenset(bytes([byte]) for byte in b"0123456789abcdefABCDEF \t\r") | {b""}
_INFORMATIONAL = range(100, 200)
_SWITCHING = 101
# These have no body by the letter; where one comes all the same, it is taken.
_BODILESS = frozenset({204, 304})
# How far from its end what is no blank is looked for.
_LOOK_BACK = 256
# The headers that are read, each with what it says.
_HEADER = re.compile(
    rb"\n[ \t\r\f\v]*(connection|content-encoding|content-length|date|keep-alive|location"
    rb"|retry-after|transfer-encoding)[ \t\r\f\v]*:([^\n]*)",
    re.IGNORECASE,
)


class Reply:
    """One answer: `feed` it what comes, until it `is_over`; then read its parts.

    `status` is 0 until a head was read. `is_enough` says that the framing contradicts itself, and
    that all may be here: when nothing more comes, take what there is. `is_clean` is whether
    the connection may be used again.
    """

    def __init__(self) -> None:
        self.status = 0
        self.is_over = False
        self.is_whole = False
        self.is_enough = False
        self.is_too_long = False
        self.is_malformed = False
        self.is_clean = True
        self._headers: dict[bytes, list[bytes]] = {}
        self._pending = bytearray()
        self._body = bytearray()
        # Not bound to this, or an answer would be in memory until circles are collected.
        self._take = Reply._take_head
        self._left = 0
        self._heads = 0
        self._wire = 0

    @property
    def size(self) -> int:
        """How many bytes are held."""
        return len(self._body) + len(self._pending)

    @property
    def has_begun(self) -> bool:
        """Whether one byte has come."""
        return self._wire > 0

    def header(self, name: bytes) -> str | None:
        """The first header of a name (in small letters), as it was sent."""
        values = self._headers.get(name)
        return values[0].decode("latin-1") if values else None

    def body(self) -> bytes:
        """The body as far as it was read; where no head could be read, all that came."""
        return bytes(self._body or self._pending)

    def feed(self, data: bytes) -> bool:
        """Take in what came; gives whether that is all."""
        self._wire += len(data)
        self._take(self, data)
        if len(self._body) > MOST_BYTES or self._wire - 2 * len(self._body) > _MOST_FRAMING:
            self.is_too_long = True
            self._give_up()
            self._body.clear()
        return self.is_over

    def end(self, *, broken: bool) -> None:
        """Say that nothing more will come, because the connection `broken` or ended, or it is late.

        An answer without a length is whole then, if it was ended in good order.
        """
        if self.is_enough or (self._take == Reply._take_rest and not broken):
            self.is_whole = True
        self.is_over, self.is_clean = True, False

    def _finish(self, rest: bytes | bytearray) -> None:
        self.is_over = self.is_whole = True
        # What was said beyond the answer nobody asked for.
        self.is_clean = self.is_clean and not rest

    def _give_up(self) -> None:
        self.is_over, self.is_clean = True, False
        self.is_malformed = not self.is_too_long

    # The head

    def _take_head(self, data: bytes) -> None:
        pending = self._pending
        begin = max(0, len(pending) - 2)
        pending += data
        while True:
            if not pending.startswith(_HTTP) and not _HTTP.startswith(pending[:5].upper()):
                stripped = pending.lstrip(b"\r\n")
                if len(stripped) == len(pending):
                    self._give_up()
                    return
                pending[:] = stripped
                continue
            match = _END_OF_HEAD.search(pending, begin)
            if match is None:
                if len(pending) > _MOST_HEAD:
                    self._give_up()
                return
            begin = 0
            head, rest = bytes(pending[: match.start()]), bytes(pending[match.end() :])
            pending.clear()
            self._read_head(head)
            if self.status not in _INFORMATIONAL or self.status == _SWITCHING:
                self._frame(rest)
                return
            self._heads += 1
            if self._heads > _MOST_HEADS:
                pending += head
                self._give_up()
                return
            pending += rest

    def _read_head(self, head: bytes) -> None:
        words = head.partition(b"\n")[0].split(None, 2)
        number = words[1][:3] if len(words) > 1 else b""
        self.status = int(number) if number.isdigit() else 0
        headers: dict[bytes, list[bytes]] = {}
        for name, value in _HEADER.findall(head):
            headers.setdefault(name.lower(), []).append(value.strip())
        self._headers = headers
        said = b",".join(headers.get(b"connection", ())).lower()
        self.is_clean = b"close" not in said and (words[0] != b"HTTP/1.0" or b"keep-alive" in said)

    # The body

    def _frame(self, rest: bytes) -> None:
        """Decide how the body is framed, and take in what has come of it."""
        headers = self._headers
        if self.status == _SWITCHING:
            self._finish(b"not HTTP")
            return
        given = [part.strip() for v in headers.get(b"content-length", ()) for part in v.split(b",")]
        lengths = [int(part) for part in given if part.isdigit()]
        is_odd = len(lengths) < len(given) or len(set(lengths)) > 1
        codings = b",".join(headers.get(b"transfer-encoding", ())).lower()
        if self.status in _BODILESS:
            self.is_clean, self.is_enough = False, True
        self._left = min(lengths, default=0)
        if self._left > MOST_BYTES:
            self.is_too_long = True
            self._give_up()
            return
        if b"chunked" in codings:
            self.is_clean = self.is_clean and not given
            self._left, self._take = 0, Reply._take_chunks
        elif is_odd:
            self.is_clean, self._take = False, Reply._take_odd
        elif lengths and not codings:
            self._take = Reply._take_length
        else:
            self.is_clean, self._take = False, Reply._take_rest
        self._take(self, rest)

    def _take_length(self, data: bytes) -> None:
        missing = self._left - len(self._body)
        if len(data) < missing:
            self._body += data
            return
        self._body += data[:missing]
        rest = data[missing:]
        if self._is_cut_short(rest):
            # JSON says itself where it ends: the length was wrong.
            self._doubt(rest)
        else:
            self._finish(rest)

    def _is_cut_short(self, rest: bytes) -> bool:
        """Whether a body that has its length is only the beginning of an object."""
        body = self._body
        if not body:
            return rest.lstrip().startswith(b"{")
        end = body[-_LOOK_BACK:].rstrip()
        if body[:1] != b"{" or not end:
            return False
        return not end.endswith(b"}") or (bool(rest) and not is_json(bytes(body)))

    def _take_rest(self, data: bytes) -> None:
        self._body += data

    def _take_odd(self, data: bytes) -> None:
        """Take what comes under lengths that contradict each other, or say nothing."""
        self._body += data
        self.is_enough = len(self._body) >= self._left

    def _doubt(self, rest: bytes | bytearray) -> None:
        """Go on without the framing, which was wrong."""
        self.is_clean, self.is_enough = False, True
        self._take = Reply._take_rest
        self._take(self, bytes(rest))

    def _take_chunks(self, data: bytes) -> None:
        pending = self._pending
        pending += data
        at = 0
        while at < len(pending):
            if self._left:
                piece = pending[at : at + self._left]
                self._body += piece
                self._left -= len(piece)
                at += len(piece)
                continue
            end = pending.find(b"\n", at)
            line = pending[at : end if end >= 0 else len(pending)]
            match = _CHUNK_SIZE.fullmatch(line)
            is_size = bytes(line[:1]) in _BEGINS_SIZE and len(line) <= _MOST_LINE
            if not is_size or (end >= 0 and match is None):
                # What only claims to be in chunks is taken as it is.
                self._pending = bytearray()
                self._doubt(pending[at:])
                return
            if end < 0:
                break
            at = end + 1
            self._left = int(match[1], 16) if match is not None and match[1] else 0
            if match is not None and match[1] and not self._left:
                self._take = Reply._take_trailers
                break
        del pending[:at]
        if self._take == Reply._take_trailers:
            self._take_trailers(b"")

    def _take_trailers(self, data: bytes) -> None:
        pending = self._pending
        pending += data
        # The body is whole already: nothing that comes, or does not come, changes that.
        self.is_enough = True
        if pending.startswith((b"\n", b"\r\n")):
            self._finish(pending[pending.index(b"\n") + 1 :])
        elif match := _END_OF_HEAD.search(pending):
            self._finish(pending[match.end() :])
        elif len(pending) > _MOST_LINE:
            self._finish(pending)
