"""What happens in a run, a line at a time, with no control character in it."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import resource
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.engine.ports import (
    CallFinished,
    Event,
    LineLeftOut,
    Notice,
    RunBegan,
    RunEnded,
    Stopping,
)
from harvester.errors import LocalIOError
from harvester.json_text import camel
from harvester.model import BadLine, Summary
from harvester.observe.log import (
    EventFormatter,
    StderrHandler,
    as_json,
    as_text,
    event_of,
    log_to,
    record_of,
)
from harvester.observe.log_file import LogFile, open_log
from harvester.sanitize import has_unprintable

ID = "67f32a94000000001d02eb4a"
CALL = CallFinished(ID, "retry", 301, "collection failed", 2, 0.25)
BEGAN = RunBegan(
    "/data/notes.jsonl", "x/note-detail/v1", simulated=False, done=1, queued=2, failed=0
)
STOPPING = Stopping("quota", "daily quota exceeded", 3)
SUMMARY = Summary(
    "quota", 3, done=5, queued=7, failed=1, charged=4, unanswered=1, calls=9,
    by_code={"0": 4, "303": 5}, saved=4, rejected=1, elapsed=2.5,
)  # fmt: skip
ENDED = RunEnded(SUMMARY)
BAD = LineLeftOut(BadLine("ids.txt", 7, "no note", "x\x1by"))
EVERY = (BEGAN, CALL, Notice("cut", "x"), STOPPING, ENDED, BAD)
TEXTS = st.text(st.characters())
CODES = st.none() | st.integers(-(2**31), 2**31)
COUNTS = st.integers(0, 10**9)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        *(CallFinished, TEXTS, st.just("retry"), CODES, TEXTS, st.integers(1, 99)),
        *(st.floats(0, 90), st.booleans(), st.booleans()),
    ),
    st.builds(Notice, st.just("probe"), TEXTS),
    st.builds(RunBegan, TEXTS, TEXTS, st.booleans(), COUNTS, COUNTS, COUNTS),
    st.builds(Stopping, st.just("quota"), TEXTS, COUNTS),
    st.builds(
        lambda detail: RunEnded(Summary("quota", 3, 1, 1, 1, 1, 1, 1, {"0": 1}, detail=detail)),
        TEXTS,
    ),
)


def test_each_event_is_one_line_for_people() -> None:
    assert [as_text(event) for event in EVERY] == [
        "begin: /data/notes.jsonl x/note-detail/v1 done=1 queued=2 failed=0",
        f"{ID} retry code=301 attempt=2 0.250 s collection failed",
        "cut: x",
        "stopping: quota: daily quota exceeded in_flight=3",
        (
            "end: quota exit=3 done=5 queued=7 failed=1 saved=4 charged=4 unanswered=1 closed=0 "
            "calls=9 bad_lines=0 2.500 s by code 0: 4, 303: 5"
        ),
        r"left out: ids.txt:7: no note: x\x1by",
    ]


def test_a_call_without_an_answer_says_that_it_may_have_been_charged() -> None:
    timeout = CallFinished(ID, "retry", None, "timeout", 1, 90.0, unanswered=True)
    assert as_text(timeout) == f"{ID} retry code=- attempt=1 90.000 s unanswered timeout"


def test_each_event_is_one_json_object_with_fixed_names() -> None:
    common = ["at", "run", "event"]
    names = {
        "begin": ["output", "endpoint", "simulated", "done", "queued", "failed"],
        "call": ["noteId", "verdict", "code", "reason", "attempt", "elapsed", "charged"],
        "notice": ["kind", "text"],
        "stopping": ["reason", "detail", "inFlight"],
        "end": [camel(name) for name in Summary.__struct_fields__ if name != "spending"],
        "left out": ["file", "line", "reason", "text"],
    }
    names["call"].append("unanswered")
    names["end"].append("account")
    read = [json.loads(as_json(event, "5f", 0.0)) for event in EVERY]
    assert {line["event"]: list(line) for line in read} == {
        event: common + fields for event, fields in names.items()
    }
    assert {(line["at"], line["run"]) for line in read} == {("1970-01-01T00:00:00.000Z", "5f")}
    assert (read[1]["noteId"], read[1]["code"], read[4]["exitCode"]) == (ID, 301, 3)


@given(EVENTS)
def test_whatever_the_server_says_stays_one_plain_line(event: Event) -> None:
    written = as_json(event, "", 0.0).decode()
    assert isinstance(json.loads(written), dict)
    assert not has_unprintable(written)
    assert not has_unprintable(as_text(event))


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_hold_calls_only_where_they_are_wanted(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    handler = StderrHandler()
    handler.setFormatter(EventFormatter(form))
    for level, many in ((logging.DEBUG, 2), (logging.INFO, 1)):
        handler.setLevel(level)
        tell = log_to([handler])
        tell(CALL)
        tell(Notice("cut", "x"))
        shown = capsys.readouterr().err
        assert (len(shown.splitlines()), ID in shown) == (many, many == 2)


def test_people_are_told_what_is_notable_only(capsys: pytest.CaptureFixture[str]) -> None:
    handler = StderrHandler(logging.WARNING)
    handler.setFormatter(EventFormatter("notice"))
    tell = log_to([handler])
    for event in EVERY:
        tell(event)
    assert capsys.readouterr().err == "harvester: cut: x\n"


def test_lines_that_nobody_reads_any_more_end_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    handler = StderrHandler()
    handler.setFormatter(EventFormatter("text"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        log_to([handler])(Notice("cut", "x"))
    with suppress(BrokenPipeError):
        stream.close()


# The log file


class Lines(logging.Formatter):
    """Text as it is, and events as lines."""

    def format(self, record: logging.LogRecord) -> str:
        return record.msg if isinstance(record.msg, str) else as_text(event_of(record))


def silent(text: str) -> None:
    pytest.fail(text)


def say(log: logging.Handler, text: str) -> None:
    """Have a line written as it is."""
    record = record_of(Notice("", ""))
    record.msg = text
    log.handle(record)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files grow to `size` bytes and no more, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_log_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for line in ("春", "b"):
        with closing(LogFile(path, silent)) as log:
            say(log, line)
    assert path.read_text(encoding="utf-8") == "春\nb\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_line_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(LogFile(path, silent)) as log:
        for many in range(1, 4):
            say(log, "line")
            assert path.read_text() == "line\n" * many


def test_a_log_file_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    with (
        pytest.raises(LocalIOError, match=r"--log-file .*: Is a directory"),
        open_log(tmp_path, silent, EventFormatter("text")),
    ):
        pass


def test_a_full_disk_costs_lines_not_the_run_and_is_told_once(tmp_path: Path) -> None:
    path, told = tmp_path / "log", list[str]()
    with closing(LogFile(path, told.append)) as log:
        say(log, "whole")
        with room_for(10):
            for _ in range(3):
                say(log, "torn line")
        say(log, "whole again")
    assert path.read_text() == "whole\ntorn\nwhole again\n"
    assert len(told) == 1
    assert "--log-file" in told[0]
    assert "run goes on" in told[0]


def test_a_line_that_an_earlier_run_left_torn_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("torn")
    with closing(LogFile(path, silent)) as log:
        say(log, "whole")
    assert path.read_text() == "torn\nwhole\n"


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    with closing(LogFile(path, silent)) as log:
        say(log, "a")
        path.rename(moved)
        say(log, "b")
        path.unlink()
        path.touch()
        say(log, "c")
    assert (moved.read_text(), path.read_text()) == ("a\n", "c\n")


def test_a_log_that_was_copied_and_truncated_goes_on_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(LogFile(path, silent)) as log:
        say(log, "a")
        os.truncate(path, 0)
        say(log, "b")
    assert path.read_bytes() == b"b\n"


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    folder, told = tmp_path / "logs", list[str]()
    folder.mkdir()
    with closing(LogFile(folder / "log", told.append)) as log:
        (folder / "log").unlink()
        folder.rmdir()
        say(log, "lost")
        folder.mkdir()
        say(log, "kept")
    assert (folder / "log").read_text() == "kept\n"
    assert len(told) == 1
    assert os.strerror(errno.ENOENT) in told[0]


def test_a_disk_that_hangs_holds_nobody_up_and_the_lines_left_out_are_counted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open_log(path, silent, Lines()) as log:
        for number in range(20_000):
            say(log, f"{number:0>100}")
        os.set_blocking(reader, True)
        with os.fdopen(reader) as stream:
            place = gaps = 0
            while place < 20_000:
                line = next(stream)
                gap = re.search(r"left out: (\d+) lines", line)
                if gap is None:
                    assert line == f"{place:0>100}\n"
                place += int(gap[1]) if gap else 1
                gaps += bool(gap)
    assert place == 20_000
    assert gaps
