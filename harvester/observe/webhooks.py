"""Webhooks, of Feishu, DingTalk, WeCom, Slack or anybody: told how a run ends, or that it waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from harvester.api.proxy import Proxy
from harvester.api.redaction import Redaction
from harvester.daemon import begin_thread
from harvester.json_text import to_json
from harvester.secret import Secret

# Seconds that an answer is waited for, and that the end of a run may be held up in all.
TIMEOUT = 10.0
_LONGEST_ANSWER = 1 << 16
_LEAVE = "leave"
_FINE = range(200, 300)
# Who each is, by what its URL holds; whoever stands in front of a service keeps the path.
_SERVICES = {
    "Feishu": ("/open-apis/bot/",),
    "DingTalk": ("/robot/send",),
    "WeCom": ("/cgi-bin/webhook/send",),
    "Slack": ("//hooks.slack", "/services/T"),
}


def service_of(url: str) -> str:
    """Whose webhook a URL is, by name; "" for one that takes any JSON."""
    marks = ((name, mark) for name, marks in _SERVICES.items() for mark in marks)
    return next((name for name, mark in marks if mark in url.partition("?")[0]), "")


def body_for(service: str, text: str, fields: Mapping[str, object]) -> bytes:
    """What a service takes: a text message; where it is nobody's in particular, all there is."""
    match service:
        case "Feishu":
            message: Mapping[str, object] = {"msg_type": "text", "content": {"text": text}}
        case "DingTalk" | "WeCom":
            message = {"msgtype": "text", "text": {"content": text}}
        case "Slack":
            message = {"text": text}
        case _:
            message = {"text": text, **fields}
    return to_json(message)


class Webhooks:
    """Those who are told; each on a thread of its own, so that none holds up a run or another.

    What goes wrong is told to `say` in one line, which shows nothing of a URL, and changes nothing.
    """

    def __init__(
        self, urls: Sequence[Secret[str]], proxy: Proxy | None, say: Callable[[str], None]
    ) -> None:
        self._urls = urls
        self._proxy = proxy
        self._say = say
        self._under_way = 0
        self._ends = SimpleQueue[str]()

    def tell(self, text: str, fields: Mapping[str, object]) -> None:
        """Send to all, and wait for none."""
        for number, url in enumerate(self._urls, 1):
            try:
                begin_thread(partial(self._tell, number, url, text, fields))
            except MemoryError:
                self._trouble(f"{number} cannot be told: no thread can be started")
            else:
                self._under_way += 1

    def _tell(self, number: int, url: Secret[str], text: str, fields: Mapping[str, object]) -> None:
        service = service_of(url.reveal())
        try:
            trouble = _post(url, service, body_for(service, text, fields), self._proxy)
            if trouble:
                self._trouble(f"{number} ({service or 'any JSON'}) {trouble}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it changes nothing
            self._trouble(f"{number} cannot be told: {type(error).__name__}")
        finally:
            self._ends.put(service)

    def _trouble(self, text: str) -> None:
        self._say(f"harvester: --notify {text}.")

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait until all have been told, or `leave` is called, or the time is over."""
        until = time.monotonic() + timeout
        while self._under_way:
            try:
                end = self._ends.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                self._trouble(f"has had no answer in {timeout:g} s")
                return
            if end == _LEAVE:
                return
            self._under_way -= 1

    def leave(self) -> None:
        """Have nobody wait any longer; may be called in the middle of anything."""
        self._ends.put(_LEAVE)


def _post(url: Secret[str], service: str, body: bytes, proxy: Proxy | None) -> str | None:
    """Post to a webhook, following no redirect; gives what went wrong, if anything."""
    # They load half of the standard library, for who is told of a run.
    from http.client import HTTPException  # noqa: PLC0415
    from urllib.request import (  # noqa: PLC0415
        HTTPHandler,
        HTTPSHandler,
        OpenerDirector,
        Request,
    )

    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "harvester"}
    request = Request(url.reveal(), body, headers)  # noqa: S310 - http or https, see read_webhooks
    if proxy is not None:
        request.set_proxy(proxy.place, "http")
        if proxy.authorization is not None:
            request.add_unredirected_header("Proxy-Authorization", proxy.authorization.reveal())
    # Without the usual handlers: no redirects, and no proxies of the environment.
    opener = OpenerDirector()
    opener.add_handler(HTTPHandler())
    opener.add_handler(HTTPSHandler())
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            trouble = _refusal(service, answer.status, answer.read(_LONGEST_ANSWER))
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        told = (why.strerror or str(why)) if isinstance(why, OSError) else ""
        trouble = f"cannot be told: {told or type(why).__name__}"
    return trouble and Redaction(_secrets_of(url.reveal())).said(trouble)


def _refusal(service: str, status: int, said: bytes) -> str | None:
    """What is wrong with an answer: its status or, with 200, a code in it that is not 0."""
    if status not in _FINE:
        return f"answered with HTTP {status}"
    if service in {"", "Slack"}:
        return None
    try:
        told: dict[str, Any] = dict(orjson.loads(said))
    except (TypeError, ValueError):
        return "gave an answer that cannot be read"
    code = told.get("errcode", told.get("code", told.get("StatusCode", 0)))
    return f"answered with code {code}: {told.get('errmsg', told.get('msg'))}" if code else None


def _secrets_of(url: str) -> list[Secret[str]]:
    """What an answer or an error might say of a URL; a host may be as secret as a path."""
    parts = urlsplit(url)
    pieces = [url, parts.hostname or "", *parts.path.split("/")]
    pieces += [value for _, value in parse_qsl(parts.query)]
    return [Secret(piece) for piece in pieces]
