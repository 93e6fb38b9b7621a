"""The judge: a pure table from an answer to its verdict."""

from __future__ import annotations

from harvester.model import Answer, Cause, Fault, Judgement, StopReason, Verdict
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
_SERVER_ERRORS = range(500, 600)


def judge(answer: Answer) -> Judgement:
    """Say what an answer means: the body's code decides, the HTTP status only where it is mute."""
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
        return _judge_code(envelope.code, envelope.message)
    code = _STATUS_CODES.get(answer.status or 0)
    if code is None and answer.status in _SERVER_ERRORS:
        code = 500
    if code is None:
        reason = f"unreadable answer (HTTP {answer.status})"
        return Judgement(Verdict.RETRY, None, reason, Cause.SERVER)
    return _judge_code(code, f"HTTP {answer.status}")


def _judge_fault(answer: Answer, fault: Fault) -> Judgement:
    reason = f"{fault.value}: {answer.detail}" if answer.detail else fault.value
    cause = Cause.UNANSWERED if answer.unanswered else Cause.SERVER
    return Judgement(Verdict.RETRY, None, reason, cause)


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
