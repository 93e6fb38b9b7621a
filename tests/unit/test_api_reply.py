"""Answers as servers send them, right or wrong: what can be read is read."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from harvester.api.reply import MOST_BYTES, Reply

GOOD = b'{"code":0,"data":{"noteId":"1"}}'
SIZE = b"Content-Length: %d\r\n" % len(GOOD)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"10\r\n" + GOOD[:16] + b"\r\n10;x=y\r\n" + GOOD[16:] + b"\r\n0\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def read(wire: bytes, step: int = 1 << 30) -> Reply:
    """Read an answer that comes in steps of so many bytes."""
    reply = Reply()
    for at in range(0, len(wire), step):
        if reply.is_over:
            break
        reply.feed(wire[at : at + step])
    return reply


WHOLE = {
    "plain": OK + SIZE + b"\r\n" + GOOD,
    "chunked": OK + CHUNKED + b"\r\n" + CHUNKS + b"\r\n",
    "chunked, with trailers": OK + CHUNKED + b"\r\n" + CHUNKS + b"X: y\r\nZ: z\r\n\r\n",
    "a header of 60 KB": OK + b"X: " + b"x" * 60_000 + b"\r\n" + SIZE + b"\r\n" + GOOD,
    "a thousand headers": OK + b"X-A: b\r\n" * 1000 + SIZE + b"\r\n" + GOOD,
    "its length twice": OK + SIZE + SIZE + b"\r\n" + GOOD,
    "its length twice in one": OK + SIZE[:-2] + b", %d\r\n\r\n" % len(GOOD) + GOOD,
    "length beside chunks": OK + SIZE + CHUNKED + b"\r\n" + CHUNKS + b"\r\n",
    "a header's name in Chinese": OK + "笔记: 1\r\n".encode() + SIZE + b"\r\n" + GOOD,
    "a header without a name": OK + b": x\r\nno colon\r\n" + SIZE + b"\r\n" + GOOD,
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + SIZE + b"\r\n" + GOOD,
    "HTTP/3": b"http/3 200\r\n" + SIZE + b"\r\n" + GOOD,
    "no reason": b"HTTP/1.1 200\r\n" + SIZE + b"\r\n" + GOOD,
    "line feeds alone": (OK + SIZE + b"\r\n").replace(b"\r", b"") + GOOD,
    "blank lines before": b"\r\n\r\n" + OK + SIZE + b"\r\n" + GOOD,
    "hints before": b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * 3 + OK + SIZE + b"\r\n" + GOOD,
    "204 with a length": b"HTTP/1.1 204 No\r\n" + SIZE + b"\r\n" + GOOD,
    "304 in chunks": b"HTTP/1.1 304 No\r\n" + CHUNKED + b"\r\n" + CHUNKS + b"\r\n",
}
# How many bytes come at a time.
STEPS = (1 << 30, 7, 1)
# All has come, though the framing does not say so.
ENOUGH = {
    "lengths that contradict each other": OK + SIZE + b"Content-Length: 999\r\n\r\n" + GOOD,
    "a length of words": OK + b"Content-Length: long\r\n\r\n" + GOOD,
    "a length below zero": OK + b"Content-Length: -1\r\n\r\n" + GOOD,
    "only claims to be in chunks": OK + CHUNKED + b"\r\n" + GOOD,
    "claims to be in chunks, with a length": OK + SIZE + CHUNKED + b"\r\n" + GOOD,
    "chunks without trailers' end": OK + CHUNKED + b"\r\n" + CHUNKS,
    "204 with a body": b"HTTP/1.1 204 No\r\n\r\n" + GOOD,
    "304 with a body": b"HTTP/1.1 304 No\r\n\r\n" + GOOD,
}


@pytest.mark.parametrize("kind", WHOLE)
def test_an_answer_is_read_whole_however_it_is_framed(kind: str) -> None:
    for step in STEPS:
        reply = read(WHOLE[kind], step)
        assert (reply.is_over, reply.is_whole, reply.is_malformed) == (True, True, False), step
        assert reply.body() == GOOD
        assert reply.status in (200, 204, 304)


def test_no_length_at_all_takes_nothing_from_an_answer_that_is_there() -> None:
    reply = read(OK + b"Content-Length: 0\r\n\r\n" + GOOD)
    assert (reply.is_over, reply.is_enough) == (False, True)
    reply.end(broken=False)
    assert (reply.is_whole, reply.is_clean, reply.body()) == (True, False, GOOD)
    # Another answer, which nobody asked for, is none.
    reply = read(OK + b"Content-Length: 0\r\n\r\n" + OK + SIZE + b"\r\n" + GOOD)
    assert (reply.is_whole, reply.is_clean, reply.body()) == (True, False, b"")


@pytest.mark.parametrize("kind", ENOUGH)
def test_an_answer_whose_framing_is_wrong_is_taken_when_nothing_more_comes(kind: str) -> None:
    for step in STEPS:
        reply = read(ENOUGH[kind], step)
        assert (reply.is_over, reply.is_enough) == (False, True), step
        reply.end(broken=True)
        assert (reply.is_whole, reply.is_clean) == (True, False)
        assert reply.body() == GOOD


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    for is_broken in (False, True):
        reply = read(OK + b"\r\n" + GOOD)
        assert not reply.is_over
        reply.end(broken=is_broken)
        assert reply.is_whole is not is_broken
        assert reply.body() == GOOD


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x03\x01\x00", b"{}", b"HTTPS/1.1 200\r\n\r\n"]
)
def test_what_is_no_http_is_kept_as_it_came(garbage: bytes) -> None:
    reply = read(garbage)
    assert (reply.is_over, reply.is_malformed, reply.is_clean) == (True, True, False)
    assert reply.body() == garbage
    assert reply.status == 0


def test_a_cut_answer_is_not_whole_but_keeps_what_came() -> None:
    reply = read(OK + b"Content-Length: 900\r\n\r\n" + GOOD)
    reply.end(broken=False)
    assert (reply.is_whole, reply.body()) == (False, GOOD)
    reply = read(OK + CHUNKED + b"\r\n" + CHUNKS[:30])
    reply.end(broken=False)
    assert not reply.is_whole
    assert GOOD.startswith(reply.body())


@pytest.mark.parametrize(
    ("wire", "is_clean"),
    [
        (WHOLE["plain"], True),
        (WHOLE["chunked"], True),
        (WHOLE["hints before"], True),
        (OK + b"Connection: close\r\n" + SIZE + b"\r\n" + GOOD, False),
        (b"HTTP/1.0 200 OK\r\n" + SIZE + b"\r\n" + GOOD, False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + SIZE + b"\r\n" + GOOD, True),
        (WHOLE["plain"] + b"more", False),
        (WHOLE["chunked"] + b"more", False),
        (WHOLE["length beside chunks"], False),
    ],
)
def test_a_connection_is_used_again_only_where_the_answer_ended_beyond_doubt(
    wire: bytes, *, is_clean: bool
) -> None:
    assert read(wire).is_clean is is_clean


def test_an_answer_of_32_mebibytes_is_kept_and_a_longer_one_is_not() -> None:
    body = b"x" * MOST_BYTES
    for more in (b"", b"x"):
        wire = OK + b"Content-Length: %d\r\n\r\n" % len(body + more) + body + more
        reply = read(wire, 1 << 20)
        assert (reply.is_whole, reply.is_too_long) == (not more, bool(more))
    reply = read(OK + b"\r\n" + body, 1 << 20)
    assert not reply.is_over
    reply.feed(b"x")
    assert (reply.is_over, reply.is_too_long) == (True, True)


@pytest.mark.parametrize(
    ("first", "unit"),
    [
        (OK, b"X-A: b\r\n"),
        (OK + b"X: ", b"x"),
        (b"HTTP/1.1 200 ", b"OK "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + CHUNKED + b"\r\n0\r\n", b"X-A: b\r\n"),
        (OK + CHUNKED + b"\r\n1;", b"x"),
        (OK + CHUNKED + b"\r\n", b"\r\n"),
        (OK + CHUNKED + b"\r\n", b"1\r\nx\r\n"),
    ],
)
def test_endless_framing_ends_and_costs_what_its_length_explains(first: bytes, unit: bytes) -> None:
    piece = unit * (65536 // len(unit))
    reply = Reply()
    reply.feed(first)
    began, fed = time.process_time(), 0
    while not reply.is_over and fed < 4 << 20:
        reply.feed(piece)
        fed += len(piece)
    assert reply.size < 5 << 20
    assert time.process_time() - began < 5


def test_an_answer_is_out_of_memory_as_soon_as_nobody_holds_it() -> None:
    wires = (*WHOLE.values(), OK + b"\r\n" + GOOD)
    gc.disable()
    try:
        held = [weakref.ref(read(wire)) for wire in wires]
        assert not [reply for reply in held if reply() is not None]
    finally:
        gc.enable()
