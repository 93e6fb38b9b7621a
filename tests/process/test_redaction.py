"""Whatever a server says, with the token in whatever spelling: it is in nothing that is kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.api.client import Target, calling
from harvester.engine.ports import CallFinished, Notice
from harvester.model import Answer, Job, Verdict
from harvester.output.lines import is_json, make_line
from harvester.rules.retry_after import parse_retry_after
from harvester.rules.verdicts import judge
from harvester.views.log import as_json, as_text
from tests.process.hostile import Hostile, Talk, body_of, head, whole
from tests.process.tool import Tool
from tests.spelling import TOKEN, bare, holds_token, said

ID = "67f32a94000000001d02eb4a"
FIELDS = ("message", "data", "requestId", "recordTime", "code", "trace")
HEADERS = ("Location", "Retry-After", "Set-Cookie", "WWW-Authenticate", "Content-Type", "X-Note")


def as_header(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c.isascii())


@st.composite
def speeches(draw: st.DrawFn) -> bytes:
    """An answer with the token in its body, its headers, its status line, or instead of HTTP."""
    text = draw(said())
    members: dict[str, object] = {"code": draw(st.sampled_from([0, 0, 301, 303, 400, 500, "0"]))}
    for field in draw(st.lists(st.sampled_from(FIELDS), unique=True)):
        members[field] = {"title": text, text: [text]} if field == "data" else text
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-32-le"]))
    body = json.dumps(members, ensure_ascii=draw(st.booleans())).encode(encoding)
    if draw(st.booleans()):
        body = draw(st.sampled_from([b"<p>", b"", b"[", b'{"code":301,"message":"'])) + body
    headers = [
        f"{name}: {as_header(text)}"
        for name in draw(st.lists(st.sampled_from(HEADERS), unique=True))
    ]
    status = draw(st.sampled_from(["200 OK", "302 Found", "401 No", "429 Slow", "502 Bad"]))
    status += draw(st.sampled_from(["", as_header(text)]))
    wire = whole(body, *headers, status=status)
    kind = draw(st.sampled_from(["whole", "whole", "whole", "cut", "rubbish"]))
    if kind == "rubbish":
        wire = text.encode("utf-8", "replace") + b"\r\n\r\n"
    return wire[:-3] if kind == "cut" else wire


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def asked(speech: bytes) -> Answer:
    """The answer of the real client to what a real server says."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(speech)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
        async with calling(Target(url, "/api", TOKEN), 30.0) as client:
            return await client.fetch(ID)


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(speech=speeches())
def test_what_a_server_says_leaves_no_token_in_what_is_written(
    runner: asyncio.Runner, speech: bytes
) -> None:
    answer = runner.run(asked(speech))
    judged = judge(answer)
    wait = parse_retry_after(answer.retry_after, 0.0)
    call = CallFinished(ID, judged.verdict.value, judged.code, judged.reason, 1, 0.1)
    written = [
        *(as_text(event) for event in (call, Notice("breaker", judged.reason))),
        *(as_json(event).decode() for event in (call, Notice("breaker", judged.reason))),
        *(answer.detail, judged.reason, str(wait)),
    ]
    if judged.verdict is Verdict.SAVE:
        line = make_line(Job(1, ID), judged, "endpoint", 1.0)
        assert is_json(line)
        written.append(line.decode())
    assert [text for text in written if holds_token(text)] == []


# One night in which the token comes back in every way, from a server and from the network.


def spellings(dice: random.Random) -> list[str]:
    mixed = "".join(dice.choice([c, f"%{ord(c):02x}", f"%{ord(c):02X}"]) for c in TOKEN)
    return [
        TOKEN,
        TOKEN.upper(),
        quote(TOKEN, safe="").replace("-", "%2d"),
        "".join(f"%{ord(c):02X}" for c in TOKEN),
        "".join(f"\\u{ord(c):04x}" for c in TOKEN),
        "".join(f"&#{ord(c)};" for c in TOKEN),
        "\x00".join(TOKEN),
        "\u200b".join(TOKEN),
        f"\x1b[31m{TOKEN[:9]}\r\n{TOKEN[9:]}",
        mixed,
    ]


def scenes(dice: random.Random) -> list[bytes]:
    made = []
    for token in spellings(dice):
        header = as_header(token)
        error = {"code": 301, "message": f"{token} at https://h/?token={token}", "data": token}
        good = {"code": 0, "message": token, "data": {"echo": token}, "requestId": token}
        made += [
            whole(json.dumps(error).encode()),
            whole(json.dumps(error, ensure_ascii=False).encode(), f"X-Token: {header}"),
            whole(json.dumps(error).encode("utf-16"), status=f"500 {header}"),
            whole(b"", f"Location: http://127.0.0.1:9/?token={header}", status="302 Found"),
            whole(b"<p>" + token.encode(), f"Retry-After: {header}", status="502 Bad"),
            whole(json.dumps(good).encode()),
            head(f"{header}: x", "Content-Length: 99") + token.encode(),
            token.encode() + b"\r\n\r\n",
        ]
    return made


def test_a_night_in_which_everybody_says_the_token_writes_it_nowhere(tool: Tool) -> None:
    waiting = scenes(random.Random(5))

    async def behave(talk: Talk, note_id: str) -> None:
        if waiting:
            await talk.say(waiting.pop())
            talk.hang_up()
        else:
            await talk.say(whole(body_of(note_id)))

    log = tool.folder / "log.json"
    with Hostile(behave) as server:
        ended = tool.harvest(
            *(server.url, tool.notes(60), "-v", "--max-attempts", "20"),
            *("--max-unanswered", "20", "--workers", "2", "--metrics-file", "m.prom"),
            *("--log-file", log, "--log-format", "json"),
        )
    assert ended.code == 0, ended.text
    assert waiting == []
    assert len(log.read_bytes().splitlines()) > 130
    assert "\x1b" not in ended.text
    files = [path for place in (tool.folder, tool.logs) for path in place.rglob("*")]
    texts = {path: path.read_bytes().decode("latin-1") for path in files if path.is_file()}
    assert {"m.prom", "log.json", "notes.jsonl"} <= {path.name for path in texts}
    assert [path for path, text in texts.items() if TOKEN in bare(text)] == []
    assert tool.holding(TOKEN) == []
