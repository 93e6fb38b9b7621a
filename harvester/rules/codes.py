"""The business codes: what each means, and what is done about it."""

from __future__ import annotations

from harvester.model import Cause, Judgement, StopReason, Verdict

ENDPOINT_INVALID, COLLECTION_FAILED, _RATE_LIMITED = 300, 301, 302
# From the vendor's page, and the wider set of the note-detail family's OpenAPI.
_STOPS = {
    100: StopReason.REFUSED,
    101: StopReason.REFUSED,
    ENDPOINT_INVALID: StopReason.REFUSED,
    303: StopReason.QUOTA,
    600: StopReason.REFUSED,
    601: StopReason.BALANCE,
    602: StopReason.BALANCE,
}
# Older price lists of the vendor's charge for this, too; newer ones do not name it.
NO_CONTENT = 201
CHARGED = frozenset({0, NO_CONTENT})
# What holds for a whole account, whichever of its tokens was told.
ACCOUNT_WIDE = frozenset({303, 601})
_REJECTS = frozenset({NO_CONTENT, 202, 400, 404})
MEANINGS = {
    0: "success",
    100: "invalid or inactive token",
    101: "token refused",
    NO_CONTENT: "no content",
    202: "not supported",
    300: "endpoint invalid",
    301: "collection failed",
    302: "rate limit exceeded",
    303: "daily quota exceeded",
    400: "invalid parameters",
    404: "gone",
    500: "internal server error",
    503: "service unavailable",
    600: "permission denied",
    601: "insufficient balance",
    602: "the token's budget is used up",
}


def judge_code(code: int, message: str = "") -> Judgement:
    """What an answer means that says this code and message, and is no success."""
    meaning = MEANINGS.get(code, "unknown code")
    reason = f"{meaning}: {message}" if message and message.lower() != meaning else meaning
    if code in _STOPS:
        return Judgement(Verdict.STOP, code, reason, stop=_STOPS[code])
    if code in _REJECTS:
        return Judgement(Verdict.REJECT, code, reason)
    if code == _RATE_LIMITED:
        return Judgement(Verdict.SLOW_DOWN, code, reason)
    cause = Cause.COLLECTION if code == COLLECTION_FAILED else Cause.SERVER
    return Judgement(Verdict.RETRY, code, reason, cause)
