"""What the simulated API answers: pure decisions, with time and chance passed in or hashed.

Sources: the vendor's page for the codes, the OpenAPI of the note-detail family for paths, envelope
and HTTP statuses, and what those who call it saw of its messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import accumulate
from json import JSONEncoder

from msgspec import Struct

from harvester.model import SIMULATED_PREFIX
from harvester.simulator import SimulatorSettings
from harvester.simulator.accounts import SHANGHAI, Account, Charges, ChargesPage
from harvester.simulator.data import note_data

ENDPOINTS = (
    "/api/xiaohongshu-pgy/get-note-detail/v1",
    "/api/xiaohongshu-pgy/api/solar/note/noteId/detail/v1",
    *(f"/api/xiaohongshu/get-note-detail/v{version}" for version in range(1, 8)),
)
"""The paths of the note-detail family; all answer the same shape of data here."""

RESOLVER = "/api/xiaohongshu/share-url-transfer/v1"
"""The path that tells what a short link leads to."""

# The HTTP status and the message of each code.
_ANSWERS = {
    0: (200, "Success"),
    100: (401, "Invalid or Inactive Token"),
    101: (401, "Invalid or Inactive Token"),
    201: (200, "No Content"),
    202: (400, "Not Supported"),
    300: (403, "API Invalid"),
    301: (503, "COLLECT FAILED, SEND REQUEST AGAIN"),
    302: (429, "Rate Limit Exceeded"),
    303: (429, "Daily Quota Exceeded"),
    400: (400, "Invalid Parameters"),
    404: (400, "Not Found"),
    500: (500, "Internal Server Error"),
    503: (503, "Service Temporarily Unavailable"),
    600: (403, "Permission Denied"),
    601: (403, "Insufficient Balance"),
    602: (403, "Token Budget Exceeded"),
}
_UNKNOWN = (500, "Unknown Error")
_HEADERS = {"Content-Type": "application/json"}
_BALANCE, _USAGE, _EXAMPLE = (
    "/user/get-balance",
    "/user/get-usage-summary",
    "/status/api-example/detail",
)
_NO_CONTENT = 201
_SAMPLE = "67f32a94000000001d02eb4a"
_EMPTY: tuple[object, ...] = (None, [], {})
_NOTE_ID = re.compile(r"[0-9a-fA-F]{24}")
_SHORT_LINK = re.compile(r"https?://(?:www\.)?xhslink\.(?:com|cn)/\w")
_PATHS = (*ENDPOINTS, RESOLVER)
_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SimulatedReply(Struct, frozen=True):
    """An answer ready to be sent: HTTP status, business code, body, headers, delay in seconds."""

    status: int
    code: int
    body: bytes
    headers: Mapping[str, str]
    delay: float


class SimulatedApi:
    """The API's account and its luck.

    All tokens are of one account. The rate limit counts every call that shows a good token, but
    those it refuses do not prolong the window: who keeps hammering still gets `rate_limit` calls a
    second. What a note answers hangs on seed, note id and how many of its calls were charged or
    failed before, on that endpoint: never on the calls of other notes, nor on calls refused.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._failures = tuple(
            zip(settings.fail, accumulate(settings.fail.values()), strict=True),
        )
        self._known = frozenset(_PATHS) - {*settings.gone}
        self._charges = Charges()
        self._account = Account(settings)

    def answer(self, path: str, query: Mapping[str, str], now: float) -> SimulatedReply:
        """Decide and charge one call that arrives at `now` (Unix seconds, never going back)."""
        self._charges.arrive(now)
        if path not in self._known:
            return self._not_found(now)
        code = self._refusal(path, query, now)
        if code is None:
            return self._collect(path, query, now)
        return self._reply(code, self._turn, now)

    def page(self, path: str, query: Mapping[str, str], now: float) -> SimulatedReply | None:
        """Answer for one of the pages about account and endpoints, or None for any other path."""
        if path == _EXAMPLE:
            return self._example(query.get("api", ""), now)
        if path not in (_BALANCE, _USAGE):
            return None
        if not _is_good(query):
            return self._send({"code": 100, "message": _ANSWERS[100][1], "data": None}, 401, path)
        data = self._account.usage()
        if path == _BALANCE:
            left = self._account.balance.shown(now)
            data = {"balance": f"{left:.4f}", "currency": "CNY"}
        return self._send({"code": 0, "message": None, "data": data}, 200, path)

    def new_day(self) -> None:
        """Start a new quota day: nothing is charged to it yet."""
        self._account.new_day()

    def top_up(self, amount: Decimal, now: float) -> None:
        """Add to the balance at a moment in Unix seconds; less than 0 is what somebody else spends.

        An unlimited balance stays unlimited.
        """
        self._account.balance.add(amount, now)

    def charges(self) -> ChargesPage:
        """What was called and charged so far."""
        return self._charges.page()

    @property
    def _turn(self) -> str:
        return f"call/{self._charges.calls}"

    def _refusal(self, path: str, query: Mapping[str, str], now: float) -> int | None:
        """The code that refuses the call before its note is looked at, in a gateway's order."""
        if not _is_good(query):
            return 100
        if not self._account.admit(path, now):
            return 302
        if _asked_for(path, query) is None:
            return 400
        return self._account.unpaid(path, query["token"], now)

    def _collect(self, path: str, query: Mapping[str, str], now: float) -> SimulatedReply:
        """Answer a call that nothing refuses: by chance a failure, else the note, charged."""
        note_id = _asked_for(path, query) or ""
        subject = bytes([_PATHS.index(path)]) + bytes.fromhex(note_id)
        tried = self._charges.tried(subject)
        is_failing = path in self._settings.deprecated
        code = 301 if is_failing else self._luck(note_id, tried)
        turn = f"{path}/{note_id}/{tried}"
        if code in (0, _NO_CONTENT):
            self._charges.charge(subject)
            self._account.charge(path, query["token"], now, is_success=not code)
        else:
            self._charges.fail(subject)
        return self._reply(code, turn, now, None if code else self._data(path, note_id))

    def _data(self, path: str, note_id: str) -> object:
        seed = self._settings.seed
        if _share(seed, "empty", note_id) < self._settings.empty:
            return _EMPTY[int(_share(seed, "nothing", note_id) * len(_EMPTY))]
        if path == RESOLVER:
            place = f"https://www.xiaohongshu.com/discovery/item/{note_id}"
            return {"redirect_url": f"{place}?app_platform=ios&xsec_token={_hex_digits(note_id)}="}
        return note_data(note_id)

    def _luck(self, note_id: str, tried: int) -> int:
        seed = self._settings.seed
        lot = _share(seed, "fail", note_id, tried)
        for code, up_to in self._failures:
            if lot < up_to:
                return code
        return 404 if _share(seed, "missing", note_id) < self._settings.missing else 0

    def _example(self, path: str, now: float) -> SimulatedReply:
        """What an endpoint answers, shown to whoever asks; no token is needed."""
        if path not in self._known:
            return self._send(self._envelope(404, path, now, None), 404, path)
        example = self._envelope(0, path, now, note_data(_SAMPLE))
        data = {"api": path, "checkedAt": _said(now), "synthetic": False, "example": example}
        return self._send({"code": 0, "message": None, "data": data}, 200, path)

    def _not_found(self, now: float) -> SimulatedReply:
        """What the web server in front of the API says."""
        self._charges.answer(404)
        envelope = self._envelope(404, self._turn, now, None) | {"message": "Resource not found"}
        return self._send(envelope, 404, self._turn, 404)

    def _reply(self, code: int, turn: str, now: float, data: object = None) -> SimulatedReply:
        self._charges.answer(code)
        envelope = self._envelope(code, turn, now, data)
        return self._send(envelope, _ANSWERS.get(code, _UNKNOWN)[0], turn, code)

    def _envelope(self, code: int, turn: str, now: float, data: object) -> dict[str, object]:
        return {
            "code": code,
            "message": _ANSWERS.get(code, _UNKNOWN)[1],
            "recordTime": _said(now),
            "requestId": SIMULATED_PREFIX + _hex_digits(self._settings.seed, "request", turn),
            "data": data,
        }

    def _send(self, envelope: object, status: int, turn: str, code: int = 0) -> SimulatedReply:
        # A lone surrogate has no UTF-8; its backslash form is the very escape the vendor sends.
        body = _encode(envelope).encode("utf-8", "backslashreplace")
        if self._settings.http_status == "always-200":
            status = 200
        swing = 2 * _share(self._settings.seed, "delay", turn) - 1
        delay = max(0.0, self._settings.latency + swing * self._settings.jitter)
        return SimulatedReply(status, code, body, _HEADERS, delay)


def _asked_for(path: str, query: Mapping[str, str]) -> str | None:
    """The note that a call asks for, or that a short link leads to; None where it names none."""
    if path == RESOLVER:
        link = query.get("shareUrl", "")
        return _hex_digits("link", link)[:24] if _SHORT_LINK.match(link) else None
    note_id = query.get("noteId", "")
    return note_id.lower() if _NOTE_ID.fullmatch(note_id) else None


def _is_good(query: Mapping[str, str]) -> bool:
    return query.get("token", "") not in ("", "invalid")


def _said(now: float) -> str:
    return f"{datetime.fromtimestamp(now, SHANGHAI):%Y-%m-%d %H:%M:%S}"


def _share(*words: object) -> float:
    """A number in [0, 1) drawn from `words`, evenly spread over different words."""
    drawn = int.from_bytes(_digest(words, 8), "big")
    return (drawn >> 11) / (1 << 53)  # as many bits as a float holds, so never rounded up to 1


def _hex_digits(*words: object) -> str:
    """32 lower-case hex digits drawn from `words`."""
    return _digest(words, 16).hex()


def _digest(words: tuple[object, ...], size: int) -> bytes:
    return blake2b("/".join(map(str, words)).encode(), digest_size=size).digest()
