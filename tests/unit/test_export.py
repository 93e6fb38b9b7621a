"""Tables of notes, read back by others' libraries: value for value what OUTPUT holds."""

from __future__ import annotations

import csv
import gc
import io
import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harvester.cli import cli
from harvester.export.columns import CellKind, Choice, Column, columns_of
from harvester.export.excel import excel_table
from harvester.export.fields import FIELDS
from harvester.export.forms import csv_table
from harvester.export.record import as_json
from harvester.export.rows import RowLayout
from harvester.export.shape import Seen
from harvester.model import Job, Judgement, Verdict
from harvester.output.lines import BOM, make_line
from harvester.simulator.data import note_data

NOW = 1795395723.456
SHANGHAI = timezone(timedelta(hours=8))
ENDPOINT = "xiaohongshu-pgy/note-detail/v1"


def line(number: int, data: object, at: float = 0, carried: object = None) -> bytes:
    text = json.dumps(data).encode()
    extra = None if carried is None else json.dumps(carried, ensure_ascii=False)
    job = Job(number, note_id(number), extra_fields=extra)
    return make_line(job, Judgement(Verdict.SAVE, 0, "saved", data=text), ENDPOINT, NOW + at)


def note_id(number: int) -> str:
    return f"{0x67F32A94 + number:08x}000000001d{number:06x}"


@pytest.mark.parametrize(
    ("text", "is_guarded"),
    [
        *((text, True) for text in ("=1", "+1", "-1", "@a", "\t=1", "\uff1d1", "007", "9" * 16)),
        *((text, True) for text in ("1e5", "6" * 24, "3-5", "1/2/2026", "67e00000")),
        *(
            (text, False)
            for text in ("1", "0", "1.5", "2025-04-07 09:29", "3只猫", "0a", "春=", "")
        ),
        *((text, False) for text in ("67f32a94000000001d02eb4a", "9" * 15, "2026-11-27")),
    ],
)
def test_text_that_a_spreadsheet_would_run_or_change_is_kept_from_it(
    text: str,
    is_guarded: bool,  # noqa: FBT001 - a case
) -> None:
    file = io.BytesIO()
    with csv_table(file, [Column("t", "t", CellKind.TEXT)], with_bom=False) as write:
        write([text])
    rows = list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))
    assert rows == [["t"], [f"'{text}" if is_guarded else text]]


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Notes with carried columns, half emoji, refreshes and empties."""
    lines = []
    for number in range(120):
        data: Any = note_data(note_id(number)) if number % 10 else [None, [], {}][number // 10 % 3]
        if number % 10 == 3:
            data["title"] = ["=1+1", "+86", "-x", "@me", "\t=1", "=1", "半\ud83d"][number // 10 % 7]
            data["videoInfo"] = {"videoUrl": f"https://v.cn/{number}", "size": {"w": number}}
        lines.append(line(number, data, number, {"活动": "春节", "sku": f"{number:06d}"}))
    for number in range(20, 40):
        data = note_data(note_id(number))
        lines.append(line(number, data | {"likeNum": 7}, 1000 + number, {"活动": "五一"}))
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def export(output: Path | Sequence[Path], place: Path, *args: str, code: int = 0) -> str:
    outputs = [output] if isinstance(output, Path) else output
    done = CliRunner().invoke(cli, ["export", *map(str, outputs), "-o", str(place), *args])
    assert (getattr(done.exception, "exit_code", None) or done.exit_code) == code, done.output
    return done.output if done.exception is None else str(done.exception)


def expected(output: Path, *, with_history: bool = False) -> list[dict[str, Any]]:
    """The rows that there have to be, made another way than the program does."""
    rows = []
    for text in output.read_text("utf-8").splitlines():
        record = json.loads(text)
        own = {key: value for key, value in record.items() if key not in {"data", "input"}}
        data = dict(record["data"] or {})
        data.pop("noteId", None)
        carried = {f"input.{key}": value for key, value in (record.get("input") or {}).items()}
        row = {key.removeprefix("input."): value for key, value in carried.items()}
        rows.append(row | own | dict(members("", data)))
    newest = {row["noteId"]: row for row in rows}
    return rows if with_history else [row for row in rows if newest[row["noteId"]] is row]


def members(prefix: str, data: dict[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in data.items():
        if isinstance(value, dict):
            flat += members(f"{prefix}{key}.", value)
        elif isinstance(value, list):
            flat.append(
                (prefix + key, json.dumps(value, ensure_ascii=False, separators=(",", ":")))
            )
        elif isinstance(value, str):
            flat.append((prefix + key, re.sub("[\ud800-\udfff]", "\ufffd", value)))
        else:
            flat.append((prefix + key, value))
    return flat


@pytest.mark.parametrize("ending", ["csv", "xlsx", "parquet", "sqlite", "jsonl"])
def test_names_and_numbers_that_a_form_does_not_know_are_exported_all_the_same(
    tmp_path: Path, ending: str
) -> None:
    if ending == "parquet" and find_spec("pyarrow") is None:
        pytest.skip("`make soak` brings pyarrow")
    path, place = tmp_path / "odd.jsonl", tmp_path / f"table.{ending}"
    names = ['a"b', "a\\b", "k\nline", "", "\x00", "m0", "输"]
    data: dict[str, Any] = dict.fromkeys(names, 1)
    huge = line(2, {"n": 5}).replace(b'"n": 5', b'"n": 1e999')
    path.write_bytes(line(1, data) + huge + line(3, {"n": -0.5, 'in"': {"": {"": 1}}}))
    assert "exported 3 notes" in export(path, place)
    if ending == "jsonl":
        rows = [json.loads(text) for text in place.read_text("utf-8").splitlines()]
        assert {name: rows[0][name] for name in names} == data
        assert [row["n"] for row in rows] == [None, "inf", -0.5]


def moment(value: object) -> datetime:
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, SHANGHAI)
    return datetime.fromisoformat(str(value)).astimezone(SHANGHAI)


def is_moment(name: str, value: object) -> bool:
    return value is not None and name in FIELDS and FIELDS[name].is_moment


def same(
    read: list[dict[str, Any]], rows: list[dict[str, Any]], in_form: Callable[[str, Any], object]
) -> None:
    assert len(read) == len(rows)
    for found, row in zip(read, rows, strict=True):
        told = {name: cell for name, cell in found.items() if cell not in {None, ""}}
        wanted = {name: in_form(name, value) for name, value in row.items()}
        assert told == {name: cell for name, cell in wanted.items() if cell not in {None, ""}}


def read_csv(path: Path) -> list[dict[str, Any]]:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def in_csv(name: str, value: object) -> object:
    if is_moment(name, value):
        return f"{moment(value):%Y-%m-%d %H:%M:%S}"
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: ""}[value]
    text = str(value)
    is_risky = isinstance(value, str) and re.match(r"[=+\-@\t=]|0\d+$|\d{16,}$|\d+e\d+$", text)
    return f"'{text}" if is_risky else text


@pytest.mark.parametrize("form", ["csv", "jsonl", "sqlite", "xlsx", "parquet"])
@pytest.mark.parametrize("with_history", [False, True])
def test_a_table_holds_what_the_notes_hold(night: Path, form: str, with_history: bool) -> None:  # noqa: FBT001 - a case
    if form == "parquet" and find_spec("pyarrow") is None:
        pytest.skip("`make soak` brings pyarrow")
    place = night.with_name(f"table.{form}")
    told = export(night, place, *(["--history"] if with_history else []))
    rows = expected(night, with_history=with_history)
    assert told.startswith(f"exported {len(rows)} {'lines' if with_history else 'notes'}, ")
    assert place.stat().st_mode & 0o777 == 0o600
    if form == "csv":
        same(read_csv(place), rows, in_csv)
    elif form == "jsonl":
        same([json.loads(text) for text in place.read_text("utf-8").splitlines()], rows, in_iso)
    elif form == "sqlite":
        with closing(sqlite3.connect(place)) as db:
            db.row_factory = sqlite3.Row
            read = [dict(row) for row in db.execute("SELECT * FROM notes")]
        # SQLite knows no case.
        read = [
            renamed(row, "userInfo.mEngagementNum_2", "userInfo.mEngagementNum") for row in read
        ]
        same(read, rows, in_iso)
    elif form == "xlsx":
        same(read_xlsx(place), rows, in_excel)
    else:
        from pyarrow import parquet  # noqa: PLC0415 - where it is installed

        read = parquet.read_table(place).to_pylist()
        same(read, rows, lambda name, value: moment(value) if is_moment(name, value) else value)


def renamed(row: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in row.items()}


def in_iso(name: str, value: object) -> object:
    return moment(value).isoformat(timespec="milliseconds") if is_moment(name, value) else value


def read_xlsx(path: Path) -> list[dict[str, Any]]:
    book = openpyxl.load_workbook(path)
    rows = [row for sheet in book for row in list(sheet.iter_rows(values_only=True))[1:]]
    names = [cell.value for cell in book.worksheets[0][1]]
    return [dict(zip(names, row, strict=True)) for row in rows]


def in_excel(name: str, value: object) -> object:
    return moment(value).replace(tzinfo=None) if is_moment(name, value) else value


def test_a_sheet_is_ready_to_be_worked_with(night: Path) -> None:
    place = night.with_name("table.xlsx")
    export(night, place, "--preset", "marketing", "--headings", "zh")
    sheet = openpyxl.load_workbook(place).worksheets[0]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == f"A1:{sheet.cell(121, sheet.max_column).coordinate}"
    headings = [cell.value for cell in sheet[1]]
    assert headings[:7] == ["活动", "sku", "标题", "作者昵称", "粉丝数", "点赞数", "收藏数"]
    link = sheet.cell(3, headings.index("笔记链接") + 1)
    assert link.hyperlink is not None
    assert link.hyperlink.target == link.value
    assert {type(cell.value) for cell in sheet["B"][1:]} <= {str, type(None)}
    widths = [sheet.column_dimensions[cell.column_letter].width for cell in sheet[1]]
    assert min(widths) >= 6
    assert len({round(width) for width in widths}) > 3
    assert not [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]


def test_more_rows_than_a_sheet_holds_go_on_the_next_one(tmp_path: Path) -> None:
    place = tmp_path / "t.xlsx"
    columns = [Column("title", "title", CellKind.TEXT)]
    with place.open("wb") as file, excel_table(file, columns, most_rows=3) as write:
        for number in range(5):
            write([f"{number}"])
    sheets = openpyxl.load_workbook(place).worksheets
    assert [[row[0].value for row in sheet.iter_rows()] for sheet in sheets] == [
        ["title", "0", "1"],
        ["title", "2", "3"],
        ["title", "4"],
    ]


def test_fields_choose_and_order_the_columns(night: Path) -> None:
    place = night.with_name("t.csv")
    export(night, place, "--fields", "title,likeNum,userInfo.nickName,sku,time", "--no-bom")
    head = place.read_bytes().partition(b"\r\n")[0].decode()
    assert head.split(",") == [
        f'"{name}"'
        for name in (
            *("title", "likeNum", "userInfo.nickName", "sku"),
            *("time.createTime", "time.updateTime", "time.userUpdateTime"),
        )
    ]
    assert "did you mean likeNum?" in export(night, place, "--fields", "likesNum", code=2)
    assert "contradict" in export(
        night, place, "--fields", "title", "--preset", "marketing", code=2
    )
    export(night, place, "--fields", "noteId,likeNum", "--headings", "en")
    assert read_csv(place)[1]["Likes"] == str(note_data(note_id(1))["likeNum"])


def test_changes_are_told_from_the_first_line_to_the_newest(night: Path) -> None:
    place = night.with_name("t.csv")
    args = ("--changes", "--fields", "noteId,title,likeNum,fetchedAt")
    assert "exported 120 notes, 7 columns" in export(night, place, *args)
    rows = {row["noteId"]: row for row in read_csv(place)}
    likes = note_data(note_id(21))["likeNum"]
    assert isinstance(likes, int)
    row = rows[note_id(21)]
    assert [row[f"likeNum.{which}"] for which in ("first", "last", "difference")] == [
        str(likes),
        "7",
        str(7 - likes),
    ]
    assert row["fetchedAt.first"] < row["fetchedAt.last"]
    assert rows[note_id(20)]["likeNum.difference"] == ""
    assert rows[note_id(41)]["likeNum.difference"] == "0"


def test_what_was_exported_is_told_to_programs(night: Path) -> None:
    place = night.with_name("t.csv")
    told = json.loads(export(night, place, "--fields", "title,likeNum", "--json"))
    assert told == {"rows": 120, "columns": ["title", "likeNum"], "output": str(place)}


def test_history_is_oldest_first_over_several_outputs(tmp_path: Path) -> None:
    one, two = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    one.write_bytes(line(1, {"likeNum": 3}, 30) + line(2, {"likeNum": 1}, 10))
    two.write_bytes(line(1, {"likeNum": 2}, 20) + line(3, {"likeNum": 4}, 40))
    export([one, two], tmp_path / "t.jsonl", "--history", "--fields", "likeNum")
    assert (tmp_path / "t.jsonl").read_text("utf-8").split() == [
        f'{{"likeNum":{likes}}}' for likes in (1, 2, 3, 4)
    ]


def test_numbers_too_long_for_a_spreadsheet_are_text_in_every_form(tmp_path: Path) -> None:
    output, place = tmp_path / "n.jsonl", tmp_path / "t.jsonl"
    odd = {"id": 12345678901234567890123, "a": 10**15 - 1, "b": 1.5, "c": True, "d": {}, "e": "'"}
    output.write_bytes(line(1, odd) + line(2, {"id": 5, "b": None, "e": {"f": []}}))
    export(output, place, "--fields", "id,a,b,c,d,e")
    rows = [json.loads(text) for text in place.read_text("utf-8").splitlines()]
    long = "12345678901234567890123"
    assert list(rows[0].values()) == [long, 10**15 - 1, 1.5, True, "{}", "'", None]
    assert list(rows[1].values()) == [5, None, None, None, None, None, "[]"]
    export(output, tmp_path / "t.sqlite", "--fields", "id")
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as db:
        assert db.execute("SELECT typeof(id) FROM notes").fetchall() == [("text",), ("integer",)]


def test_numbers_are_text_or_not_whatever_came_first(tmp_path: Path) -> None:
    output, place = tmp_path / "n.jsonl", tmp_path / "t.csv"
    texts = (b"1" * 16, b"5", b"1e999", b"0.5")
    output.write_bytes(
        b"".join(line(n, {"n": 7}).replace(b": 7", b":%b" % text) for n, text in enumerate(texts))
    )
    export(output, place, "--fields", "n")
    assert [row["n"] for row in read_csv(place)] == ["'" + "1" * 16, "5", "inf", "0.5"]


def test_a_table_is_never_written_over_what_is_none(night: Path) -> None:
    ids = night.with_name("ids.csv")
    ids.write_text("noteId,campaign\n1,2\n")
    list_of_ours = night.with_name("list.jsonl")
    list_of_ours.write_text('{"noteId":"1"}\n')
    for place, said in (
        (ids, "no table of this command's"),
        (list_of_ours, "no table of this command's"),
        (night, "OUTPUT are the same file"),
        (night.with_name("notes.jsonl.unread.jsonl"), "OUTPUT's .unread.jsonl"),
        (night.with_name("t.txt"), ".csv, .xlsx, .parquet, .sqlite, .jsonl"),
        (night.parent / "none" / "t.csv", "there is no folder"),
    ):
        before = place.read_bytes() if place.exists() else None
        assert said in export(night, place, code=2)
        assert (place.read_bytes() if place.exists() else None) == before
    other = night.with_name("other.csv")
    other.write_text("a")
    other.with_suffix(".xlsx").write_text("a")
    other.with_suffix(".sqlite").write_text("a")
    for form in (".csv", ".xlsx", ".sqlite"):
        assert "no table of this" in export(night, other.with_suffix(form), code=2)
        place = night.with_name(f"t{form}")
        for _ in range(2):
            export(night, place, "--headings", "zh")
    assert not list(night.parent.glob(".*"))


def test_a_bad_line_is_refused_and_leaves_the_earlier_table(night: Path) -> None:
    place = night.with_name("t.csv")
    export(night, place)
    before = place.read_bytes()
    with night.open("ab") as file:
        file.write(b'{"noteId":"1","oh":no}\n' + line(1, {}))
    assert f"{night}:141 is not a good line" in export(night, place, code=2)
    assert place.read_bytes() == before


def test_a_library_that_is_not_there_is_named_with_its_extra(
    night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.delitem(__import__("sys").modules, "harvester.export.parquet", raising=False)
    told = export(night, night.with_name("t.parquet"), code=2)
    assert "needs the library pyarrow" in told
    assert "with '.[parquet]' in place of" in told


def test_an_empty_output_is_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").touch()
    for form in ("csv", "jsonl", "sqlite", "xlsx"):
        assert "0 notes" in export(tmp_path / "n.jsonl", tmp_path / f"t.{form}")
    export(tmp_path / "n.jsonl", tmp_path / "t.csv", "--preset", "marketing")
    assert (tmp_path / "t.csv").read_text("utf-8-sig").startswith('"title","userInfo.nickName",')


def test_what_a_run_is_just_writing_is_left_out_and_told(night: Path) -> None:
    with night.open("ab") as file:
        file.write(line(500, {"title": "not yet"})[:90])
    place = night.with_name("t.csv")
    told = export(night, place)
    assert f"{night}: the last line is torn (90 bytes) and left out" in told
    assert len(read_csv(place)) == 120


def test_a_last_line_that_lost_its_newline_is_a_row(night: Path) -> None:
    night.write_bytes(night.read_bytes() + line(500, {"title": "last"})[:-1])
    export(night, place := night.with_name("t.csv"))
    rows = read_csv(place)
    assert (len(rows), rows[-1]["title"]) == (121, "last")


class Full(io.BytesIO):
    """A file on a disk with room for so much, without a buffer before it."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever is bytes
        if self.tell() + len(data) > 300:
            raise OSError("full")
        return super().write(data)


def test_a_workbook_on_a_full_disk_is_an_error_and_nothing_comes_after_it() -> None:
    # What an archive would do as it is thrown away is a warning, which fails a test.
    with pytest.raises(OSError, match="full"), Full() as file, excel_table(file, []) as write:
        write([])
    gc.collect()


def test_a_cell_holds_as_many_signs_as_excel_counts(tmp_path: Path) -> None:
    output, place = tmp_path / "n.jsonl", tmp_path / "t.xlsx"
    output.write_bytes(line(1, {"a": "😀" * 16384, "b": "😀" * 16383, "c": "a" * 40000}))
    export(output, place, "--fields", "a,b,c")
    cells = next(openpyxl.load_workbook(place).active.iter_rows(min_row=2, values_only=True))
    assert cells == ("😀" * 16383 + "…", "😀" * 16383, "a" * 32766 + "…")


def test_what_few_notes_have_has_its_column_too(tmp_path: Path) -> None:
    """Not all lines are looked at before they are read: what was not foreseen begins it anew."""
    output, place = tmp_path / "n.jsonl", tmp_path / "t.csv"
    lines = [line(number, {"likeNum": number}) for number in range(1200)]
    lines[1111] = line(1111, {"likeNum": "many", "rare": {"too": True}})
    output.write_bytes(b"".join(lines) + lines[0][:50])
    told = export(output, place, "--fields", "likeNum,rare")
    assert told.count("torn") == 1
    assert "1,200 notes, 2 columns" in told
    assert read_csv(place)[1111] == {"likeNum": "many", "rare.too": "true"}
    lines[1111] = lines[1111].replace(b"true", b"maybe")
    output.write_bytes(b"".join(lines))
    assert f"{output}:1112 is not a good line" in export(output, place, code=2)


NAMES = st.sampled_from(["a", "b", "title", "likeNum", "noteId", "fetchedAt", "x.y", "time"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**16), 10**16)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aé=\ud83d😀", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {"noteId": st.just("n"), "fetchedAt": st.just("2026-11-23T01:02:03.456Z"), "data": VALUES},
    optional={"input": st.dictionaries(NAMES, VALUES, max_size=2), "raw": st.text(max_size=2)},
)


def cells_of(record: dict[str, Any]) -> dict[tuple[str, ...], object]:
    """All that is in a record, told another way than the program does."""
    data = record["data"]
    while isinstance(data, list) and len(data) == 1:
        (data,) = data
    cells: dict[tuple[str, ...], object] = {}

    def put(path: tuple[str, ...], value: object) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                put((*path, key), inner)
        elif isinstance(value, int) and abs(value) >= 10**15:
            cells[path] = str(value)
        else:
            is_json = isinstance(value, dict | list)
            value = as_json(halves_mended(value)) if is_json else value
            cells[path] = halves_mended(value)

    put((), record | {"data": None if data in ([], {}) else data})
    return {path: cell for path, cell in cells.items() if cell is not None}


def halves_mended(value: Any) -> Any:  # noqa: ANN401 - whatever JSON there is
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", text))


@given(st.lists(RECORDS, min_size=1, max_size=6))
def test_however_lines_are_read_a_row_is_what_they_hold(records: list[dict[str, Any]]) -> None:
    seen = Seen()
    lines = [json.dumps(record).encode() for record in records]
    assert all(map(seen.look_at, lines * 2))
    columns = columns_of(seen, Choice())
    paths = [column.cell.path for column in columns if column.cell]
    assert len({column.heading for column in columns}) == len(paths)
    layout = RowLayout(columns, ZoneInfo("UTC"), seen)
    for record, text in zip(records, lines, strict=True):
        cells = layout.cells(text)
        # What is before it has it read the long way.
        assert repr(layout.cells(BOM + text)) == repr(cells)
        told = {path: cell for path, cell in zip(paths, cells, strict=True) if cell is not None}
        wanted = cells_of(record)
        for path in wanted.keys() - told.keys():
            is_again = path == ("data", "noteId") and wanted[path] == record["noteId"]
            parents = {("input",), *(p[: len(path)] for p in paths)}
            is_parent = wanted[path] == "{}" and path in parents
            assert is_again or is_parent
        assert told.keys() <= wanted.keys()
        assert [repr(told[path]) for path in told if path != ("fetchedAt",)] == [
            repr(wanted[path]) for path in told if path != ("fetchedAt",)
        ]


@pytest.mark.parametrize(
    "data",
    [{"noteId": "other"}, [{"a": 1}], {"a": "\ud83d"}, {"a.b": {"c": {}}}, {"a": [{"b": {}}]}],
)
def test_a_line_like_one_that_was_seen_is_read_the_short_way(data: object) -> None:
    seen, text = Seen(), line(1, data)
    assert seen.look_at(text)
    assert seen.read(text) is not None


def test_members_of_one_name_have_a_column_each(tmp_path: Path) -> None:
    output, place = tmp_path / "n.jsonl", tmp_path / "t.jsonl"
    data = {"a.b": 1, "a": {"b": 2}, "input": {"sku": 3}, "none": {}, "some": {}}
    output.write_bytes(line(1, data, carried={"sku": "4"}) + line(2, {"some": {"x": 5}}))
    export(output, place)
    row, other = [json.loads(text) for text in place.read_text("utf-8").splitlines()]
    alike = {"a.b": 1, "a.b_2": 2, "input.sku": "4", "input.sku_2": 3}
    assert {name: row[name] for name in alike} == alike
    # An object is its members, wherever one has any.
    assert row["none"] == "{}"
    assert (row["some.x"], other["some.x"], "some" in row) == (None, 5, False)
    export(output, place, "--fields", "a.b")
    assert json.loads(place.read_text("utf-8").splitlines()[0]) == {"a.b": 1, "a.b_2": 2}


def test_notes_that_name_members_by_ids_need_a_choice_of_columns(tmp_path: Path) -> None:
    output, place = tmp_path / "n.jsonl", tmp_path / "t.csv"
    output.write_bytes(
        b"".join(
            line(n, {"title": "a", "by": {f"{n}.{m}": 1 for m in range(70)}}) for n in range(40)
        )
    )
    assert "choose some with --fields" in export(output, place, code=2)
    assert not place.exists()
    export(output, place, "--fields", "title,noteId")
    assert read_csv(place)[39] == {"title": "a", "noteId": note_id(39)}
