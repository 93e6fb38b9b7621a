"""What `merge` takes and leaves out: the newest line of each note, and nothing that is not ours."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.errors import LocalIOError, UsageError
from harvester.ledger.latest_lines import latest_line_index
from harvester.model import Job, Judgement, Verdict
from harvester.output import lines as lines_module
from harvester.output import merge as module
from harvester.output.lines import make_line
from harvester.output.merge import Merge, Merged, check_place, parts_of
from harvester.results import result_into

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
NOW = 1795395723.456
SIMULATED = b'"simulated-7"'


def line(
    number: int,
    at: float = 0,
    *,
    text: str = "",
    endpoint: str = ENDPOINT,
    request: bytes = b"null",
    note_id: str | None = None,
) -> bytes:
    name = f"{0x67000000 + number:024x}" if note_id is None else note_id
    data = b'{"text":"' + (text or "x" * number).encode() + b'"}'
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=data, request_id=request)
    return make_line(Job(number, name, 0, 0), judgement, endpoint, NOW + at)


class Folder:
    """Parts written and merged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: list[tuple[Path, int]] = []

    def part(self, name: str, *lines: bytes) -> Path:
        path = self.path / name
        path.write_bytes(b"".join(lines))
        return path

    def merge(self, paths: Sequence[Path]) -> tuple[bytes, Merged]:
        target = io.BytesIO()
        with latest_line_index() as newest:
            work = Merge(parts_of(paths), newest, lambda *told: self.torn.append(told))
            work.read()
            merged = work.copy(target)
        return target.getvalue(), merged

    def refused(self, *paths: Path) -> str:
        with pytest.raises(UsageError) as caught:
            self.merge(paths)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_newest_line_of_each_note_stays_where_it_is(folder: Folder) -> None:
    one = folder.part("one", line(1), line(2, 10), line(3))
    two = folder.part("two", line(4), line(2, 9), line(1, 5))
    merged = folder.merge([one, two])
    assert merged == (line(2, 10) + line(3) + line(4) + line(1, 5), Merged(6, 2))
    assert merged[1].notes == 4


def test_of_lines_of_one_moment_the_later_part_and_line_counts(folder: Folder) -> None:
    one = folder.part("one", line(1, text="a"), line(1, text="b"), line(2, text="c"))
    two = folder.part("two", line(2, text="d"))
    assert folder.merge([one, two])[0] == line(1, text="b") + line(2, text="d")
    assert folder.merge([two, one])[0] == line(1, text="b") + line(2, text="c")


def test_lines_stay_as_they_are_to_the_byte(folder: Folder) -> None:
    odd = [
        line(1, text="汉字 \\ud800 \\u0000"),
        line(2, note_id='a "quoted" id/汉'),
        line(3)[:-2] + b',"later":123456789012345678901234567890}\n',
        line(4)[:-2] + b' , "spaced" :  [ 1.0,2e5 ] }\n',
    ]
    assert folder.merge([folder.part("one", *odd)])[0] == b"".join(odd)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=9),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 5),
)
def test_any_parts_merge_as_a_table_in_memory_would(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[int, int]]], at_once: int
) -> None:
    folder = Folder(tmp_path_factory.mktemp("merge"))
    lines = [
        [line(note, at, text=f"{p}.{n}") for n, (note, at) in enumerate(part)]
        for p, part in enumerate(parts)
    ]
    newest: dict[int, tuple[int, int, int]] = {}
    for p, part in enumerate(parts):
        for n, (note, at) in enumerate(part):
            newest[note] = max(newest.get(note, (at, p, n)), (at, p, n))
    expected = b"".join(lines[p][n] for _, p, n in sorted(newest.values(), key=lambda v: v[1:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LINES_AT_ONCE", at_once)
        paths = [folder.part(f"{p}", *part) for p, part in enumerate(lines)]
        text, merged = folder.merge(paths)
    assert text == expected
    assert (merged.lines, merged.notes) == (sum(map(len, parts)), len(newest))


def test_gzipped_parts_and_empty_ones_are_parts_too(folder: Folder) -> None:
    packed = folder.part("packed", gzip.compress(line(1)) + gzip.compress(line(2, 3)))
    merged, _ = folder.merge([folder.part("empty"), packed, folder.part("plain", line(2), line(3))])
    assert merged == line(1) + line(2, 3) + line(3)
    whole = gzip.compress(line(1))
    for broken in (whole[:-4], whole[:15] + b"\xff" * 20 + whole[35:]):
        told = folder.refused(folder.part("broken", broken))
        assert "broken gzip data" in told


@pytest.mark.parametrize("kept", [1, 9, 40, 100])
def test_a_torn_last_line_is_left_out_and_told(folder: Folder, kept: int) -> None:
    one = folder.part("one", line(1), line(2)[:kept])
    assert folder.merge([one, folder.part("two", line(3))]) == (line(1) + line(3), Merged(2, 0))
    assert folder.torn == [(one, kept)]


def test_a_last_line_that_lost_its_newline_is_a_line(folder: Folder) -> None:
    one = folder.part("one", line(1), line(2)[:-1])
    merged = folder.merge([one, folder.part("two", line(3))])
    assert merged == (line(1) + line(2) + line(3), Merged(3, 0))
    assert folder.torn == []


def test_lines_that_hold_nothing_are_passed_over(folder: Folder) -> None:
    one = folder.part("one", b"\n", line(1), b"\r\n\n", line(2), b"\0" * 512)
    merged = folder.merge([one, folder.part("two", line(1, 5), b"\n")])
    assert merged == (line(2) + line(1, 5), Merged(3, 1))
    assert folder.torn == []


def test_a_part_is_taken_as_it_was_at_the_start(folder: Folder) -> None:
    path = folder.part("one", line(1), line(2)[:50])
    parts = parts_of([path])
    target = io.BytesIO()
    with latest_line_index() as newest:
        work = Merge(parts, newest, lambda *told: folder.torn.append(told))
        path.write_bytes(line(1) + line(2) + line(1, 5))
        work.read()
        path.write_bytes(line(1) + line(2) + line(1, 5) + line(3))
        work.copy(target)
    assert target.getvalue() == line(1)
    assert folder.torn == [(path, 50)]


@pytest.mark.parametrize("becomes", ["shorter", "another", "other lines"])
def test_a_part_that_changes_in_between_is_told(folder: Folder, becomes: str) -> None:
    path = folder.part("one", line(20), line(30))
    with latest_line_index() as newest:
        work = Merge(parts_of([path]), newest, lambda *_: None)
        work.read()
        if becomes == "shorter":
            path.write_bytes(line(20))
        elif becomes == "another":
            folder.part("new", line(20), line(30)).replace(path)
        else:
            path.write_bytes(line(20) + b"\n" * len(line(30)))
        with pytest.raises(LocalIOError, match="was changed while it was read"):
            work.copy(io.BytesIO())


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        (b"{}\n", "{}"),
        (line(2)[:60] + line(3), '{"noteId":"'),
        (line(2).replace(b"xx", b"x\0"), '{"noteId":"'),
        (b"\xff\x1b[31m\n", "\ufffd\\x1b[31m"),
        (b'[{"a": 1}]', '[{"a": 1}]'),
    ],
)
def test_what_is_no_line_of_ours_is_named(folder: Folder, bad: bytes, shown: str) -> None:
    path = folder.part("one", line(1), bad)
    told = folder.refused(folder.part("zero", line(9)), path)
    assert told.startswith(f"{path}:2 is not a good line of harvester's: {shown}")
    assert "harvester verify" in told


def test_a_line_past_all_bounds_is_no_line(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "LONGEST", 1000)
    for end in (b"\n", b""):
        path = folder.part("one", line(1), line(2)[:100] + b"x" * 5000 + end)
        assert folder.refused(path).startswith(f"{path}:2 is not a good line")


def test_endpoints_and_simulated_notes_do_not_mix(folder: Folder) -> None:
    one = folder.part("one", line(1))
    for other in (line(2, endpoint="xiaohongshu/note/v2"), line(2, request=SIMULATED)):
        two = folder.part("two", other)
        told = folder.refused(one, two)
        assert told.startswith(f"{two}:1 holds ")
        assert str(one) in told
        assert "must not mix" in told
    both = folder.part("both", line(1), line(2, request=SIMULATED))
    assert f"{both}:2 holds simulated" in folder.refused(both)


def test_parts_that_cannot_be_read_are_named(folder: Folder) -> None:
    one = folder.part("one", line(1))
    assert "there is no file" in folder.refused(folder.path / "nowhere")
    assert "is named twice" in folder.refused(one, folder.path / "." / "one")
    (folder.path / "link").symlink_to(one)
    assert "is named twice" in folder.refused(one, folder.path / "link")
    assert "not a regular file" in folder.refused(Path("/dev/null"))


def test_the_place_is_never_a_part_nor_an_output_nor_another_file(folder: Folder) -> None:
    one, all_notes = folder.part("one", line(1)), folder.part("all", line(1))
    parts = parts_of([one])
    for place in (all_notes, folder.path / "new", folder.part("empty")):
        check_place(place, parts)
    (folder.path / "link").symlink_to(one)
    for place, words in (
        (one, "is one of the parts"),
        (folder.path / "link", "is one of the parts"),
        (folder.part("words", b"dear diary\n"), "is no file of notes"),
        (folder.path / "no" / "all", "there is no folder"),
        (Path("/dev/null"), "is no file of notes"),
    ):
        with pytest.raises(UsageError, match=words):
            check_place(place, parts)
    for companion in ("all.ledger", "all.fleet"):
        beside = folder.part(companion)
        with pytest.raises(UsageError, match="runs go on with"):
            check_place(all_notes, parts)
        beside.unlink()


def test_a_file_takes_its_place_whole_or_not_at_all(folder: Folder) -> None:
    place = folder.part("all", b"before")
    with suppress(KeyError), result_into(place) as target:
        target.write(b"half")
        raise KeyError
    assert (place.read_bytes(), list(folder.path.iterdir())) == (b"before", [place])
    link = folder.path / "link"
    link.symlink_to(place)
    with result_into(link) as target:
        target.write(b"after")
        target.flush()
        assert place.read_bytes() == b"before"
    assert place.read_bytes() == b"after"
    assert link.is_symlink()
    with pytest.raises(LocalIOError, match="cannot be written"), result_into(place) as target:
        raise OSError(28, "full")


def test_a_file_may_have_as_long_a_name_as_the_system_knows(folder: Folder) -> None:
    place = folder.path / ("笔" * 85)
    with result_into(place) as target:
        target.write(b"notes")
    assert place.read_bytes() == b"notes"
