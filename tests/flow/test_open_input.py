"""Input that stays open, or is long, does not keep a run that is to end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harvester.model import Answer

from .conftest import (
    CONFIG,
    Night,
    Upstream,
    endless,
    note_ids,
    slow_file,
    trickling,
    upstream,
    without_end,
)


def refusing(code: int) -> Upstream:
    api = upstream()
    api.script = lambda _note, _nth, _now: Answer(200, b'{"code":%d}' % code)
    return api


@pytest.mark.parametrize("pages", [endless, trickling])
def test_a_pipe_that_stays_open_does_not_keep_a_run_after_its_limit(
    night: Night, pages: object
) -> None:
    night.pages = pages  # type: ignore[assignment]
    summary = night.run(note_ids(50), upstream(), replace(CONFIG, max_notes=10))
    assert (summary.exit_code, summary.done, summary.queued) == (7, 10, 40)
    assert summary.elapsed < 5


@pytest.mark.parametrize(("code", "exit_code"), [(303, 3), (601, 4), (600, 5)])
def test_a_pipe_that_stays_open_does_not_keep_a_run_after_a_stop(
    night: Night, code: int, exit_code: int
) -> None:
    night.pages = endless
    summary = night.run(note_ids(50), refusing(code))
    assert (summary.exit_code, summary.elapsed < 5) == (exit_code, True)


def test_an_iterator_without_end_is_read_on_for_a_moment_after_a_limit(night: Night) -> None:
    night.pages = without_end
    summary = night.run([], upstream(), replace(CONFIG, max_notes=10, inputs=iter(())))
    assert (summary.exit_code, summary.done) == (7, 10)
    assert 50 < summary.queued < 500


def test_a_file_is_read_to_its_end_after_a_limit(night: Night) -> None:
    night.pages = slow_file
    summary = night.run(note_ids(200), upstream(), replace(CONFIG, max_notes=10))
    assert (summary.exit_code, summary.done, summary.queued) == (7, 10, 190)


@pytest.mark.parametrize("max_notes", [None, 10])
def test_not_even_a_file_is_read_beyond_max_runtime(night: Night, max_notes: int | None) -> None:
    night.pages = slow_file
    config = replace(CONFIG, max_notes=max_notes, max_runtime=20.0)
    summary = night.run(note_ids(200), upstream(), config)
    assert summary.exit_code == 7
    assert 20 <= summary.elapsed < 21
