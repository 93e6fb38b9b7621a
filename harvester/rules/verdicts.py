"""The judge: a pure table from an answer to its verdict."""

from __future__ import annotations

from collections.abc import Callable

from harvester.model import Answer, Cause, Fault, Judgement, StopReason, Verdict
from harvester.plain import plain
from harvester.rules.envelope import read_envelope

# Business codes: the vendor's page, and the wider set of the note-detail family's OpenAPI.
_STOPS = {
    100: StopReason.REFUSED,
    101: StopReason.REFUSED,
    300: StopReason.REFUSED,
    303: StopReason.QUOTA,
    600: StopReason.REFUSED,
    601: StopReason.BALANCE,
    602: StopReason.BALANCE,
}
_REJECTS = frozenset({202, 400, 404})
_RATE_LIMITED = 302
_COLLECTION_FAILED = 301
_MEANINGS = {
    0: "success",
    100: "invalid or inactive token",
    101: "token refused",
    202: "not supported",
    300: "endpoint invalid",
    301: "collection failed",
    302: "rate limit exceeded",
    303: "daily quota exceeded",
    400: "invalid parameters",
    404: "not found",
    500: "internal server error",
    503: "service unavailable",
    600: "permission denied",
    601: "insufficient balance",
    602: "insufficient balance",
}
# The OpenAPI's HTTP statuses, for bodies that hold no readable code.
_STATUS_CODES = {400: 400, 401: 100, 403: 600, 404: 300, 429: 302}
_SUCCESSES, _REDIRECTS, _SERVER_ERRORS = range(200, 300), range(300, 400), range(500, 600)

# What was not sent, or met a connection that had ended before: nobody can have charged for it.
_NEVER_SENT = (Fault.NO_CONNECTION, Fault.NO_DESCRIPTOR, Fault.CLOSED, Fault.RESET)


def judge(answer: Answer, said: Callable[[str], str] = plain) -> Judgement:
    """Say what an answer means: the body's code decides, the HTTP status only where it is mute.

    `said` makes what the server says fit to be kept and shown.
    """
    if answer.fault is not None:
        return _judge_fault(answer, answer.fault)
    envelope = read_envelope(answer.body or b"")
    if envelope.code == 0:
        return Judgement(
            Verdict.SAVE,
            0,
            _MEANINGS[0],
            record_time=envelope.record_time,
            request_id=envelope.request_id,
            data=envelope.data or b"null",
            raw=envelope.raw,
        )
    if envelope.code is not None:
        return _judge_code(envelope.code, said(envelope.message))
    return _judge_status(answer, said)


def _judge_fault(answer: Answer, fault: Fault) -> Judgement:
    reason = f"{fault.value}: {answer.detail}" if answer.detail else fault.value
    unanswered = fault not in _NEVER_SENT
    cause = Cause.UNANSWERED if unanswered else Cause.SERVER
    return Judgement(Verdict.RETRY, None, reason, cause, unanswered=unanswered)


def _judge_status(answer: Answer, said: Callable[[str], str]) -> Judgement:
    """Judge a body that holds no readable code; where the call succeeded it may be charged."""
    status = answer.status or 0
    code = 500 if status in _SERVER_ERRORS else _STATUS_CODES.get(status)
    if code is not None:
        return _judge_code(code, f"HTTP {status}")
    reason = f"unreadable answer (HTTP {answer.status})"
    if status in _REDIRECTS:
        # What stands behind the question mark may be our own request, token and all.
        place = said((answer.location or "").partition("?")[0])
        where = f" to {place}" if place else ""
        return Judgement(Verdict.RETRY, None, f"{reason}: redirected{where}", Cause.SERVER)
    unanswered = status in _SUCCESSES
    cause = Cause.UNANSWERED if unanswered else Cause.SERVER
    return Judgement(Verdict.RETRY, None, reason, cause, unanswered=unanswered)


def _judge_code(code: int, message: str) -> Judgement:
    meaning = _MEANINGS.get(code, "unknown code")
    reason = f"{meaning}: {message}" if message and message.lower() != meaning else meaning
    if code in _STOPS:
        return Judgement(Verdict.STOP, code, reason, stop=_STOPS[code])
    if code in _REJECTS:
        return Judgement(Verdict.REJECT, code, reason)
    if code == _RATE_LIMITED:
        return Judgement(Verdict.SLOW_DOWN, code, reason)
    cause = Cause.COLLECTION if code == _COLLECTION_FAILED else Cause.SERVER
    return Judgement(Verdict.RETRY, code, reason, cause)
