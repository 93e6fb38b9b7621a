"""The envelope: `data` is kept value for value, and a paid answer is never thrown away."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.rules.envelope import Envelope, read_envelope

# Any text at all, lone surrogates too: the vendor cuts titles through the middle of an emoji.
TEXTS = st.text(st.characters(), max_size=12)
NUMBERS = st.integers() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False)
FINITE = NUMBERS.filter(lambda number: number not in (float("inf"), float("-inf")))
VALUES = st.recursive(
    st.none() | st.booleans() | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
LAYOUTS = st.sampled_from([{}, {"indent": 1}, {"indent": "\t"}, {"separators": (",", ":")}])


def body_of(members: dict[str, object], layout: dict[str, object], *, ascii_only: bool) -> bytes:
    """A body as a server may write it: a lone surrogate has no UTF-8, so it stays an escape."""
    text = json.dumps(members, ensure_ascii=ascii_only, **layout)  # type: ignore[arg-type]
    return text.encode("utf-8", "backslashreplace")


def same(one: object, other: object) -> bool:
    """Equal in every value, type and order, as the text Python would write for it tells."""
    return json.dumps(one) == json.dumps(other)


def one_line(envelope: Envelope) -> bool:
    parts = (envelope.data, envelope.raw, envelope.record_time, envelope.request_id)
    return not any(b"\n" in part or b"\r" in part for part in parts if part)


@given(data=VALUES, record_time=VALUES, request_id=VALUES, layout=LAYOUTS, ascii_only=st.booleans())
def test_data_is_kept_value_for_value_and_in_order(
    data: object,
    record_time: object,
    request_id: object,
    layout: dict[str, object],
    *,
    ascii_only: bool,
) -> None:
    members = {"code": 0, "recordTime": record_time, "data": data, "requestId": request_id}
    body = body_of(members, layout, ascii_only=ascii_only)
    envelope = read_envelope(body)
    assert envelope.code == 0
    assert envelope.raw is None
    assert envelope.data is not None
    read = json.loads(body)
    assert same(json.loads(envelope.data), read["data"])
    assert same(json.loads(envelope.record_time), read["recordTime"])
    assert same(json.loads(envelope.request_id), read["requestId"])
    assert one_line(envelope)


@pytest.mark.parametrize(
    "data",
    [
        "12345678901234567890",
        "-9223372036854775809",
        "18446744073709551616",
        "1234567890123456789012345678901234567890",
        "1e999",
        "-1e999",
        "1e-400",
        "0.1234567890123456789",
        "1E5",
        "-0.0",
        r'"\ud83d"',
        r'"\udc00\ud83d"',
        r'"\ud83d\ude00"',
        r'"\/\b\f\n\r\t\"\\"',
        r'"\u2028\u0000\u007f"',
        '"\u2028\u0085\x7f"',
        '{"a":1,"a":2}',
        '{"a":12345678901234567890,"a":2,"b":[],"a":3}',
        r'{"\ud800":{"code":1,"data":2}}',
        "[\r\n\t 1 ,\n\n2 ]",
        '"}{][,:"',
        r'["\\\"",12345678901234567890]',
    ],
)
def test_odd_but_valid_data_reads_the_same_as_in_the_body(data: str) -> None:
    body = f'{{"code":0,"data":{data}}}'.encode()
    envelope = read_envelope(body)
    assert envelope.code == 0
    assert envelope.raw is None
    assert envelope.data is not None
    assert same(json.loads(envelope.data), json.loads(body)["data"])
    assert one_line(envelope)


@pytest.mark.parametrize("oddity", ["12345678901234567890", r'"\ud83d"', "NaN"])
def test_the_later_of_two_members_wins_as_in_pythons_reader(oddity: str) -> None:
    body = f'{{"code":301,"data":[1],"x":{oddity},"data":[2],"code":0}}'.encode()
    envelope = read_envelope(body)
    assert (envelope.code, envelope.data) == (0, b"[2]")


def test_a_byte_order_mark_does_not_hide_a_paid_answer() -> None:
    envelope = read_envelope(b'\xef\xbb\xbf{"code":0,"data":[1]}')
    assert (envelope.code, envelope.data, envelope.raw) == (0, b"[1]", None)


def test_a_missing_data_is_null() -> None:
    assert read_envelope(b'{"code":0}').data == b"null"
    assert read_envelope(b'{"code":0,"x":NaN}').data == b"null"


@pytest.mark.parametrize(
    "data",
    [
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b'"\xff"',
        b'{"\xc3\x28":1}',
        b'"\x01"',
        b'"a\nb"',
        b"",
        b"[1,]",
        b"{'a':1}",
        b"01",
        b"\xff",
        b"1" * 5000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_data_that_is_no_json_text_keeps_the_raw_body(data: bytes) -> None:
    body = b'{"code":0,"message":"ok","data":' + data + b',"requestId":"r"}'
    envelope = read_envelope(body)
    assert envelope.code == 0
    assert envelope.data is None
    assert envelope.raw is not None
    assert json.loads(envelope.raw).encode("utf-8", "surrogateescape") == body
    assert one_line(envelope)


def test_oddities_beside_data_leave_data_as_it_is() -> None:
    envelope = read_envelope(b'{"code":0,"message":"\xff","requestId":NaN,"data":{"a":1}}')
    assert envelope == Envelope(0, "", b"null", b"null", b'{"a":1}')


def test_a_depth_that_no_reader_takes_behind_the_data_does_not_matter() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    body = b'{"code":0,"data":{"a":1},"extra":' + deep + b"}"
    assert read_envelope(body) == Envelope(0, data=b'{"a":1}')


def test_a_depth_that_is_never_closed_is_unreadable() -> None:
    assert read_envelope(b'{"code":0,"data":' + b"[" * 100_000) == Envelope()


def test_data_of_an_unpaid_answer_is_not_kept() -> None:
    assert read_envelope(b'{"code":301,"message":"m","data":{"a":1}}').data == b"null"


@given(st.binary())
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    assert one_line(read_envelope(body))


@given(st.binary(), st.binary(max_size=4))
def test_any_bytes_in_the_place_of_data_are_read_without_an_error(data: bytes, end: bytes) -> None:
    assert one_line(read_envelope(b'{"code":0,"data":' + data + b"}" + end))


@pytest.mark.parametrize("depth", [254, 255, 600, 1023, 1024])
def test_deep_data_is_kept_one_way_or_the_other(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    envelope = read_envelope(b'{"code":0,"data":' + nested + b"}")
    assert envelope.code == 0
    assert envelope.data == nested or envelope.raw is not None


@pytest.mark.parametrize(
    "body",
    [b'{"code":0,data:{"a":1}}', b'{"code":0,}', b'{"code":0,"data":[1}}'],
)
def test_an_answer_in_rubble_is_kept_whole(body: bytes) -> None:
    envelope = read_envelope(body)
    assert (envelope.code, envelope.data) == (0, None)
    assert json.loads(envelope.raw or b"") == body.decode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_an_answer_in_another_encoding_is_read(encoding: str) -> None:
    body = json.dumps({"code": 0, "data": {"title": "上海"}}, ensure_ascii=False).encode(encoding)
    assert json.loads(read_envelope(body).data or b"") == {"title": "上海"}


def test_raw_surrogates_become_escapes() -> None:
    envelope = read_envelope(b'{"code":0,"data":"\xed\xa0\x80"}')
    assert envelope.data == b'"\\ud800"'


@pytest.mark.parametrize(
    "wrapped", [b"callback(%b)", b"/**/ a.b_$1[0] ( %b ) ;\n", b" cb(%b);", b"\xef\xbb\xbfcb(%b)"]
)
def test_an_answer_in_the_call_of_a_function_is_read(wrapped: bytes) -> None:
    body = wrapped % b'{"code":0,"data":{"a":")"}}'
    assert read_envelope(body) == Envelope(0, data=b'{"a":")"}')


def test_half_an_emoji_is_kept_also_where_every_stand_in_is_there_already() -> None:
    units = [rf"\\u{digit}abc" for digit in "EeFfBbAaCc123456789"]
    for data in (r'"\ud83d \\ud \uD83D"', '"' + "".join(units) + r' \uD83d \ud83d"'):
        envelope = read_envelope(f'{{"code":0,"data":{data}}}'.encode())
        assert envelope.data == data.encode()


def test_a_number_that_python_cannot_read_is_kept_as_raw_but_not_the_same_in_a_string() -> None:
    for many in (4301, 5000, 9000):
        digits = b"1" * many
        for before in (0, 1, 2150, 4300, 6000):
            blank = b" " * before
            envelope = read_envelope(b'{"code":0,"data":[' + blank + digits + b"]}")
            assert (envelope.code, envelope.data) == (0, None)
            envelope = read_envelope(b'{"code":0,"data":["' + blank + digits + b'"]}')
            assert envelope.data == b'["' + blank + digits + b'"]'


@pytest.mark.parametrize("unit", [b'"\\', b'",', b'"a":', b"[", b'{"a":', b"NaN,", b"\xff", b"a("])
@pytest.mark.parametrize("begin", [b"{", b'{"code":0,"data":', b'{"code":0,"data":"', b"a("])
def test_what_no_reader_takes_is_given_up_in_time_that_grows_with_its_length(
    begin: bytes, unit: bytes
) -> None:
    def spent(many: int) -> float:
        body = begin + unit * many
        times = []
        for _ in range(3):
            began = time.process_time()
            read_envelope(body)
            times.append(time.process_time() - began)
        return min(times)

    # Sixteen times the length: a reader that goes over it again and again takes 256 times as long.
    assert spent(16 * 8_000) < 100 * max(spent(8_000), 0.0005)
