"""Inputs of all forms become the same ids, and their bad lines are named."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import HaltedError, InputError, UsageError
from harvester.model import BadLine, Page
from harvester.sanitize import has_unprintable, sanitize
from harvester.source.given import pages_of
from harvester.source.options import InputOptions
from harvester.source.streams import spool

A = "67f32a94000000001d02eb4a"
B = "6a274ceb000000000803f157"
C = "69983ebb00000000150304d8"
URL = "https://www.xiaohongshu.com/explore/"
SAMPLES = Path(__file__).parents[2] / "input_samples"
FACTS = {
    "67f32a94000000001d02eb4a",
    "6a274ceb000000000803f157",
    "69983ebb00000000150304d8",
    "69b41a4c000000002103b520",
    "699be056000000000c0349ff",
    "69a597a5000000001a01d5d9",
    "6a5cd594000000001101bb38",
    "6824424e0000000021007ea6",
    "691345f70000000003010c2b",
    "69f88aac000000001a02c054",
    "6976204a000000000b0100ff",
    "69d58e1e0000000023024317",
    "6aab4a3f000000000d02574a",
    "6710f6d500000000210009a0",
    "6a4a223c0000000006022abe",
    "693014dd000000001d03f43f",
    "6a6c647d0000000006006316",
    "69cf80a20000000022000021",
    "67f4fbe6000000001a0074db",
    "6a01c2fc0000000037036508",
}


def pages(
    *inputs: str | Path,
    stdin: bytes | io.BufferedIOBase = b"",
    **options: Any,  # noqa: ANN401 - InputOptions' own
) -> Iterator[Page]:
    stream = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
    return pages_of(
        inputs,
        InputOptions(**options),
        stream,  # type: ignore[arg-type]  # a buffered reader is a BinaryIO in all but name
    )


def flat(read: Iterator[Page]) -> tuple[list[str], list[BadLine]]:
    ids: list[str] = []
    bad: list[BadLine] = []
    for page in read:
        ids += page.ids
        bad += page.bad
    return ids, bad


def short(bad: Sequence[BadLine]) -> list[tuple[int, str]]:
    return [(line.line, line.reason) for line in bad]


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


NO_NOTE = "names no note"
CASES: list[tuple[str, str | bytes, list[str], list[tuple[int, str]]]] = [
    ("a.txt", "", [], []),
    ("a.txt", f"{A}\n{B}\n", [A, B], []),
    ("a.txt", f"{A}\n{B}", [A, B], []),
    ("a.txt", f"{A.upper()}\r\n{B}\r\n", [A, B], []),
    ("a.txt", f"\ufeff{A}\n# no\n\n  \t\n  # no\n{B}", [A, B], []),
    ("a.txt", f"{A}\nx\n{B}\n", [A, B], [(2, NO_NOTE)]),
    ("a.txt", f"{URL}{A}?t=1\n{URL}{A} {URL}{B}\n", [A, A, B], []),
    ("a.txt", b"\xff\xfa " + f"{URL}{A}\n".encode() + b"\xff " + A.encode(), [A, A], []),
    ("a.txt", f'{{"noteId": "{A}"}}\n', [A], []),
    ("noextension", f"{A}\n", [A], []),
    ("a.csv", f"noteId\n{A}\n{URL}{B}?x=1\n", [A, B], []),
    ("a.CSV", f"\ufeffowner, noteId \r\n李雷,{A}\r\n\r\nAnn,{B}\r\n", [A, B], []),
    ("a.csv", f"id,noteId\nx,{A}\n", [A], []),
    ("a.csv", f'note,id\n"two\nlines, ""x""",{A}\n,zz\n', [A], [(4, NO_NOTE)]),
    ("a.csv", f"o,id\nx\nx,\nx,{A}\n", [A], [(2, "too few columns: no id"), (3, "empty id")]),
    ("a.csv", f"id,o\n{A},\0\n{B},\n", [A, B], []),
    ("a.csv", f'id,o\n{A},x\n{B},"open\n{C},y\n', [A, B, C], []),
    ("a.csv", f'id,o\n"{A[:9]}\n{A[9:]}",x\n', [], [(2, NO_NOTE)]),
    ("a.tsv", f"owner\tnote_id\nx, y\t{A}\n", [A], []),
    ("a.jsonl", f'{{"id": "{A}"}}\n\n{{"id": "x", "note_id": "{URL}{B}"}}\n', [A, B], []),
    ("a.ndjson", f'{{"id": "x", "noteId": "{A}", "note_id": "y"}}\r\n', [A], []),
    (
        "a.jsonl",
        f'{{"noteId": 17}}\n{{"o": 1}}\n[1]\n{{\n"{A}"\n{{"id": ""}}\n',
        [A],
        [
            (1, NO_NOTE),
            (2, "no field that holds a note id; --id-field names it: o"),
            (3, NO_NOTE),
            (6, "empty id"),
        ],
    ),
    # What our own OUTPUT may hold: half an emoji, and integers of any length.
    ("o.jsonl", f'{{"noteId":"{A}","data":{{"t":"\\ud83d","n":{"9" * 5000}}}}}\n', [A], []),
    ("a.jsonl", b'{"id": "' + A.encode() + b'", "t": "\xff"}', [A], []),
]


@pytest.mark.parametrize(("name", "data", "ids", "bad"), CASES)
def test_a_file_is_read_as_its_name_says(
    tmp_path: Path,
    name: str,
    data: str | bytes,
    ids: list[str],
    bad: list[tuple[int, str]],
) -> None:
    raw = data.encode() if isinstance(data, str) else data
    for path in (
        written(tmp_path, name, raw),
        written(tmp_path, name + ".gz", gzip.compress(raw)),
    ):
        found, complaints = flat(pages(path))
        assert found == ids, path
        assert short(complaints) == bad
        assert {line.file for line in complaints} <= {str(path)}


def test_gzip_is_known_by_content_in_many_members_and_padded(tmp_path: Path) -> None:
    data = gzip.compress(f"{A}\n{B[:7]}".encode()) + gzip.compress(f"{B[7:]}\n".encode())
    assert flat(pages(written(tmp_path, "plain.txt", data + b"\0" * 512))) == ([A, B], [])
    assert flat(pages("-", stdin=data)) == ([A, B], [])


@pytest.mark.parametrize("cut", [-1, -9, 40])
def test_gzip_that_ends_early_names_the_line_reached(tmp_path: Path, cut: int) -> None:
    ids = [os.urandom(12).hex() for _ in range(50_000)]
    path = written(tmp_path, "a.gz", gzip.compress("\n".join(ids).encode())[:cut])
    with pytest.raises(InputError, match=r"a\.gz: .*gzip data ends early") as caught:
        flat(pages(path))
    if cut < 0:
        reached = re.search(r"after line (\d+)", str(caught.value))
        assert reached is not None
        assert 49_000 < int(reached[1]) < 50_000


def test_broken_gzip_is_an_input_error(tmp_path: Path) -> None:
    path = written(tmp_path, "a.gz", gzip.compress(A.encode()) + b"rubbish")
    with pytest.raises(InputError, match="broken gzip data"):
        flat(pages(path))


def test_every_file_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    good = written(tmp_path, "good.txt", A)
    with pytest.raises(InputError, match=r"missing\.txt: no such file, nor a note's id or link"):
        pages(good, tmp_path / "missing.txt")
    with pytest.raises(InputError, match="this is a folder"):
        pages(good, tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        pages(good, "a\0b")
    with pytest.raises(
        InputError, match=r"t\.csv:1: no column noteId, note_id, id, .* or 链接; .*: a, b\."
    ):
        pages(good, written(tmp_path, "t.csv", "a,b\n1,2\n"))


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(InputError, match="no permission"):
        pages(written(tmp_path, "a.txt", A))


def test_the_id_field_can_be_named(tmp_path: Path) -> None:
    table = written(tmp_path, "a.csv", f"id,key\nx,{A}\n")
    lines = written(tmp_path, "a.jsonl", f'{{"noteId": "x", "key": "{B}"}}\n{{"noteId": "{C}"}}\n')
    ids, bad = flat(pages(table, lines, id_field=["key"]))
    assert ids == [A, B]
    assert short(bad) == [(2, "no field that holds a note id; --id-field names it: noteId")]


def test_standard_input_may_hold_json_lines_among_text() -> None:
    data = f'{B}\n{{"noteId": "{A}", "url": "/explore/{C}"}}\n{{x /explore/{C}\n{{"a": 1}}\n'
    ids, bad = flat(pages("-", stdin=data.encode()))
    assert ids == [B, A, C]
    assert short(bad) == [(4, "no field that holds a note id; --id-field names it: a")]
    assert bad[0].file == "<stdin>"


def test_standard_input_can_be_given_only_once() -> None:
    with pytest.raises(UsageError, match="only once"):
        pages("-", "-")


def test_a_pipe_gives_what_it_has_without_waiting_for_more() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        read = pages("-", stdin=stdin)
        pipe.write(f"{A}\n{B[:5]}".encode())
        assert next(read).ids == [A]
        pipe.write(f"{B[5:]}\n".encode())
        assert next(read).ids == [B]
        pipe.write(C.encode())
        pipe.close()
        assert next(read).ids == [C]
        assert list(read) == []


def test_a_named_pipe_with_a_table_gives_rows_as_they_come(tmp_path: Path) -> None:
    files = written(tmp_path, "first.txt", A)
    fifo = tmp_path / "rows.csv"
    os.mkfifo(fifo)
    read = pages(files, fifo)
    assert next(read).ids == [A]  # before anybody has opened the pipe
    seen = threading.Event()

    def write() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            pipe.write(f"id\n{B}\n".encode())
            seen.wait(30)
            pipe.write(f"{C}\n".encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert next(read).ids == [B]
    finally:
        seen.set()
    assert next(read).ids == [C]
    writer.join()


def test_the_first_page_is_small_and_the_others_full(tmp_path: Path) -> None:
    data = "".join(f"{number:024x}\n" for number in range(40_000))
    first, *others, _ = (len(page.ids) for page in pages(written(tmp_path, "a.txt", data)))
    assert 1_000 <= first < 4_000
    assert others
    assert all(10_000 <= size < 13_000 for size in others)


def test_a_page_of_bad_lines_is_no_longer_than_others(tmp_path: Path) -> None:
    read = list(pages(written(tmp_path, "a.txt", "bad\n" * 100_000)))
    assert max(len(page.bad) for page in read) < 30_000
    assert [line.line for page in read for line in page.bad] == list(range(1, 100_001))


def test_lines_over_a_mebibyte_are_bad_and_the_next_are_read(tmp_path: Path) -> None:
    longest = f"{URL}{A}?".ljust(1024 * 1024, "x")
    data = f"{longest}\n{longest}x\n{B}\n{longest}xx"
    ids, bad = flat(pages(written(tmp_path, "a.txt", data)))
    assert ids == [A, B]
    assert short(bad) == [(2, "line too long"), (4, "line too long")]
    assert len(bad[0].text) == 80


@pytest.mark.parametrize("unit", [b"x", b'"', b'",' + b"y" * 999 + b'"\n', b"x" * 999 + b"\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_endless_rubbish_in_a_bomb_takes_little_memory(
    tmp_path: Path, name: str, unit: bytes
) -> None:
    size = 4 * 1024 * 1024
    head = f"id\n{A}\n".encode() if name == "a.csv" else b""
    path = written(tmp_path, name, gzip.compress(head + unit * (size // len(unit)), 1))
    tracemalloc.start()
    try:
        for _ in pages(path):
            pass
        assert tracemalloc.get_traced_memory()[1] < size * 0.8
    finally:
        tracemalloc.stop()


def test_bad_lines_are_fit_to_print(tmp_path: Path) -> None:
    path = written(tmp_path, "a\x1b.txt", "\x1b[2J\u202e" + "x" * 100)
    _, (bad,) = flat(pages(path))
    assert str(bad).startswith(rf"{tmp_path}/a\x1b.txt:1: names no note: \x1b[2J\u202exxx")
    assert len(bad.text) == 80


def test_an_input_that_names_no_note_is_named(tmp_path: Path) -> None:
    names = ["empty.txt", "none.txt", "good.txt", "empty.csv"]
    texts = ("", "x\n", A, "noteId\n")
    paths = [written(tmp_path, name, text) for name, text in zip(names, texts, strict=True)]
    told = [text for page in pages(*paths, "-") for text in page.warned]
    names = [str(paths[0]), str(paths[1]), str(paths[3]), "<stdin>"]
    assert told == [f"{name} names no note" for name in names]


def test_any_iterable_of_ids_will_do() -> None:
    mixed: list[str] = [A, f"{URL}{B}", "x", 17]  # type: ignore[list-item]
    ids, bad = flat(pages_of(iter(mixed), InputOptions()))
    assert ids == [A, B]
    assert [str(line) for line in bad] == [
        "<ids>:3: names no note: x",
        "<ids>:4: not text: 17",
    ]
    many = [f"{number:024x}" for number in range(2_500)]
    first, second = pages_of(many, InputOptions())
    assert first.ids + second.ids == many
    assert 1_000 <= len(first.ids) < 1_100


def test_an_iterators_ids_come_before_it_has_given_all() -> None:
    asked: list[str] = []

    def waiting() -> Iterator[str]:
        for number in range(100):
            asked.append(f"{number:024x}")
            yield asked[-1]

    reading = pages_of(waiting(), InputOptions())
    had = [*next(reading).ids]
    assert had == asked == [f"{0:024x}"]
    had += [each for page in reading for each in page.ids]
    assert had == asked
    assert len(asked) == 100


def test_strict_lists_the_first_ten_bad_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", f"{A}\n" + "x\n" * 12)
    with pytest.raises(InputError) as caught:
        pages(path, strict=True)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [f"{path}:{number}: names no note: x" for number in range(2, 12)]


def test_what_strict_has_read_of_standard_input_is_there_for_the_run() -> None:
    assert flat(pages("-", stdin=f"{A}\n{B}\n".encode(), strict=True)) == ([A, B], [])


def test_strict_refuses_a_pipe_among_the_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="only once"):
        pages(tmp_path / "pipe", strict=True)


def test_the_samples_name_all_known_notes_without_a_bad_line() -> None:
    ids, bad = flat(pages(*sorted(SAMPLES.iterdir())))
    assert bad == []
    assert set(ids) == FACTS
    assert len(ids) > len(FACTS)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("plain.txt", 6),
        ("urls.txt", 5),
        ("share.txt", 2),
        ("notes.csv", 5),
        ("notes.jsonl", 4),
        ("notes.txt.gz", 4),
    ],
)
def test_each_sample_holds_what_it_shows(name: str, count: int) -> None:
    assert len(flat(pages(SAMPLES / name))[0]) == count


_PIECES = st.sampled_from(
    [
        *(A.encode(), B.upper().encode(), URL.encode(), b"\n", b"\r", b'"', b",", b"\t", b"\0"),
        *(b"id", b"noteId\n", b'{"id": "', b'"}', b"#"),
        *(b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["a", "a.csv", "a.tsv", "a.jsonl", "-"]),
    st.one_of(st.binary(), st.lists(_PIECES | st.binary(max_size=3)).map(b"".join)),
    st.booleans(),
)
def test_no_bytes_raise_anything_but_input_error_or_make_a_wrong_id(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    data: bytes,
    packed: bool,  # noqa: FBT001 - drawn
) -> None:
    raw = gzip.compress(data) if packed else data
    path = "-" if name == "-" else written(tmp_path_factory.getbasetemp(), name, raw)
    try:
        ids, bad = flat(pages(path, stdin=raw))
    except InputError:
        return
    assert all(re.fullmatch("[0-9a-f]{24}", note_id) for note_id in ids)
    assert all(1 <= line.line <= len(re.split(rb"\r\n?|\n", data)) * 3 + 1 for line in bad)


class Trickle(io.RawIOBase):
    """Gives its bytes a few at a time, as a slow pipe does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # what io gives it
        part = self._data.read(min(self._step, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def trickling(data: bytes, step: int) -> io.BufferedReader:
    return io.BufferedReader(Trickle(data, step))


@settings(max_examples=100, deadline=None)
@given(st.lists(_PIECES | st.binary(max_size=3)).map(b"".join), st.integers(1, 9), st.booleans())
def test_bytes_that_trickle_in_are_read_as_those_that_come_at_once(
    data: bytes,
    step: int,
    packed: bool,  # noqa: FBT001 - drawn
) -> None:
    raw = gzip.compress(data) if packed else data
    try:
        expected = flat(pages("-", stdin=raw))
    except InputError as error:
        with pytest.raises(InputError, match=re.escape(str(error).rsplit(": ", 1)[-1])):
            flat(pages("-", stdin=trickling(raw, step)))
    else:
        assert flat(pages("-", stdin=trickling(raw, step))) == expected


@given(
    st.lists(
        st.text(max_size=40).filter(lambda text: text != "-" and not set("./") & {*text})
        | st.sampled_from([A, URL + B, f"{URL}x-1?y"])
        | st.integers()
    ),
    st.sampled_from([None, r"(?s).*", r"\w+-\d"]),
)
def test_any_iterable_is_read_without_an_error_and_nothing_is_left_out(
    ids: list[str], pattern: str | None
) -> None:
    given = iter(["x-1" if pattern else A, *ids])
    found, bad = flat(pages_of(given, InputOptions(pattern)))
    assert len(found) + len(bad) > len(ids)
    assert all(0 < len(note_id) <= 512 and sanitize(note_id, 512) == note_id for note_id in found)
    assert all(not has_unprintable(str(line)) for line in bad)


def test_a_huge_field_is_a_bad_row_and_the_next_is_read(tmp_path: Path) -> None:
    huge = "x" * (csv.field_size_limit() + 1)
    ids, bad = flat(pages(written(tmp_path, "a.csv", f"id,o\n{A},{huge}\n{B},y\n")))
    assert ids == [B]
    assert [line.line for line in bad] == [2]


class Reads(io.BytesIO):
    """Counts what is read of it."""

    many = 0

    def read(self, size: int | None = -1) -> bytes:
        self.many += 1
        return super().read(size)


@pytest.mark.parametrize("content", [b"\n", b"no note\n", f"{A}\n".encode()])
def test_reading_looks_between_its_pieces_whatever_is_in_them(content: bytes) -> None:
    source = Reads(content * 500_000)
    looks = iter(range(3))

    def look() -> None:
        if next(looks, None) is None:
            raise HaltedError

    with pytest.raises(HaltedError):
        list(pages_of(["-"], InputOptions(), source, look))
    assert source.many < 7
    looks = iter(range(3))
    with pytest.raises(HaltedError):
        spool(Reads(content * 500_000), look)
