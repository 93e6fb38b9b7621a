"""The token is taken out of an answer however it is spelled, and nothing else is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.api.redaction import Redaction
from harvester.model import Answer
from harvester.rules.verdicts import judge
from tests.spelling import TOKEN, holds_token, said, spelled

REDACTION = Redaction(TOKEN)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def body_of(code: object, message: str, data: object = None, **more: object) -> bytes:
    return json.dumps({"code": code, "message": message, "data": data, **more}).encode()


@given(said())
@example(r"token %74ok-3f9ac17e55d04b28")
@example("\x00".join(TOKEN))
def test_no_spelling_survives_in_a_text(text: str) -> None:
    assert "***" in REDACTION.text(text)
    assert not holds_token(REDACTION.text(text))


@given(said(), st.sampled_from([301, 303, 400, 601, 999]))
def test_a_reason_holds_no_token_and_the_code_stays(text: str, code: int) -> None:
    judged = judge(Answer(200, REDACTION.body(body_of(code, text))))
    assert judged.code == code
    assert not holds_token(judged.reason)


@given(said(), VALUES, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-32-be"]))
def test_a_paid_answer_stays_one_and_only_the_token_is_cut_from_it(
    text: str, value: object, encoding: str
) -> None:
    data = {"a": value, "b": text, text: [text]}
    body = json.dumps({"code": 0, "requestId": text, "data": data}).encode(encoding)
    judged = judge(Answer(200, REDACTION.body(body)))
    assert judged.code == 0
    assert judged.raw is None
    for part in (judged.data, judged.request_id):
        assert not holds_token(part.decode())
    read: dict[str, Any] = json.loads(judged.data)
    assert read["a"] == value
    assert "***" in read["b"]
    assert len(read) == 3


@given(VALUES, st.sampled_from([0, 301]))
def test_an_answer_without_the_token_is_left_as_it_came(value: object, code: int) -> None:
    for ensure_ascii in (True, False):
        text = json.dumps({"code": code, "data": value}, ensure_ascii=ensure_ascii)
        body = text.encode("utf-8", "surrogatepass")
        assert REDACTION.body(body) is body


@given(st.binary(max_size=50), spelled())
def test_a_body_that_is_no_answer_keeps_no_token(rubbish: bytes, token: str) -> None:
    body = REDACTION.body(rubbish + token.encode() + rubbish)
    assert not holds_token(body.decode("utf-8", "replace"))


def test_a_letter_behind_a_backslash_does_not_break_a_paid_answer() -> None:
    body = rb'{"code":0,"data":{"a":"x\tok-3f9ac17e55d04b28","n":12345678901234567890123}}'
    judged = judge(Answer(200, REDACTION.body(body)))
    assert TOKEN.encode() not in judged.data
    assert json.loads(judged.data) == {"a": "x***", "n": 12345678901234567890123}


@pytest.mark.parametrize("token", ["", "t", "valid", "4b28"])
def test_a_token_as_short_as_a_word_is_cut_from_nothing(token: str) -> None:
    body = body_of(301, f"{token} collection failed")
    assert Redaction(token).body(body) is body


def test_a_token_of_middle_length_is_cut_from_messages_but_not_from_notes() -> None:
    redaction = Redaction("harvest")
    assert judge(Answer(200, redaction.body(body_of(301, "harvest!")))).reason.endswith("***!")
    note = body_of(0, "harvest", {"title": "a good harvest"})
    assert redaction.body(note) is note


@pytest.mark.parametrize(
    "token", ["令牌-4c6d8e0f12345", "a&b<c>d\"e'f/g+h=i%j", "uabcd-ef0123456789"]
)
@given(data=st.data())
def test_tokens_of_any_characters_are_found(token: str, data: st.DataObject) -> None:
    text = data.draw(said(token))
    redaction = Redaction(token)
    judged = judge(Answer(200, redaction.body(body_of(301, text))))
    assert "***" in judged.reason
    assert token[2:] not in judged.reason


@pytest.mark.parametrize("unit", ["\\", "%", "%25", r"\u0074", "&#", TOKEN[:-1] + "!", "\0", "t\0"])
def test_no_body_takes_long_to_search(unit: str) -> None:
    body = (unit * (2 << 20))[: 2 << 20].encode()
    began = time.process_time()
    assert REDACTION.body(body) is body
    assert time.process_time() - began < 10
