"""The judge: a pure table from an answer to its verdict."""

from __future__ import annotations

from collections.abc import Callable

from harvester.model import Answer, Cause, Fault, Judgement, StopReason, Verdict
from harvester.rules.codes import ENDPOINT_INVALID, MEANINGS, judge_code
from harvester.rules.envelope import Envelope, is_empty, read_envelope
from harvester.sanitize import sanitize

# The OpenAPI's HTTP statuses, for bodies that hold no readable code.
_STATUS_CODES = {400: 400, 401: 100, 403: 600, 404: ENDPOINT_INVALID, 429: 302}
_SUCCESSES, _SERVER_ERRORS = range(200, 300), range(500, 600)
# Whoever says so stands between us and the API, or sends us elsewhere.
_PROXY_WANTS_A_NAME = 407
_REDIRECTS = frozenset({*range(300, 400), _PROXY_WANTS_A_NAME})

# What was not sent, or met a connection that had ended before: nobody can have charged for it.
_NEVER_SENT = (Fault.NO_CONNECTION, Fault.NO_DESCRIPTOR, Fault.CLOSED, Fault.RESET)


def judge(
    answer: Answer, said: Callable[[str], str] = sanitize, *, is_first: bool = False
) -> Judgement:
    """Say what an answer means: the body's code decides, the HTTP status only where it is mute.

    `said` makes what the server says fit to be kept and shown. `is_first` where the run had no
    answer yet but redirects: then they come from the wrong place, and stop it.
    """
    if answer.fault is not None:
        return _judge_fault(answer, answer.fault)
    envelope = read_envelope(answer.body or b"")
    if envelope.code == 0:
        return Judgement(
            Verdict.SAVE,
            0,
            MEANINGS[0],
            record_time=envelope.record_time,
            request_id=envelope.request_id,
            data=envelope.data or b"null",
            raw=envelope.raw,
            is_empty=envelope.data is not None and is_empty(envelope.data),
        )
    if envelope.code is not None:
        return judge_code(envelope.code, _words(envelope, said))
    return _judge_status(answer, said, is_first=is_first)


def _words(envelope: Envelope, said: Callable[[str], str]) -> str:
    """What the server says of a code, its reason in brackets where that says more."""
    message, reason = said(envelope.message), said(envelope.reason)
    if not message or not reason or reason in message:
        return message or reason
    return f"{message} ({reason})"


def _judge_fault(answer: Answer, fault: Fault) -> Judgement:
    reason = f"{fault.value}: {answer.detail}" if answer.detail else fault.value
    unanswered = fault not in _NEVER_SENT
    cause = Cause.UNANSWERED if unanswered else Cause.SERVER
    return Judgement(Verdict.RETRY, None, reason, cause, unanswered=unanswered)


def _judge_status(answer: Answer, said: Callable[[str], str], *, is_first: bool) -> Judgement:
    """Judge a body that holds no readable code; where the call succeeded it may be charged."""
    status = answer.status or 0
    code = 500 if status in _SERVER_ERRORS else _STATUS_CODES.get(status)
    if code is not None:
        gone = "the endpoint is gone: " if code == ENDPOINT_INVALID else ""
        return judge_code(code, f"{gone}HTTP {status}")
    reason = f"unreadable answer (HTTP {answer.status})"
    if status in _REDIRECTS:
        where = _sent_where(answer, said)
        if not is_first:
            return Judgement(
                Verdict.RETRY, None, f"{reason}: {where}", Cause.SERVER, is_redirect=True
            )
        where = f"{where} (HTTP {status}); is --base-url right?"
        return Judgement(Verdict.STOP, None, where, stop=StopReason.REFUSED, is_redirect=True)
    unanswered = status in _SUCCESSES
    cause = Cause.UNANSWERED if unanswered else Cause.SERVER
    return Judgement(Verdict.RETRY, None, reason, cause, unanswered=unanswered)


def _sent_where(answer: Answer, said: Callable[[str], str]) -> str:
    """Where an answer sends us, in words."""
    if answer.status == _PROXY_WANTS_A_NAME:
        return "a proxy wants a name and a password: --proxy http://NAME:PASSWORD@HOST:PORT"
    # What stands behind the question mark may be our own request, token and all.
    place = said((answer.location or "").partition("?")[0])
    return f"redirected to {place}" if place else "redirected"
