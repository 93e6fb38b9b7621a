"""The judge: the contract's table, row by row."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.api.redaction import Redaction
from harvester.model import Answer, Cause, Fault, Judgement, StopReason, Verdict
from harvester.rules.verdicts import judge
from harvester.secret import Secret

RETRY, STOP = Verdict.RETRY, Verdict.STOP
# code, HTTP status of the newer deployments, verdict, cause, stop.
TABLE = [
    (0, 200, Verdict.SAVE, None, None),
    (301, 500, RETRY, Cause.COLLECTION, None),
    (500, 500, RETRY, Cause.SERVER, None),
    (503, 503, RETRY, Cause.SERVER, None),
    (777, 500, RETRY, Cause.SERVER, None),
    (-1, 200, RETRY, Cause.SERVER, None),
    (302, 429, Verdict.SLOW_DOWN, None, None),
    (201, 200, Verdict.REJECT, None, None),
    (202, 400, Verdict.REJECT, None, None),
    (400, 400, Verdict.REJECT, None, None),
    (404, 400, Verdict.REJECT, None, None),
    (303, 429, STOP, None, StopReason.QUOTA),
    (601, 403, STOP, None, StopReason.BALANCE),
    (602, 403, STOP, None, StopReason.BALANCE),
    (100, 401, STOP, None, StopReason.REFUSED),
    (101, 401, STOP, None, StopReason.REFUSED),
    (300, 403, STOP, None, StopReason.REFUSED),
    (600, 403, STOP, None, StopReason.REFUSED),
]
UNREADABLE = [
    b"",
    b"<html>",
    b"null",
    b"[]",
    b"0",
    b"{}",
    b'{"message":"code"}',
    b'{"code":null}',
    b'{"code":"0"}',
    b'{"code":"404"}',
    b'{"code":false}',
    b'{"code":true}',
    b'{"code":[0]}',
    b'{"code":{"code":0}}',
    b'{"data":{"code":0}}',
    b'{"code":0.5}',
    b'{"code":NaN}',
    b'{"code":-Infinity}',
    b'{"code":1e400}',
    b'{"code":99999999999999999999}',
    b'{"code":0,"data":{"a":',
    b'[{"code":0}]',
    b'{"code":0}{"code":0}',
    b'{"code":0} and more NaN',
    b"\xff\xfe\x00",
]


def verdict_of(judgement: Judgement) -> tuple[Verdict, Cause | None, StopReason | None]:
    return judgement.verdict, judgement.cause, judgement.stop


@pytest.mark.parametrize("always_200", [False, True])
@pytest.mark.parametrize(("code", "status", "verdict", "cause", "stop"), TABLE)
def test_the_code_in_the_body_decides_whatever_the_http_status(
    code: int,
    status: int,
    verdict: Verdict,
    cause: Cause | None,
    stop: StopReason | None,
    *,
    always_200: bool,
) -> None:
    body = json.dumps({"code": code, "message": "m", "data": {"a": 1}}).encode()
    judgement = judge(Answer(200 if always_200 else status, body))
    assert verdict_of(judgement) == (verdict, cause, stop)
    assert judgement.code == code


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 302])
def test_a_paid_answer_is_saved_whatever_the_http_status(status: int) -> None:
    assert judge(Answer(status, b'{"code":0,"data":{}}')).verdict is Verdict.SAVE


@pytest.mark.parametrize(
    ("status", "code", "verdict", "stop"),
    [
        (400, 400, Verdict.REJECT, None),
        (401, 100, STOP, StopReason.REFUSED),
        (403, 600, STOP, StopReason.REFUSED),
        (404, 300, STOP, StopReason.REFUSED),
        (429, 302, Verdict.SLOW_DOWN, None),
        (500, 500, RETRY, None),
        (502, 500, RETRY, None),
        (599, 500, RETRY, None),
        (200, None, RETRY, None),
        (204, None, RETRY, None),
        (301, None, RETRY, None),
        (302, None, RETRY, None),
        (418, None, RETRY, None),
        (600, None, RETRY, None),
        (0, None, RETRY, None),
    ],
)
def test_the_http_status_decides_only_where_the_body_holds_no_readable_code(
    status: int, code: int | None, verdict: Verdict, stop: StopReason | None
) -> None:
    for body in UNREADABLE:
        judgement = judge(Answer(status, body))
        assert (judgement.verdict, judgement.code, judgement.stop) == (verdict, code, stop), body
        assert judgement.unanswered == (status in {200, 204}), body
        assert (judgement.cause is Cause.UNANSWERED) == judgement.unanswered, body


def test_an_unreadable_answer_may_be_charged_only_where_the_call_succeeded() -> None:
    assert judge(Answer(200, b"<html>")).unanswered
    assert not judge(Answer(418, b"<html>")).unanswered
    assert not judge(Answer(200, b'{"code":777}')).unanswered


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (None, "redirected"),
        ("https://h/login?token=tok-3f9ac17e55d04b28", "redirected to https://h/login"),
        ("/tok-3f9ac17e55d04b28/a#b", "redirected to /***/a#b"),
        ("/a\x1b[2J\udcff", r"redirected to /a\x1b[2J\udcff"),
    ],
)
def test_a_redirect_names_where_to_without_the_token(location: str | None, reason: str) -> None:
    said = Redaction([Secret("tok-3f9ac17e55d04b28")]).said
    judgement = judge(Answer(302, b"", location=location), said)
    assert judgement.reason == f"unreadable answer (HTTP 302): {reason}"
    assert not judgement.unanswered


@pytest.mark.parametrize(
    ("status", "location", "reason"),
    [
        (301, "https://h/?token=t", "redirected to https://h/ (HTTP 301); is --base-url right?"),
        (302, None, "redirected (HTTP 302); is --base-url right?"),
        (407, None, "a proxy wants a name and a password: --proxy http://NAME:PASSWORD@HOST:PORT"),
    ],
)
def test_a_redirect_before_any_other_answer_is_refused(
    status: int, location: str | None, reason: str
) -> None:
    answer = Answer(status, b"<html>", location=location)
    first, later = judge(answer, is_first=True), judge(answer)
    assert verdict_of(first) == (STOP, None, StopReason.REFUSED)
    assert first.reason.startswith(reason)
    assert verdict_of(later) == (RETRY, Cause.SERVER, None)
    assert first.is_redirect
    assert later.is_redirect
    assert (first.unanswered, later.unanswered) == (False, False)
    good = judge(Answer(status, b'{"code":0,"data":{}}'), is_first=True)
    assert (good.verdict, good.is_redirect) == (Verdict.SAVE, False)


def test_what_a_server_says_is_printable_and_short_in_a_reason() -> None:
    body = json.dumps({"code": 301, "message": "\ud83d\x1b\n" + "a" * 1_500_000}).encode()
    reason = judge(Answer(200, body)).reason
    assert reason.startswith(r"collection failed: \ud83d\x1b\x0aaaa")
    assert reason.isprintable()
    assert len(reason) < 330


@pytest.mark.parametrize("zero", ["0", "0.0", "-0", "-0.0", "0e5"])
def test_only_the_number_zero_is_success_however_it_is_written(zero: str) -> None:
    assert judge(Answer(200, f'{{"code":{zero},"data":1}}'.encode())).verdict is Verdict.SAVE


@pytest.mark.parametrize("code", ["301.0", "3.01e2"])
def test_a_code_written_as_a_float_is_the_same_code(code: str) -> None:
    assert judge(Answer(200, f'{{"code":{code}}}'.encode())).code == 301


def test_of_two_codes_the_last_counts_as_in_every_json_reader() -> None:
    assert judge(Answer(200, b'{"code":0,"code":301}')).code == 301
    assert judge(Answer(200, b'{"code":0,"data":NaN,"code":301}')).code == 301


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault.NO_CONNECTION, Cause.SERVER),
        (Fault.MALFORMED, Cause.UNANSWERED),
        (Fault.TIMEOUT, Cause.UNANSWERED),
        (Fault.BROKEN, Cause.UNANSWERED),
        (Fault.TOO_LARGE, Cause.UNANSWERED),
    ],
)
def test_every_fault_is_a_retry_and_tells_whether_it_may_have_been_charged(
    fault: Fault, cause: Cause
) -> None:
    answer = Answer(fault=fault, detail="some words")
    judgement = judge(answer)
    assert verdict_of(judgement) == (RETRY, cause, None)
    assert judgement.code is None
    assert judgement.reason == f"{fault.value}: some words"
    assert judge(Answer(fault=fault)).reason == fault.value
    assert judgement.unanswered == (cause is Cause.UNANSWERED)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_outweighs_a_status_that_did_arrive(fault: Fault) -> None:
    assert judge(Answer(200, b'{"code":0}', fault=fault)).verdict is RETRY


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Gone", "gone"),
        ("", "gone"),
        ("Not Found", "gone: Not Found"),
        (7, "gone"),
    ],
)
def test_the_reason_holds_the_servers_message_where_it_says_more(
    message: object, reason: str
) -> None:
    body = json.dumps({"code": 404, "message": message}).encode()
    assert judge(Answer(400, body)).reason == reason


@pytest.mark.parametrize(
    ("message", "why", "reason"),
    [
        ("Not Found", "NOTE_DELETED", "gone: Not Found (NOTE_DELETED)"),
        ("", "NOTE_DELETED", "gone: NOTE_DELETED"),
        (None, "\x1b", r"gone: \x1b"),
        ("deleted by its author", "deleted", "gone: deleted by its author"),
        ("Not Found", {"a": 1}, "gone: Not Found"),
    ],
)
def test_the_envelopes_own_reason_is_kept_where_it_says_more(
    message: object, why: object, reason: str
) -> None:
    body = json.dumps({"code": 404, "message": message, "reason": why, "data": None}).encode()
    assert judge(Answer(404, body)).reason == reason
    odd = b'{"odd":NaN,' + body[1:]
    assert judge(Answer(404, odd)).reason == reason


def test_an_endpoint_that_is_gone_is_called_so() -> None:
    gone = judge(Answer(404, b"<html>404 Not Found</html>"))
    assert gone.reason == "endpoint invalid: the endpoint is gone: HTTP 404"


@pytest.mark.parametrize(
    ("data", "is_empty"),
    [
        ("null", True),
        ("[]", True),
        ("{}", True),
        ("[ \n ]", True),
        ("[[]]", False),
        ('""', False),
        ("0", False),
        ("[null]", False),
        ("NaN", False),
    ],
)
def test_an_answer_with_nothing_in_its_data_is_saved_and_known_as_empty(
    data: str, *, is_empty: bool
) -> None:
    judgement = judge(Answer(200, f'{{"code":0,"data":{data},"message":null}}'.encode()))
    assert (judgement.verdict, judgement.is_empty) == (Verdict.SAVE, is_empty)


def test_an_answer_without_data_is_empty_too() -> None:
    assert judge(Answer(200, b'{"code":0}')).is_empty


def test_the_reason_of_an_unreadable_answer_names_its_http_status() -> None:
    assert judge(Answer(204, b"")).reason == "unreadable answer (HTTP 204)"
    assert judge(Answer(429, b"")).reason == "rate limit exceeded: HTTP 429"
    assert judge(Answer(200, b'{"code":777}')).reason == "unknown code"


def test_only_a_save_carries_data() -> None:
    judgement = judge(Answer(200, b'{"code":404,"recordTime":"r","requestId":"q","data":{"a":1}}'))
    assert (judgement.data, judgement.record_time, judgement.request_id) == (b"null",) * 3
    assert judgement.raw is None


HEADS = st.sampled_from(
    [b"", b'{"code":0', b'{"code":0,"data":', b'{"code":', b"{", b"\xef\xbb\xbf"]
)
ODD = st.sampled_from(
    [b"NaN", b"}", b"{", b'"', b",", b":", b"0", b"\xff", b"[", b"]", b"\\", b" "]
)
BODIES = st.binary() | st.builds(
    lambda head, parts: head + b"".join(parts), HEADS, st.lists(ODD, max_size=12)
)


@given(BODIES, st.none() | st.integers(-1, 1000))
def test_garbage_never_raises_and_is_saved_only_if_its_code_is_zero(
    body: bytes, status: int | None
) -> None:
    judgement = judge(Answer(status, body))
    try:
        read = json.loads(body)
    except ValueError:
        # Paid, but odd: only where it at least looks like the vendor's success.
        assert judgement.verdict is not Verdict.SAVE or b'"code"' in body
        return
    code = read.get("code") if isinstance(read, dict) else None
    is_success = isinstance(code, int | float) and not isinstance(code, bool) and code == 0
    assert (judgement.verdict is Verdict.SAVE) == is_success


@given(st.integers(-(2**40), 2**40), st.sampled_from([200, 400, 401, 403, 404, 429, 500]))
def test_any_code_has_a_verdict_and_only_zero_is_charged(code: int, status: int) -> None:
    judgement = judge(Answer(status, json.dumps({"code": code}).encode()))
    assert (judgement.verdict is Verdict.SAVE) == (code == 0)
    assert (judgement.verdict is Verdict.RETRY) == (judgement.cause is not None)
    assert (judgement.verdict is Verdict.STOP) == (judgement.stop is not None)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(ANYTHING, ANYTHING, ANYTHING, st.sampled_from([200, 302, 500]))
def test_members_of_any_type_are_judged_and_only_the_number_zero_is_saved(
    code: object, message: object, data: object, status: int
) -> None:
    body = json.dumps({"code": code, "message": message, "data": data}).encode()
    judgement = judge(Answer(status, body))
    is_success = isinstance(code, int | float) and not isinstance(code, bool) and code == 0
    assert (judgement.verdict is Verdict.SAVE) == is_success
    assert judgement.reason
