"""What happens in a run, a line at a time, with no control character in it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.engine.ports import CallFinished, Event, Notice
from harvester.errors import LocalIOError
from harvester.plain import has_unprintable
from harvester.views.log import as_json, as_text, notices_to, open_log, writer

ID = "67f32a94000000001d02eb4a"
CALL = CallFinished(ID, "retry", 301, "collection failed", 2, 0.25)
TEXTS = st.text(st.characters())
CODES = st.none() | st.integers(-(2**31), 2**31)
EVENTS: st.SearchStrategy[Event] = st.builds(
    CallFinished, st.just(ID), st.just("retry"), CODES, TEXTS, st.integers(1, 99), st.floats(0, 90)
) | st.builds(Notice, st.just("probe"), TEXTS)


def test_a_call_is_one_line_for_people() -> None:
    assert as_text(CALL) == f"{ID} retry code=301 attempt=2 0.250 s collection failed"
    timeout = CallFinished(ID, "retry", None, "timeout", 1, 90.0)
    assert as_text(timeout) == f"{ID} retry code=- attempt=1 90.000 s timeout"
    assert as_text(Notice("probe", "upstream is failing")) == "probe: upstream is failing"


def test_a_call_is_one_json_object_with_fixed_names() -> None:
    read = json.loads(as_json(CALL))
    assert list(read) == [
        "at", "event", "noteId", "verdict", "code", "reason", "attempt", "elapsed",
    ]  # fmt: skip
    assert (read["event"], read["noteId"], read["code"]) == ("call", ID, 301)
    assert list(json.loads(as_json(Notice("cut", "x")))) == ["at", "event", "text"]


@given(EVENTS)
def test_whatever_the_server_says_stays_one_plain_line(event: Event) -> None:
    written = as_json(event).decode()
    assert isinstance(json.loads(written), dict)
    assert not has_unprintable(written)
    assert not has_unprintable(as_text(event))


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_holds_calls_only_where_they_are_wanted(form: str) -> None:
    quiet, full = io.StringIO(), io.StringIO()
    for event in (CALL, Notice("cut", "x")):
        writer(quiet, form, calls=False)(event)
        writer(full, form, calls=True)(event)
    assert [len(s.getvalue().splitlines()) for s in (quiet, full)] == [1, 2]
    assert ID not in quiet.getvalue()


def test_people_are_told_what_is_notable_only() -> None:
    stream = io.StringIO()
    tell = notices_to(stream)
    tell(CALL)
    tell(Notice("cut", "12 bytes"))
    assert stream.getvalue() == "harvester: cut: 12 bytes\n"


def test_a_log_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for line in ("春\n", "b\n"):
        with open_log(path) as log:
            log.write(line)
    assert path.read_text(encoding="utf-8") == "春\nb\n"


def test_a_log_file_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalIOError, match=r"--log-file .*: Is a directory"):
        open_log(tmp_path)
