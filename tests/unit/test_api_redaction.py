"""The tokens of the run are taken out of notes and messages, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.api.redaction import Redaction
from harvester.api.rooms import Rooms
from harvester.config import RunConfig
from harvester.engine.clients import open_clients
from harvester.pace import Throttle
from harvester.parsing import Rate
from harvester.secret import Secret

TOKEN = "tok-3f9ac17e55d04b28"  # noqa: S105
ODD = '\u4ee4\u724c/4c"6d\\8e+0f 12'


def redaction_of(*tokens: str) -> Redaction:
    return Redaction([Secret(token) for token in tokens])


REDACTION = redaction_of(TOKEN, ODD)
TEXTS = st.text(st.characters(), max_size=20)


def line_of(value: object, *, ensure_ascii: bool = True) -> bytes:
    return json.dumps({"data": value}, ensure_ascii=ensure_ascii).encode(
        "utf-8", "backslashreplace"
    )


@pytest.mark.parametrize("ensure_ascii", [False, True])
@pytest.mark.parametrize("spelling", [TOKEN, ODD, "%E4%BB%A4%E7%89%8C%2F4c%226d%5C8e%2B0f%2012"])
def test_every_token_of_the_run_is_masked_in_a_line(spelling: str, *, ensure_ascii: bool) -> None:
    masked = REDACTION.line(line_of([f"a {spelling} b", {spelling: 1}], ensure_ascii=ensure_ascii))
    assert json.loads(masked) == {"data": ["a *** b", {"***": 1}]}


@pytest.mark.parametrize("spelling", [TOKEN, ODD, "%E4%BB%A4%E7%89%8C%2F4c%226d%5C8e%2B0f%2012"])
def test_every_token_of_the_run_is_masked_in_a_message(spelling: str) -> None:
    assert REDACTION.said(f"the token {spelling} is bad") == "the token *** is bad"


def test_a_token_at_the_end_of_what_is_shown_is_masked_before_the_rest_is_cut() -> None:
    said = REDACTION.said("x" * 290 + TOKEN)
    assert said == "x" * 290 + "***"
    assert len(REDACTION.said("x" * 1_500_000)) == 300


@given(TEXTS, TEXTS, st.booleans())
def test_a_line_stays_json_whatever_stands_around_the_token(
    before: str,
    after: str,
    ensure_ascii: bool,  # noqa: FBT001
) -> None:
    line = line_of(before + TOKEN + after, ensure_ascii=ensure_ascii)
    assert json.loads(REDACTION.line(line)) == {"data": f"{before}***{after}"}


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_a_line_without_a_token_is_left_as_it_is(value: object) -> None:
    line = line_of(value)
    assert REDACTION.line(line) is line


@pytest.mark.parametrize(
    ("token", "line"),
    [
        ("nok-3f9ac17e55d04b28", rb'{"data":"a\nok-3f9ac17e55d04b28"}'),
        ("uabcd-3f9ac17e55d04b28", rb'{"data":"a\uabcd-3f9ac17e55d04b28"}'),
        ("nok-3f9ac17e55d04b28", rb'{"data":"a\\nok-3f9ac17e55d04b28"}'),
        ("123456789012345", b'{"data":{"id":123456789012345,"a":"123456789012345"}}'),
        ('","b":"cdefghij', b'{"data":{"a":"","b":"cdefghij"}}'),
    ],
)
def test_a_token_that_meets_the_syntax_of_json_breaks_no_line(token: str, line: bytes) -> None:
    json.loads(redaction_of(token).line(line))


@pytest.mark.parametrize("token", ["", "t", "valid", "harvest", "4b28-4b28-4"])
def test_a_token_that_cannot_be_told_from_words_is_cut_from_no_note(token: str) -> None:
    line = line_of(f"a good {token}")
    assert redaction_of(token).line(line) is line


def test_a_token_as_short_as_a_word_is_cut_from_no_message() -> None:
    assert redaction_of("valid", "harvest").said("valid harvest") == "valid ***"


def test_of_two_tokens_one_of_which_holds_the_other_nothing_is_left() -> None:
    redaction = redaction_of(TOKEN, TOKEN + "-more-of-it")
    assert redaction.said(TOKEN + "-more-of-it") == "***"
    assert b"more" not in redaction.line(line_of(TOKEN + "-more-of-it"))


def test_each_client_masks_the_tokens_of_all(tmp_path: Path) -> None:
    tokens = (Secret(TOKEN), Secret(ODD))
    config = RunConfig(output=tmp_path / "o", tokens=tokens, base_url="http://127.0.0.1:1")

    async def main() -> list[str]:
        async with AsyncExitStack() as stack:
            clients = await open_clients(config, stack, lambda _: Throttle(Rate(1, 1)), Rooms())
            return [client.redaction.said(f"{TOKEN}, {ODD}") for client in clients]

    assert asyncio.run(main()) == ["***, ***"] * 2
