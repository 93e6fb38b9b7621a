"""What the simulated API answers: pure decisions, with time and chance passed in or hashed.

Sources: the vendor's page for the codes and their messages, the OpenAPI of the note-detail family
for paths, envelope and HTTP statuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from json import JSONEncoder
from types import MappingProxyType

from msgspec import Struct

from harvester.model import SIMULATED_PREFIX
from harvester.simulator.accounts import Account, Charges, ChargesPage
from harvester.simulator.chance import hex_digits, share
from harvester.simulator.data import note_data
from harvester.simulator.settings import SimulatorSettings

ENDPOINTS = (
    "/api/xiaohongshu-pgy/get-note-detail/v1",
    "/api/xiaohongshu-pgy/api/solar/note/noteId/detail/v1",
    *(f"/api/xiaohongshu/get-note-detail/v{version}" for version in range(1, 8)),
)
"""The paths of the note-detail family; all answer the same shape of data here."""

_MESSAGES = MappingProxyType(
    {
        0: "Success",
        100: "Invalid or Inactive Token",
        101: "Invalid or Inactive Token",
        202: "Not Supported",
        300: "API Invalid",
        301: "Collection Failed. Please Retry.",
        302: "Rate Limit Exceeded",
        303: "Daily Quota Exceeded",
        400: "Invalid Parameters",
        404: "Not Found",
        500: "Internal Server Error",
        503: "Service Temporarily Unavailable",
        600: "Permission Denied",
        601: "Insufficient Balance",
        602: "Insufficient Balance",
    }
)
_STATUSES = MappingProxyType(
    {0: 200, 100: 401, 101: 401, 202: 400, 300: 403, 302: 429, 303: 429}
    | {400: 400, 404: 400, 503: 503, 600: 403, 601: 403, 602: 403}
)
_HEADERS = MappingProxyType({"Content-Type": "application/json"})
_NOTE_ID = re.compile(r"[0-9a-fA-F]{24}")
_SHANGHAI = timezone(timedelta(hours=8))
_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Reply(Struct, frozen=True):
    """An answer ready to be sent: HTTP status, business code, body, headers, delay in seconds."""

    status: int
    code: int
    body: bytes
    headers: Mapping[str, str]
    delay: float


class SimulatedApi:
    """The API's accounts and its luck.

    Each token has an account of its own. The rate limit counts every call that shows a good token,
    but those it refuses do not prolong the window: who keeps hammering still gets `rate_limit`
    calls a second. What a note answers hangs on seed, note id and how many of its calls were
    charged or failed before, on that endpoint: never on the calls of other notes, nor on calls
    refused.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._failures = tuple(
            zip(settings.fail, accumulate(settings.fail.values()), strict=True),
        )
        self._charges = Charges()
        self._accounts: dict[str, Account] = {}
        self._topped_up = 0
        self._day: int | None = None

    def answer(self, path: str, query: Mapping[str, str], now: float) -> Reply:
        """Decide and charge one call that arrives at `now` (Unix seconds, never going back)."""
        self._charges.arrive(now)
        code = self._refusal(path, query, now)
        if code is None:
            return self._collect(path, query, now)
        return self._reply(code, f"call/{self._charges.calls}", now, known=path in ENDPOINTS)

    def new_day(self) -> None:
        """Start a new quota day: nothing is charged to it yet."""
        for account in self._accounts.values():
            account.new_day()

    def top_up(self, calls: int) -> None:
        """Add `calls` charged calls to each balance; an unlimited balance stays unlimited."""
        self._topped_up += calls

    def charges(self) -> ChargesPage:
        """What was called and charged so far."""
        return self._charges.page()

    def _refusal(self, path: str, query: Mapping[str, str], now: float) -> int | None:
        """The code that refuses the call before its note is looked at, in a gateway's order."""
        if path not in ENDPOINTS:
            return 300
        if query.get("token", "") in ("", "invalid"):
            return 100
        account = self._accounts.setdefault(query["token"], Account(self._settings))
        if not account.admit(now):
            return 302
        if not _NOTE_ID.fullmatch(query.get("noteId", "")):
            return 400
        day = datetime.fromtimestamp(now, _SHANGHAI).toordinal()
        if day != self._day:
            self._day = day
            self.new_day()
        return account.unpaid(self._topped_up)

    def _collect(self, path: str, query: Mapping[str, str], now: float) -> Reply:
        """Answer a call that nothing refuses: by chance a failure, else the note, charged."""
        note_id = query["noteId"].lower()
        subject = bytes([ENDPOINTS.index(path)]) + bytes.fromhex(note_id)
        tried = self._charges.tried(subject)
        code, story = self._luck(note_id, tried), f"{path}/{note_id}/{tried}"
        if code:
            self._charges.fail(subject)
            return self._reply(code, story, now)
        self._charges.charge(subject)
        self._accounts[query["token"]].charge()
        return self._reply(0, story, now, data=note_data(note_id))

    def _luck(self, note_id: str, tried: int) -> int:
        seed = self._settings.seed
        lot = share(seed, "fail", note_id, tried)
        for code, up_to in self._failures:
            if lot < up_to:
                return code
        return 404 if share(seed, "missing", note_id) < self._settings.missing else 0

    def _reply(
        self,
        code: int,
        story: str,
        now: float,
        *,
        data: Mapping[str, object] | None = None,
        known: bool = True,
    ) -> Reply:
        self._charges.answer(code)
        envelope = {
            "code": code,
            "message": _MESSAGES.get(code, "Unknown Error"),
            "recordTime": f"{datetime.fromtimestamp(now, _SHANGHAI):%Y-%m-%d %H:%M:%S}",
            "requestId": SIMULATED_PREFIX + hex_digits(self._settings.seed, "request", story),
            "data": data,
        }
        # A lone surrogate has no UTF-8; its backslash form is the very escape the vendor sends.
        body = _encode(envelope).encode("utf-8", "backslashreplace")
        status = _STATUSES.get(code, 500) if known else 404
        if self._settings.http_status == "always-200":
            status = 200
        swing = 2 * share(self._settings.seed, "delay", story) - 1
        delay = max(0.0, self._settings.latency + swing * self._settings.jitter)
        return Reply(status, code, body, _HEADERS, delay)
