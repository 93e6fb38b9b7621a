"""One line of OUTPUT: what it looks like, and what is read back from its head."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.ledger.protocol import Identity
from harvester.model import Answer, Job, Judgement, Verdict
from harvester.output.lines import Head, make_line, may_be_torn, read_head, read_line
from harvester.rules.envelope import is_json
from harvester.rules.verdicts import judge

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
MOMENT = 1795395723.456
JOB = Job(1, "67f32a94000000001d02eb4a")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
# Milliseconds, from 1970 to the year 9999.
MOMENTS = st.integers(0, 253_402_300_799_999).map(lambda milliseconds: milliseconds / 1000)


def saved(data: bytes = b'{"a":1}') -> Judgement:
    judgement = judge(Answer(200, b'{"code":0,"requestId":"r","data":' + data + b"}"))
    assert judgement.verdict is Verdict.SAVE
    return judgement


def test_a_line_is_as_the_contract_shows_it() -> None:
    line = make_line(JOB, saved(), ENDPOINT, MOMENT)
    assert line == (
        b'{"noteId":"67f32a94000000001d02eb4a","fetchedAt":"2026-11-23T01:02:03.456Z",'
        b'"attempts":1,"endpoint":"xiaohongshu-pgy/note-detail/v1",'
        b'"recordTime":null,"requestId":"r","data":{"a":1}}\n'
    )


def test_attempts_count_the_one_that_was_saved() -> None:
    line = make_line(Job(1, "a", attempts=4), saved(), ENDPOINT, MOMENT)
    assert json.loads(line)["attempts"] == 5


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1795395723.0, "2026-11-23T01:02:03.000Z"),
        (1795395723.999999, "2026-11-23T01:02:03.999Z"),
    ],
)
def test_a_moment_always_has_milliseconds(moment: float, shown: str) -> None:
    assert json.loads(make_line(JOB, saved(), ENDPOINT, moment))["fetchedAt"] == shown


def test_the_raw_body_of_an_odd_answer_stands_at_the_end() -> None:
    body = b'{"code":0,"requestId":"r","data":"\xff"}'
    line = make_line(JOB, saved(b'"\xff"'), ENDPOINT, MOMENT)
    read = json.loads(line)
    assert list(read)[-2:] == ["data", "raw"]
    assert read["data"] is None
    assert read["raw"].encode("utf-8", "surrogateescape") == body


@given(TEXTS, st.integers(0, 10**6), TEXTS, MOMENTS)
def test_any_id_and_endpoint_are_read_back_from_the_head(
    note_id: str, attempts: int, endpoint: str, moment: float
) -> None:
    line = make_line(Job(1, note_id, attempts=attempts), saved(), endpoint, moment)
    found = read_head(line, 99)
    assert found is not None
    assert (found.note_id, found.attempts, found.end) == (note_id, attempts + 1, 99)
    assert found.fetched_at == pytest.approx(moment, abs=0.0011)
    assert found.of == Identity(endpoint, simulated=False)
    read = json.loads(line)
    assert list(read) == [
        "noteId", "fetchedAt", "attempts", "endpoint", "recordTime", "requestId", "data",
    ]  # fmt: skip
    assert (read["noteId"], read["endpoint"]) == (note_id, endpoint)
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"12345678901234567890",
        rb'"half \ud83d"',
        b"[\n1,\r\n\t2]",
        '"春天 🌸"'.encode(),
        b'{"b":1,"a":2,"b":3}',
    ],
)
def test_what_python_reads_in_the_line_is_what_it_reads_in_the_answer(data: bytes) -> None:
    line = make_line(JOB, saved(data), ENDPOINT, MOMENT)
    assert json.dumps(json.loads(line)["data"]) == json.dumps(json.loads(data))
    assert line.count(b"\n") == 1
    assert is_json(line)


@pytest.mark.parametrize("data", [b'{"a":1}', b'"\xff"', rb'"\ud83d"'])
@pytest.mark.parametrize("note_id", [JOB.note_id, 'a"b\\c', "春天"])
def test_every_strict_prefix_of_a_line_may_be_torn_and_is_no_line(
    note_id: str, data: bytes
) -> None:
    line = make_line(Job(1, note_id), saved(data), ENDPOINT, MOMENT)
    for length in range(len(line)):
        assert may_be_torn(line[:length])
        is_whole = read_line(line[:length]) is not None
        assert is_whole == (length == len(line) - len("\n"))


@pytest.mark.parametrize("text", [b'{"noteid":"a"', b"x", b" ", b"\n", b'{"id":1}', b"\x00\x00"])
def test_what_we_would_never_write_is_not_a_torn_line(text: bytes) -> None:
    assert not may_be_torn(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"noteId"', b'{"id"'),
        (b'"fetchedAt":"2026-', b'"fetchedAt":"26-'),
        (b".456Z", b"Z"),
        (b'"attempts":1', b'"attempts":-1'),
        (b'"attempts":1', b'"attempts":"1"'),
        (b'"endpoint"', b'"place"'),
        (b"}\n", b"\n"),
    ],
)
def test_a_line_of_another_make_is_not_ours(old: bytes, new: bytes) -> None:
    line = make_line(JOB, saved(b"1"), ENDPOINT, MOMENT)
    assert read_head(line.replace(old, new, 1), 1) is None


def test_a_line_of_the_embedded_simulator_is_told_from_a_real_one() -> None:
    body = b'{"code":0,"recordTime":"2026-11-23 01:02:03","requestId":"simulated-1","data":{}}'
    line = make_line(JOB, judge(Answer(200, body)), ENDPOINT, MOMENT)
    head = read_head(line)
    assert head is not None
    assert head.of == Identity(ENDPOINT, simulated=True)
    assert read_head(b"{}\n") is None


@pytest.mark.parametrize(
    ("data", "is_empty"),
    [("null", True), ("[ ]", True), ("{}", True), ('{"data":null}', False), ("[{}]", False)],
)
@pytest.mark.parametrize("carried", [None, '{"data":null}'])
def test_a_line_with_nothing_in_its_data_is_known_however_it_is_stored(
    data: str, carried: str | None, *, is_empty: bool
) -> None:
    judgement = judge(Answer(200, f'{{"code":0,"data":{data}}}'.encode()))
    line = make_line(replace(JOB, extra_fields=carried), judgement, ENDPOINT, MOMENT)
    for stored in (line, json.dumps(json.loads(line), sort_keys=True).encode()):
        head = read_head(stored)
        assert head is not None
        assert head.is_empty == is_empty


def test_a_line_that_keeps_the_raw_body_is_not_empty() -> None:
    judgement = judge(Answer(200, b'{"code":0,"data":NaN}'))
    line = make_line(JOB, judgement, ENDPOINT, MOMENT)
    for stored in (line, json.dumps(json.loads(line), sort_keys=True).encode()):
        head = read_head(stored)
        assert head is not None
        assert not head.is_empty


def test_the_head_is_found_even_if_the_rest_is_spoilt() -> None:
    line = make_line(JOB, saved(), ENDPOINT, MOMENT).replace(b'"data":{', b'"data":{\x00')
    of = Identity(ENDPOINT, simulated=False)
    assert read_head(line, 1) == Head(JOB.note_id, 1, MOMENT, 1, of=of)
    assert read_line(line) is None


@pytest.mark.parametrize(
    ("line", "readable"),
    [
        (b'{"a":1}\n', True),
        (b'{"a":12345678901234567890}', True),
        (rb'{"a":"\ud83d"}', True),
        (b'\xef\xbb\xbf{"a":1}', True),
        (b'{"a":NaN}', False),
        (b'["' + b"1" * 5000 + b'"]', True),
        (b"[1." + b"1" * 5000 + b"]", True),
        (b"[1e-" + b"1" * 5000 + b"]", True),
        (b"[" + b"1" * 4300 + b"]", True),
        (b'["",-' + b"1" * 4301 + b"]", False),
        (b'{"a":1', False),
        (b"", False),
        (b"\xff\xfe", False),
        (b"[" * 100_000, False),
    ],
)
def test_a_line_is_json_also_where_the_fast_reader_is_too_strict(
    line: bytes, *, readable: bool
) -> None:
    assert is_json(line) == readable


def test_that_a_long_text_is_json_is_told_without_making_anything_of_it() -> None:
    text = b'["' + b"1" * 5000 + b'"' + b",{}" * 100_000
    tracemalloc.start()
    try:
        assert is_json(text + b"]")
        assert not is_json(text)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()
