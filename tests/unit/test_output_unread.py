"""An answer that may be paid for and cannot be read is kept beside OUTPUT."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from harvester.disk import Disk
from harvester.errors import LocalIOError
from harvester.model import Answer, Job
from harvester.output.spool import EmergencySpool
from harvester.output.unread import make_unread
from harvester.rules.verdicts import judge
from harvester.sides import Side


def kept(body: bytes) -> dict[str, object]:
    answer = Answer(200, body)
    line = make_unread(Job(1, "a"), answer, judge(answer), 1795395723.5)
    assert line.count(b"\n") == 1
    read: dict[str, object] = json.loads(line)
    return read


def test_a_text_is_kept_as_text() -> None:
    assert kept("<p>忙\n</p>".encode()) == {
        "noteId": "a",
        "moment": "2026-11-23T01:02:03.500Z",
        "status": 200,
        "why": "unreadable answer (HTTP 200)",
        "bytes": 11,
        "text": "<p>忙\n</p>",
    }


def test_other_bytes_are_kept_as_base64() -> None:
    assert base64.b64decode(str(kept(b"\xff\x00\n")["base64"])) == b"\xff\x00\n"


def test_a_line_is_bounded_and_says_how_long_the_answer_was() -> None:
    read = kept(b"x" * (8 << 20))
    assert read["bytes"] == 8 << 20
    assert read["text"] == "x" * (256 << 10)


def test_lines_are_appended_for_their_owner_alone(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"
    EmergencySpool(output, Disk()).keep_unread([b"a\n"])
    EmergencySpool(output, Disk()).keep_unread([b"b\n", b"c\n"])
    path = Side.UNREAD.of(output)
    assert path.name == "notes.jsonl.unread.jsonl"
    assert path.read_bytes() == b"a\nb\nc\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_planted_link_is_followed(tmp_path: Path) -> None:
    output, victim = tmp_path / "notes.jsonl", tmp_path / "victim"
    victim.write_bytes(b"mine")
    Side.UNREAD.of(output).symlink_to(victim)
    with pytest.raises(LocalIOError, match="unread"):
        EmergencySpool(output, Disk()).keep_unread([b"a\n"])
    assert victim.read_bytes() == b"mine"


def test_a_planted_pipe_holds_nobody_up(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"
    os.mkfifo(Side.UNREAD.of(output))
    with pytest.raises(LocalIOError, match="unread"):
        EmergencySpool(output, Disk()).keep_unread([b"a\n"])
