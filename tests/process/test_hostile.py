"""A hostile or broken server costs an attempt, never the run, memory or data."""

from __future__ import annotations

import gzip
import json
import ssl
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import trustme

from tests.process.hostile import Behaviour, Hostile, Talk, body_of, head, whole
from tests.process.tool import Finished, Tool
from tests.process.warm import GROWTH

MEBI = 1 << 20
MOST_GROWTH = 100 * MEBI
FEW = ("--max-attempts", "2", "--max-unanswered", "1")
ONCE = ("--max-attempts", "1", "--max-unanswered", "0")


def says(data: bytes) -> Behaviour:
    """Says something and waits for what the client makes of it."""

    async def behave(talk: Talk, _note_id: str) -> None:
        await talk.say(data)

    return behave


def says_last(data: bytes) -> Behaviour:
    """Says something and hangs up."""

    async def behave(talk: Talk, _note_id: str) -> None:
        await talk.say(data)
        talk.hang_up()

    return behave


def resets_after(data: bytes) -> Behaviour:
    async def behave(talk: Talk, _note_id: str) -> None:
        await talk.say(data)
        talk.reset()

    return behave


def floods(first: bytes, unit: bytes) -> Behaviour:
    async def behave(talk: Talk, _note_id: str) -> None:
        await talk.say(first)
        await talk.flood(unit)

    return behave


def drips(first: bytes, unit: bytes) -> Behaviour:
    async def behave(talk: Talk, _note_id: str) -> None:
        await talk.say(first)
        await talk.drip(unit)

    return behave


def says_json(text: str) -> Behaviour:
    return says(whole(text.encode(), "Content-Type: application/json"))


def zeros_packed(mebis: int) -> bytes:
    return gzip.compress(bytes(mebis * MEBI))


@cache
def bomb() -> bytes:
    return zeros_packed(100)


def throws(packed: Callable[[], bytes], encoding: str) -> Behaviour:
    """Says what takes a while to pack, packed once it is asked for."""

    async def behave(talk: Talk, _note_id: str) -> None:
        await talk.say(whole(packed(), encoding))

    return behave


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


GZIPPED, CHUNKED = "Content-Encoding: gzip", "Transfer-Encoding: chunked"
LARGE, UNREADABLE, MALFORMED, BROKEN = (
    "answer too large",
    "unreadable answer (HTTP 200)",
    "malformed answer",
    "connection broke",
)
GOOD = body_of("0" * 24)
CUT = GOOD[:-1]
DEEP = b'{"code":0,"data":' + b"[" * (MEBI - 100)
# What the server does, and how the reason of the failure begins.
KINDS: dict[str, tuple[Behaviour, str]] = {
    # Bodies without end or measure
    "endless until closed": (floods(head(), b"x"), LARGE),
    "endless in chunks": (floods(head(CHUNKED), chunk(b"x" * 1000)), LARGE),
    "endless in tiny chunks": (floods(head(CHUNKED), chunk(b"x")), LARGE),
    "100 MB announced": (floods(head(f"Content-Length: {100 * MEBI}"), b" "), LARGE),
    "100 MB that begins well": (floods(head() + GOOD, b" "), LARGE),
    "absurd length": (says(head("Content-Length: 99999999999999999999999")), LARGE),
    "gzip bomb": (throws(bomb, GZIPPED), LARGE),
    "deflate bomb": (
        throws(lambda: zlib.compress(bytes(100 * MEBI)), "Content-Encoding: deflate"),
        LARGE,
    ),
    "nested bomb": (
        throws(lambda: gzip.compress(bomb()), "Content-Encoding: gzip, gzip"),
        LARGE,
    ),
    "nested bomb, one named": (throws(lambda: gzip.compress(bomb()), GZIPPED), LARGE),
    "endless gzip": (floods(head(GZIPPED) + zeros_packed(1)[:500], b"\0"), LARGE),
    "gzip cut off": (says(whole(gzip.compress(GOOD)[:-20], GZIPPED)), UNREADABLE),
    "gzip that is none": (says(whole(b"\x1f\x8b\x08 no", GZIPPED)), UNREADABLE),
    "unknown encoding": (says(whole(b"\x0b\x02\x80", "Content-Encoding: br")), UNREADABLE),
    "a crowd of nothings": (
        says_json('{"code":"0","data":[{}' + ",{}" * 349_000 + "]}"),
        UNREADABLE,
    ),
    "endless depth": (says(whole(DEEP)), UNREADABLE),
    # Lengths
    "length too short": (says(head("Content-Length: 9") + GOOD[:-9]), UNREADABLE),
    "length too long": (says_last(head("Content-Length: 900") + CUT), BROKEN),
    "length that is none": (says(head("Content-Length: many") + b"<p>"), UNREADABLE),
    "negative length": (says(head("Content-Length: -9") + b"<p>"), UNREADABLE),
    "two lengths": (says(head("Content-Length: 9", "Content-Length: 7") + b"<p>busy<"), UNREADABLE),
    "chunks cut off": (says_last(head(CHUNKED) + chunk(CUT)), BROKEN),
    "chunk of no size": (says(head(CHUNKED) + b"zz\r\n" + GOOD), UNREADABLE),
    "end too early": (says_last(head() + GOOD[:-9]), UNREADABLE),
    # Connections
    "reset before the head": (resets_after(b""), BROKEN),
    "reset in the head": (resets_after(b"HTTP/1.1 200 OK\r\nContent-"), BROKEN),
    "reset in the body": (resets_after(head("Content-Length: 900") + CUT), BROKEN),
    "closed before the head": (says_last(b""), BROKEN),
    # Heads
    "garbage": (says(b"\x16\x03\x01\x00\xff\xfe garbage \r\n\r\n"), MALFORMED),
    "another protocol": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), MALFORMED),
    "huge header": (floods(b"HTTP/1.1 200 OK\r\nX: ", b"x"), MALFORMED),
    "endless headers": (floods(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), MALFORMED),
    "endless status line": (floods(b"HTTP/1.1 200 ", b"OK "), MALFORMED),
    "endless trailers": (floods(head(CHUNKED) + b"0\r\n", b"X-A: b\r\n"), UNREADABLE),
    "endless continue": (floods(b"", head(status="100 Continue")), MALFORMED),
    "another protocol agreed": (
        floods(head("Connection: upgrade", "Upgrade: x", status="101 Yes"), b"x"),
        "unreadable answer (HTTP 101)",
    ),
    # Bodies that are no answer
    "nothing": (says(whole(b"")), UNREADABLE),
    "no content": (says(head(status="204 No Content")), "unreadable answer (HTTP 204)"),
    "HTML": (says(whole(b"<html>busy</html>", "Content-Type: text/html")), UNREADABLE),
    "HTML of a gateway": (says(whole(b"<html>", status="502 Bad")), "internal server error"),
    "a list": (says_json('[{"code":0}]'), UNREADABLE),
    "null": (says_json("null"), UNREADABLE),
    "text as code": (says_json('{"code":"0","data":{}}'), UNREADABLE),
    "false as code": (says_json('{"code":false,"data":{}}'), UNREADABLE),
    "a list as code": (says_json('{"code":[0],"data":{}}'), UNREADABLE),
    "no code": (says_json('{"data":{"code":0}}'), UNREADABLE),
    "unknown code": (says_json('{"code":-7,"message":"\\u001b[2J"}'), "unknown code"),
    "wrong types": (says_json('{"code":301,"message":{},"data":7}'), "collection failed"),
}
# What takes its time: each attempt lasts until the timeout, and as long as more comes after it.
SLOW: dict[str, tuple[Behaviour, str]] = {
    "never answering": (drips(b"", b""), "timeout"),
    "never ending": (drips(head("Content-Length: 900") + CUT, b""), "timeout"),
    "slow head": (drips(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "timeout"),
    "slow body": (drips(head("Content-Length: 900"), b" "), "timeout"),
    "slow chunks": (drips(head(CHUNKED), chunk(b" ")), "timeout"),
    "slow continue": (drips(b"", head(status="100 Continue")), MALFORMED),
    "large, then silent": (drips(head() + b" " * (100 << 10), b""), "timeout"),
}


class Measured:
    """The command with what its memory grows by, checked."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    def harvest(self, url: str, *args: str | Path) -> Finished:
        place = self._tool.logs / "growth"
        env = {**self._tool.env, "JUSTONEAPI_TOKEN": self._tool.token, GROWTH: str(place)}
        run = self._tool.harvest(url, *args, env=env)
        assert int(place.read_text()) << 10 < MOST_GROWTH
        return run


@pytest.fixture
def measured(tool: Tool) -> Measured:
    return Measured(tool)


@contextmanager
def mixed(kinds: dict[str, tuple[Behaviour, str]]) -> Iterator[tuple[Hostile, dict[str, str]]]:
    """A server that is good to two notes of three and has a kind for each other one."""
    ids = Tool.note_ids(3 * len(kinds))
    kind_of = dict(zip(ids[1::3], kinds, strict=True))

    async def behave(talk: Talk, note_id: str) -> None:
        if note_id in kind_of:
            await kinds[kind_of[note_id]][0](talk, note_id)
        else:
            await talk.say(whole(body_of(note_id)))

    with Hostile(behave) as server:
        yield server, kind_of


def failures(tool: Tool) -> dict[str, tuple[int, str]]:
    """Attempts and reason of each exhausted note."""
    text = tool.run("failures", tool.output, "--format", "jsonl", env=tool.env).out
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["state"] for row in rows} <= {"exhausted"}
    return {row["noteId"]: (row["attempts"], row["reason"]) for row in rows}


def check_mixed(
    tool: Tool,
    run: Finished,
    server: Hostile,
    kind_of: dict[str, str],
    kinds: dict[str, tuple[Behaviour, str]],
    most: int = 2,
) -> None:
    """Hostile notes are exhausted after so many calls, for the reason of their kind; others in.

    What is too large to be kept is called for once only.
    """
    assert run.code == 1, run.text
    found = {kind_of[note_id]: what for note_id, what in failures(tool).items()}
    reasons = {kind: reason for kind, (_, reason) in kinds.items()}
    expected = {kind: (1 if why == LARGE else most, why) for kind, why in reasons.items()}
    shown = {
        kind: (attempts, expected[kind][1] if text.startswith(expected[kind][1]) else text)
        for kind, (attempts, text) in found.items()
    }
    assert shown == expected
    ids = Tool.note_ids(3 * len(kinds))
    healthy = sorted(set(ids) - set(kind_of))
    assert sorted(tool.saved()) == healthy
    often = {note_id: expected[kind][0] for note_id, kind in kind_of.items()}
    assert dict(server.calls) == {note_id: often.get(note_id, 1) for note_id in ids}
    lines = [json.loads(line) for line in tool.output.read_bytes().splitlines()]
    assert all(line["data"] == {"noteId": line["noteId"]} for line in lines)
    assert tool.verify().code == 0
    assert tool.holding(tool.token) == []
    assert "Traceback" not in run.text
    assert "\x1b" not in run.text


def test_whatever_is_said_wrong_costs_attempts_and_nothing_else(
    tool: Tool, measured: Measured
) -> None:
    with mixed(KINDS) as (server, kind_of):
        notes, log = tool.notes(3 * len(KINDS)), tool.folder / "log.txt"
        run = measured.harvest(server.url, notes, *FEW, "--workers", "8", "-v", "--log-file", log)
    check_mixed(tool, run, server, kind_of, KINDS)


def test_whatever_is_said_too_slowly_is_cut_short_by_the_timeout(
    tool: Tool, measured: Measured
) -> None:
    with mixed(SLOW) as (server, kind_of):
        short = ("--allow-short-timeout", "--timeout", "1", "-v")
        run = measured.harvest(server.url, tool.notes(3 * len(SLOW)), *ONCE, *short)
    check_mixed(tool, run, server, kind_of, SLOW, most=1)
    assert tool.status()["unanswered"] == len(SLOW)


def in_a_row(tool: Tool, measured: Measured, server: Hostile, *args: str) -> Finished:
    """Three notes, one call at a time, with verbose output; ends with nothing of the token left."""
    run = measured.harvest(server.url, tool.notes(3), *FEW, "--workers", "1", "-v", *args)
    assert tool.holding(tool.token) == []
    return run


WRAPPED = [
    says(whole(GOOD, GZIPPED)),
    says(whole(gzip.compress(GOOD), GZIPPED)),
    says(whole(gzip.compress(GOOD), "Content-Encoding: deflate")),
    says(head(status="100 Continue") + head(status="103 Early Hints") + whole(GOOD)),
    says_last(head() + GOOD),
    says(head(CHUNKED) + b"".join(chunk(bytes([byte])) for byte in GOOD) + b"0\r\nX: y\r\n\r\n"),
    says(whole(GOOD + b"\r\n" * 100_000)),
    says(whole(GOOD, status="500 Not at all")),
    says(whole(GOOD, "X: " + "x" * 9000, *["X-A: b"] * 200, f"Content-Length: {len(GOOD)}")),
    says(head("Content-Length: many") + GOOD),
    says(head("Content-Length: 9") + GOOD),
    says(head("Content-Length: 900", "Content-Length: 7") + GOOD),
    says(head(CHUNKED, "Content-Length: 5") + GOOD),
    says(whole(GOOD, status="204 No Content").replace(b"1.1", b"1.2", 1)),
    says(head(status="304 Not Modified") + GOOD),
    resets_after(head("Content-Length: 900") + GOOD),
]


def test_a_paid_answer_is_kept_however_it_is_wrapped(tool: Tool) -> None:
    ids = tool.note_ids(3 * len(WRAPPED))

    async def behave(talk: Talk, note_id: str) -> None:
        await WRAPPED[ids.index(note_id) // 3](talk, note_id)

    with Hostile(behave) as server:
        # One call at a time, so that what is wrapped alike goes over one connection.
        run = tool.harvest(server.url, tool.notes(len(ids)), *FEW, "--workers", "1")
    assert run.code == 0, run.text
    assert sorted(tool.saved()) == sorted(server.calls) == ids
    assert server.calls.total() == len(ids)


def test_a_call_is_never_repeated_unseen_when_a_kept_connection_is_reset(
    tool: Tool, measured: Measured
) -> None:
    first, second, third = tool.note_ids(3)
    reused = []

    async def behave(talk: Talk, note_id: str) -> None:
        if note_id == second:
            reused.append(talk.requests > 1)
            talk.reset()
        else:
            await talk.say(whole(body_of(note_id)))

    with Hostile(behave) as server:
        run = in_a_row(tool, measured, server)
    assert run.code == 1, run.text
    assert any(reused)
    assert dict(server.calls) == {first: 1, second: 2, third: 1}
    assert tool.saved() == [first, third]
    assert tool.status()["unanswered"] == 2


@pytest.mark.parametrize("is_endless", [False, True])
def test_what_is_said_between_two_calls_is_never_taken_for_an_answer(
    tool: Tool, measured: Measured, *, is_endless: bool
) -> None:
    first, second, third = tool.note_ids(3)
    unasked = whole(body_of("another note"))

    async def behave(talk: Talk, note_id: str) -> None:
        await talk.say(whole(body_of(note_id)))
        if note_id == first:
            while not tool.saved():
                await talk.gone(0.01)
            await (talk.flood(unasked) if is_endless else talk.say(unasked))

    with Hostile(behave) as server:
        # Slow enough for the server to put in its word before the next call.
        run = in_a_row(tool, measured, server, "--rate", "2/s")
    assert run.code == 0, run.text
    assert "another note" not in tool.output.read_text()
    assert sorted(tool.saved()) == [first, second, third]
    assert server.calls.total() == 3


def test_a_server_that_never_answers_well_ends_the_run_as_out_of_reach(
    tool: Tool, measured: Measured
) -> None:
    with Hostile(resets_after(b"HTTP/1.1 2")) as server:
        run = in_a_row(tool, measured, server)
    assert run.code == 6, run.text
    assert "0 done" in run.closing_line
    assert "Connection reset" in run.closing_line
    assert server.calls.total() == 6
    status = tool.status()
    assert (status["exhausted"], status["unanswered"]) == (3, 6)


def test_a_redirect_carries_the_token_nowhere(tool: Tool, measured: Measured) -> None:
    statuses = ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
    with Hostile() as other:
        places = [f"{other.url}/?token={tool.token}", f"//127.0.0.1:{other.port}/", "/elsewhere"]
        answers = [whole(b"", f"Location: {p}", status=s) for s in statuses for p in places]
        answers.append(whole(b"", f"Refresh: 0; url={other.url}"))
        kinds = {
            f"{n}": (says(answer), f"unreadable answer (HTTP {answer.split()[1].decode()})")
            for n, answer in enumerate(answers)
        }
        with mixed(kinds) as (server, kind_of):
            # In a row, so that one of another kind comes first.
            few = (*FEW, "--workers", "1", "-v")
            run = measured.harvest(server.url, tool.notes(3 * len(kinds)), *few)
        check_mixed(tool, run, server, kind_of, kinds)
        assert other.connections == 0


def test_tls_with_a_server_that_speaks_none_sends_nothing(tool: Tool, measured: Measured) -> None:
    with Hostile() as server:
        server.scheme = "https"
        run = in_a_row(tool, measured, server)
    check_untrusted(tool, run, server, "TLS failed")


def test_a_certificate_nobody_vouches_for_is_sent_no_token(tool: Tool, measured: Measured) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Hostile(context=context) as server:
        server.scheme = "https"
        run = in_a_row(tool, measured, server)
    check_untrusted(tool, run, server, "SSL_CERT_FILE")
    assert "Install Certificates.command" in run.closing_line


def check_untrusted(tool: Tool, run: Finished, server: Hostile, reason: str) -> None:
    assert run.code == 6, run.text
    assert reason in run.closing_line
    assert server.calls.total() == 0
    assert {attempts for attempts, _ in failures(tool).values()} == {2}
    assert tool.status()["unanswered"] == 0


CROWD = {
    "endless bodies": floods(head(), b"x" * 1000),
    "large and silent": says(head() + b"x" * (1 << 20)),
    "endless answers": floods(b"", head(status="100 Continue")),
    "bombs": throws(bomb, GZIPPED),
}


@pytest.mark.parametrize(
    ("kind", "many"),
    [("endless bodies", 16), ("large and silent", 160), ("endless answers", 40), ("bombs", 16)],
)
def test_a_crowd_of_hostile_answers_at_once_does_not_fill_memory(
    tool: Tool, measured: Measured, kind: str, many: int
) -> None:
    ids = tool.note_ids(many)

    async def behave(talk: Talk, note_id: str) -> None:
        if ids.index(note_id) % 4:
            await CROWD[kind](talk, note_id)
        else:
            await talk.say(whole(body_of(note_id)))

    # Who is silent is waited for, but not for too short a time: the good ones come among them.
    short = ("--allow-short-timeout", "--timeout", "5") if "silent" in kind else ()
    with Hostile(behave) as server:
        run = measured.harvest(server.url, tool.notes(many), *ONCE, *short)
    assert run.code == 1, run.text
    assert sorted(tool.saved()) == ids[::4]
    assert server.calls.total() == many
