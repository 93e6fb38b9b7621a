"""Lists as people make them: every note in them is found, once, with its columns, and no other."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from harvester.errors import InputError
from harvester.model import BadLine
from harvester.source.given import pages_of
from harvester.source.options import InputOptions

A, B, C, D = (f"67f32a94000000001d02eb{n:x}a" for n in range(4, 8))
UID = "5f0c1d2e000000000101a2b3"
# Every example is long to make; `make soak` tries many more.
FEW = settings().max_examples // 3
SITE = "https://www.xiaohongshu.com"
URL = f"{SITE}/explore/"


class Read:
    """What comes of a list."""

    def __init__(self, data: str | bytes, **options: Any) -> None:  # noqa: ANN401 - InputOptions' own
        raw = data if isinstance(data, bytes) else data.encode()
        self.ids: list[str] = []
        self.bad: list[BadLine] = []
        self.told: list[str] = []
        self.carried: dict[str, Any] = {}
        for page in pages_of(["-"], InputOptions(**options), io.BytesIO(raw)):
            self.ids += page.ids
            self.bad += page.bad
            self.told += page.told + page.warned
            self.carried |= {key: json.loads(text) for key, text in page.extra_fields.items()}


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, A)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return file.getvalue()


def workbook(sheets: dict[str, str]) -> bytes:
    """An .xlsx of sheets, each the XML of its rows."""
    file = io.BytesIO()
    head, office = '<?xml version="1.0"?>', "http://schemas.openxmlformats.org/officeDocument/2006"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    numbers = [*enumerate(sheets, 1)]
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/s{n}.xml" ContentType="{kind}.worksheet+xml"/>'
        for n, _ in numbers
    )
    named = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in numbers)
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{office}/relationships/worksheet" '
        f'Target="worksheets/s{n}.xml"/>'
        for n, _ in numbers
    )
    styles = (
        '<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy/m/d"/></numFmts>'
        "<fonts><font/></fonts><fills><fill/></fills><borders><border/></borders>"
        "<cellStyleXfs><xf/></cellStyleXfs>"
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="164" applyNumberFormat="1"/>'
        '<xf numFmtId="9"/><xf numFmtId="10"/><xf numFmtId="31"/></cellXfs>'
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'{head}<Types xmlns="{package}/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Default Extension="xml" ContentType="application/xml"/><Override '
            f'PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{overrides}</Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'{head}<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
            f'Type="{office}/relationships/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        archive.writestr(
            "xl/workbook.xml",
            f'{head}<workbook xmlns="{main}" xmlns:r="{office}/relationships"><sheets>{named}'
            "</sheets></workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'{head}<Relationships xmlns="{package}/relationships">{relations}<Relationship '
            f'Id="st" Type="{office}/relationships/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr("xl/styles.xml", f'{head}<styleSheet xmlns="{main}">{styles}</styleSheet>')
        for (n, _), rows in zip(numbers, sheets.values(), strict=True):
            archive.writestr(
                f"xl/worksheets/s{n}.xml",
                f'{head}<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
            )
    return file.getvalue()


def row(number: int, *cells: str | float) -> str:
    """A row of cells; numbers are dates where they are ints."""
    made = ""
    for column, cell in zip("ABCDEF", cells, strict=False):
        place = f'r="{column}{number}"'
        if isinstance(cell, str):
            made += f'<c {place} t="inlineStr"><is><t>{cell}</t></is></c>'
        else:
            made += f'<c {place} s="{int(isinstance(cell, int))}"><v>{cell}</v></c>'
    return f'<row r="{number}">{made}</row>'


TEXTS: dict[str, tuple[str | bytes, list[str]]] = {
    "markdown": (f"# 清单\n- [一]({URL}{A}?a=1)\n* [二]({URL}{B})\n1. {C}\n2) {D}\n", [A, B, C, D]),
    "a table in markdown": (
        f"| 标题 | 链接 |\n|---|:--|\n| 一 | {URL}{A} |\n| 二 | {URL}{B} |\n",
        [A, B],
    ),
    "numbers": (f"1、{A}\n2．{B}\n（3）{C}\n④{D}\n", [A, B, C, D]),
    "Python": (f"ids = [\n    \"{A}\",\n    '{B}',\n]\n", [A, B]),
    "Python on one line": (f"ids = ['{A}', '{B}']\n", [A, B]),
    "dictionaries": (f"{{'note_id': '{A}', 'user_id': '{UID}'}}\n", [A]),
    "SQL": (f"SELECT * FROM t WHERE id IN ('{A}','{B}');\n", [A, B]),
    "YAML": (f"notes:\n  - {A}\n  - id: {B}\n", [A, B]),
    "several to a line": (f"{A};{B} {C}\n{D}\n", [A, B, C, D]),
    "numbers and a tab between two": (f"1. {URL}{A} 2. \t{B}\n", [A, B]),
    "a share text": (f"标题 {URL}{A}?a=1\n复制后打开【小红书】查看笔记！\n", [A]),
    "in English": (f"Look! {URL}{A}?a=AB=\nCopy and open rednote to view the note\n", [A]),
    "NUL bytes": (f"{A}\0\n\0{B}\n", [A, B]),
    "line ends": (f"{A}\r\r\n{B}\r{C}\n\r\n{D}", [A, B, C, D]),
    "links that are glued": (f"{URL}{A}{URL}{B}?a=1{URL}{C}\n{D}{URL}{A}\n", [A, B, C, D, A]),
    "line ends that are escaped": (f'"{A}\\n{B}\\r\\n{URL}{C}\\t{D}"\n', [A, B, C, D]),
    "and not quoted": (f"{A}\\n{B}\\t{C}\n", [A, B, C]),
    "paths": (f"explore/{A}\n/discovery/item/{B}\n", [A, B]),
    "a remark": (f"{A} # new, not {B}\n{URL}{B}#comment\n# {C}\n", [A, B]),
    "a topic before the words": (f"#春节[话题]# #美妆 {URL}{A} 复制\n", [A]),
    "JSON in code": (
        f'export const notes = [\n {{"noteId":"{A}"}},\n {{"noteId":"{B}","by":"{UID}"}}\n];\n',
        [A, B],
    ),
    "lines of an array": (f'{{"id":"{A}"}},\n{{"id":"{B}"}},\n{{"id":"{C}"}}\n', [A, B, C]),
    "records with a mark": (f'\x1e{{"id":"{A}"}}\n\x1e{{"id":"{B}"}}\n', [A, B]),
    "HTML": (
        f"""<!DOCTYPE html><ul><li><a href="{URL}{A}?x=1&amp;y=2">看</a><li>{URL}{B}
        <li><a href="/user/profile/{UID}">她</a></ul><script>"{URL}{C}"</script>""",
        [A, B],
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_of_all_kinds_name_their_notes(kind: str) -> None:
    data, ids = TEXTS[kind]
    read = Read(data)
    assert sorted(read.ids) == sorted(ids)
    assert read.bad == []


TABLES: dict[str, tuple[str | bytes, list[str], dict[str, Any]]] = {
    "title rows": (f"投放清单\n时间,2026\n\n笔记ＩＤ,达人\n{A},李\n", [A], {"达人": "李"}),
    "drawn in Markdown": (
        f"| userId | noteId | 达人 |\n|:--|--:|---|\n| {UID} | {A} | 李 |\n| {UID} | {B} | |\n",
        [A, B],
        {"userId": UID, "达人": "李"},
    ),
    "drawn by MySQL": (
        f"+----+----+\n| user_id | id | 达人 |\n+----+----+\n| {UID} | {A} | 李 |\n+----+----+\n",
        [A],
        {"达人": "李"},
    ),
    "drawn by DuckDB": (
        f"┌──┬──┐\n│ userId │ noteId │ 达人 │\n├──┼──┤\n│ {UID} │ {A} │ 李 │\n└──┴──┘\n",
        [A],
        {"达人": "李"},
    ),
    "a note on the name": (f"笔记链接（必填）;达人\n{URL}{A};李\n", [A], {"达人": "李"}),
    "sep=": (f"sep=;\nNote ID;达人\n{A};李\n", [A], {"达人": "李"}),
    "no header": (f"李,{URL}{A}\n韩,{URL}{B}\n", [A, B], {"column 1": "李"}),
    "a row's number": (f"id,达人,笔记链接\n1,李,{URL}{A}\n", [A], {"达人": "李"}),
    "the id is lost": (f"笔记ID,笔记链接,达人\n6.79E+22,{URL}{A},李\n", [A], {"达人": "李"}),
    "a formula": (f'链接,达人\n"=HYPERLINK(""{URL}{A}"",""看"")",李\n', [A], {"达人": "李"}),
    "a mention": (f"noteId,达人\n{A},看 {URL}{B}\n", [A], {"达人": f"看 {URL}{B}"}),
    "several lines": (f'noteId,达人\n{A},"李\n看 {URL}{B}"\n', [A], {"达人": f"李\n看 {URL}{B}"}),
    "UTF-16 big-endian": (
        b"\xfe\xff" + f"笔记ID\t达人\n{A}\t李\n".encode("utf-16-be"),
        [A],
        {"达人": "李"},
    ),
    **{
        f"{name} without a mark": (
            f"笔记标题\t笔记ID\t达人\n一万\t{A}\t李\n".encode(name),
            [A],
            {"达人": "李"},
        )
        for name in ("utf-16-le", "utf-16-be")
    },
    "an id beside a short link": (
        f"id,link,达人\n{A},http://xhslink.com/a/b,李\n",
        [A],
        {"达人": "李"},
    ),
    "an id of anything": (f"_id,note_url,达人\n{UID},{URL}{A},李\n", [A], {"达人": "李"}),
    "an id of anything in JSON": (
        f"""{{"_id":{{"$oid":"{UID}"}},"link":"{URL}{A}","达人":"李"}}
        {{"_id":"{UID}","note_url":"{URL}{B}"}}\n{{"id":"{UID}","url":"{URL}{C}"}}\n""",
        [A, B, C],
        {"达人": "李"},
    ),
    "rows in an array": (
        f'[["noteId","userId","达人"],\n["{A}","{UID}","李"],["{B}","{UID}",null]]',
        [A, B],
        {"userId": UID, "达人": "李"},
    ),
    "what is not a number": (f'[{{"id":"{A}","达人":NaN}}]', [A], {"达人": None}),
    "what is not a number, a line": (f'{{"id":"{A}","达人":-Infinity}}\n', [A], {"达人": None}),
    "GB18030": (f"笔记ID,达人\n{A},李\n".encode("gb18030"), [A], {"达人": "李"}),
    "HTML": (
        f"<html><table><tr><th>笔记ID</th><th>达人</th></tr><tr><td>{A}<td>李</tr></table>",
        [A],
        {"达人": "李"},
    ),
    "HTML with links": (
        f"""<table><tr><th>笔记链接</th><th>达人</th></tr><tr><td><a href="{URL}{A}">看</a></td>
        <td>李</td></tr></table>""",
        [A],
        {"达人": "李"},
    ),
    "XML": (
        f"""<?xml version='1.0'?><Workbook><Table><Row><Cell><Data>笔记ID</Data></Cell><Cell>
        <Data>达人</Data></Cell></Row><Row><Cell><Data>{A}</Data></Cell><Cell><Data>李</Data></Cell>
        </Row></Table></Workbook>""",
        [A],
        {"达人": "李"},
    ),
    "an array": (
        f'[\n{{"笔记ID": "{A}", "达人": "李",\n"desc": "{URL}{B}"}}]',
        [A],
        {"达人": "李"},
    ),
    "an object with one": (
        f'{{"code":0,"data":{{"a":[{{"id":"{A}","达人":"李"}}]}}}}',
        [A],
        {"达人": "李"},
    ),
    "values in a row": (f'{{"id":"{A}",\n"达人":"李"}}\n{{\n"id":"{B}"}}', [A, B], {"达人": "李"}),
    "JSON in GB18030": (f'[{{"id":"{A}","达人":"李"}}]'.encode("gb18030"), [A], {"达人": "李"}),
    "an OUTPUT": (
        f'{{"noteId":"{A}","data":{{"noteId":"{B}"}},"达人":"李"}}\n',
        [A],
        {"达人": "李"},
    ),
    "Excel": (
        workbook({"说明": row(1, "请填写"), "单": row(2, "笔记ID", "达人") + row(3, A, "李")}),
        [A],
        {"达人": "李"},
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_all_kinds_name_their_notes_and_carry_their_columns(kind: str) -> None:
    data, ids, columns = TABLES[kind]
    packs: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress]
    for pack in packs:
        read = Read(pack(data if isinstance(data, bytes) else data.encode()), carry="all")
        assert (read.ids, read.bad) == (ids, []), pack
        assert columns.items() <= read.carried[ids[0]].items()


def test_dates_and_numbers_are_carried_as_people_see_them() -> None:
    rows = row(1, "noteId", "日期", "数", "分") + row(2, A, 46000, 3.0, 0.1)
    assert Read(workbook({"s": rows}), carry="all").carried == {
        A: {"日期": "2025-12-09", "数": "3", "分": "0.1"}
    }


def cell(place: str, inner: str, more: str = "") -> str:
    return f'<c r="{place}" {more}>{inner}</c>'


HEAD = row(1, "noteId", "列")
INLINE = 't="inlineStr"'


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (cell("B2", "<v>0.07</v>", 's="2"'), "7%"),
        (cell("B2", "<v>0.1234</v>", 's="3"'), "12.34%"),
        (cell("B2", "<v>46000</v>", 's="4"'), "2025-12-09"),
        (cell("B2", "<v>46000.5</v>", 's="1"'), "2025-12-09 12:00:00"),
        (cell("B2", "<v>-99999999</v>", 's="1"'), "#VALUE!"),  # of which the library warns
        (cell("B2", "<v>#N/A</v>", 't="e"'), "#N/A"),
        (cell("B2", "<v>1</v>", 't="b"'), "TRUE"),
        (cell("B2", "<f>1+1</f><v>2</v>"), "2"),
        (cell("B2", "<f>1+1</f>"), "=1+1"),
        (cell("B2", ""), ""),
        (cell("B2", "<is><t>a_x000D_</t></is>", 't="inlineStr"'), "a\r"),
    ],
)
def test_cells_of_a_workbook_are_carried_as_they_are_seen(made: str, shown: str) -> None:
    rows = HEAD + f'<row r="2">{cell("A2", f"<is><t>{A}</t></is>", INLINE)}{made}</row>'
    assert Read(workbook({"s": rows}), carry="all").carried == {A: {"列": shown}}


def test_a_formula_that_nobody_has_computed_names_its_note() -> None:
    made = cell("A2", f'<f>HYPERLINK("{URL}{A}","看")</f>')
    assert Read(workbook({"s": f'{HEAD}<row r="2">{made}</row>'})).ids == [A]


def test_cells_in_far_corners_cost_and_change_nothing() -> None:
    far = "".join(
        f'<row r="{at}">{cell(f"XFD{at}", "<is><t>x</t></is>", INLINE)}</row>'
        for at in (1048576, 10**15)
    )
    read = Read(workbook({"s": HEAD + row(2, A) + far}))
    assert read.ids == [A]
    assert [bad.line for bad in read.bad] == [1048576, 10**15]


def test_rows_without_numbers_are_counted() -> None:
    rows = (HEAD + row(2, A) + row(3, "x")).replace(' r="', ' x="')
    read = Read(workbook({"s": rows}))
    assert read.ids == [A]
    assert [bad.line for bad in read.bad] == [3]


def test_a_sheet_without_cells_names_nothing() -> None:
    assert Read(workbook({"s": ""})).ids == []


def test_a_workbook_that_ends_early_or_is_broken_is_refused_in_words() -> None:
    whole = workbook({"s": HEAD + row(2, A)})
    with pytest.raises(InputError, match="zip archive is broken"):
        Read(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        Read(workbook({"s": HEAD + row(2, A) + "<row>"}))
    lost = cell("A3", "<v>9</v>", 't="s"')  # of shared texts that are not there
    with pytest.raises(InputError, match="cannot be read"):
        Read(workbook({"s": f"{HEAD}<row>{lost}</row>"}))
    with pytest.raises(InputError, match="cannot be read"):
        Read(whole.replace(b"t=", b"T="))


def made(make: Callable[[Workbook], None]) -> bytes:
    book, file = Workbook(), io.BytesIO()
    make(book)
    book.save(file)
    return file.getvalue()


@pytest.mark.parametrize("data", [f"{A}\n{B}\n", f"{URL}{A}\n{URL}{B}\n"])
def test_a_column_of_notes_alone_is_a_table(data: str) -> None:
    def fill(book: Workbook) -> None:
        for cell in data.split():
            book.active.append([cell])

    assert Read(made(fill)).ids == [A, B]
    assert Read(data, kind="csv").ids == [A, B]


def test_a_sheet_that_nobody_sees_is_read_last() -> None:
    def fill(book: Workbook) -> None:
        for cell in ("noteId", B):
            book.active.append([cell])
        book.active.sheet_state = "hidden"
        seen = book.create_sheet("seen")
        for cell in ("noteId", A):
            seen.append([cell])

    assert Read(made(fill)).ids == [A]


def test_a_cell_leads_to_the_note_that_it_is_linked_with_where_nothing_names_one() -> None:
    def fill(book: Workbook, *, named: bool) -> None:
        book.active.append(["标题", "链接", "达人"])
        book.active.append(["春", A if named else "打开", "李"])
        book.active["B2"].hyperlink = f"{URL}{A}"
        book.active["A2"].hyperlink = f"{SITE}/user/profile/{UID}"

    linked = Read(made(lambda book: fill(book, named=False)), carry="达人")
    assert linked.carried == {A: {"达人": "李"}}
    named = Read(made(lambda book: fill(book, named=True)), carry="标题")
    assert named.carried == {A: {"标题": "春"}}


@pytest.mark.parametrize("endless", ["<!-- " + "x" * 17_000_000, f"<td>{'x' * 999}" * 1_100])
def test_a_page_that_goes_on_without_end_is_not_read_to_it(endless: str) -> None:
    with pytest.raises(InputError, match="does not end"):
        Read(f"<html><table><tr>{endless}")


def test_of_several_sheets_it_is_said_which_is_read() -> None:
    rows = row(1, "noteId") + row(2, A)
    (told,) = Read(workbook({"a": row(1, "x"), "b": rows, "c": rows})).told
    assert told == "<stdin>: of 3 sheets 'b' is read"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zipped("a.txt"), "zip archive: unpack it"),
        (zipped("mimetype"), "OpenDocument file: save it as .xlsx"),
        (tarred(), "tar archive: unpack it"),
        (b"\x28\xb5\x2f\xfd...", "zstd -d"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"\.xls\) or has a password: save it as .xlsx"),
        (zipped("xl/workbook.xml"), "cannot be read"),
        (b"PK\x03\x04rest", "broken"),
        (f"user_id,nickname\n{UID},Ann\n", "no column .*user_id, nickname"),
        (f"编号;地址\n1;{URL}{A}\n2;{URL}{B}\n", "columns found: 编号, 地址.*--id-field"),
        (f"用户ID\n{UID}\n", "ids of 用户ID"),
        (f'[{{"id":"{A}"}}, {{"id":', "line 1: this is not JSON"),
    ],
    # Archives hold the moment at which they were made.
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_is_no_list_of_notes_is_refused_with_the_way_out(
    data: str | bytes, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Read(data)


def test_without_what_reads_workbooks_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"with '\.\[excel\]'"):
        Read(workbook({"s": row(1, "noteId")}))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'noteId,title\n{A},"x\n{B},y\n{C},z\n', 2),
        (f'noteId,title\n{A},"5" x\n{B},"y\n{C},z"\n', 3),
        (f'title,noteId\n"x,{A}\ny,{B}\n"z",{C}\n', 2),
        (f'noteId,title\n{A},x\n{B},"y\n{C}' + ",z\n" + ",\n" * 70_000, 3),
    ],
)
def test_a_quote_that_is_never_closed_swallows_nothing(text: str, line: int) -> None:
    read = Read(text)
    assert read.ids == [A, B, C]
    assert f"line {line}: a quote" in read.told[0]


def test_the_encoding_that_is_taken_is_told_and_can_be_said() -> None:
    data = f"noteId,標題\n{A},春季上新\n"
    (told,) = Read(data.encode("gb18030")).told
    assert "not UTF-8 and is taken for GB18030" in told
    read = Read(data.encode("big5"), encoding="big5", carry="all")
    assert read.told == []
    assert read.carried == {A: {"標題": "春季上新"}}


def test_bytes_of_no_encoding_are_no_replacement_characters() -> None:
    data = f"noteId,标题\n{A},春季上".encode() + b"\xff\xff\n"
    assert Read(data, carry="all").carried == {A: {"标题": "春季上%FF%FF"}}
    mixed = f"{A} 标题很长很长\n".encode() + f"{B} 春季".encode("gb18030") + b"\n"
    assert Read(mixed).ids == [A, B]


def test_the_id_field_may_be_dotted_and_repeated() -> None:
    data = f'{{"data":{{"noteId":"{A}"}}}}\n{{"key":"{B}","data":{{"noteId":"{C}"}}}}\n{{"x":1}}\n'
    read = Read(data, id_field=["key", "data.noteId"])
    assert read.ids == [A, B]
    assert [bad.line for bad in read.bad] == [3]


def test_the_form_can_be_said() -> None:
    assert Read(f"编号,地址\n1,{URL}{A}\n", kind="text").ids == [A]
    assert Read(f"noteId\n{A}\n", kind="csv", carry="all").ids == [A]
    with pytest.raises(InputError, match="no column"):
        Read(f"编号\n{A}\n", kind="csv")


SIGNS = st.sampled_from(
    ["", '"', "'", " ", "\u200b", "\ufeff", "\u3000", "\t", "\xa0", ",", "，", "、"]
)
NAMES = [
    "noteId",
    "Note ID",
    "笔记ID",
    "笔记ＩＤ",
    "作品id",
    "note_url",
    "笔记链接",
    " 作品链接 ",
    "LINK",
]
WORDS = st.text(st.sampled_from("春季上新李雷韩abc XY,;\"'\n看0123/·"), max_size=12).map(str.strip)
SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    lambda note: f"{SITE}/explore/{note}?xsec_token=AB1=&xsec_source=pc",
    lambda note: f"https://www.rednote.com/discovery/item/{note}",
    lambda note: f"{SITE}/user/profile/{UID}/{note}?a=b",
    lambda note: f"{SITE}/explore/{UID}/{note}",
    lambda note: f"xhsdiscover://item/{note}",
    lambda note: f"https%3A%2F%2Fwww.xiaohongshu.com%2Fexplore%2F{note}",
    lambda note: "".join(chr(ord(sign) + 0xFEE0) for sign in note),
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "gb18030"]
PACKERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress]
NOTES = st.lists(
    st.integers(0, 2**64 - 1).map(lambda number: f"67f32a94{number:016x}"),
    min_size=1,
    max_size=8,
    unique=True,
)


def encoded(data: st.DataObject, text: str) -> bytes:
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = data.draw(st.sampled_from(ENCODINGS))
    return data.draw(st.sampled_from(PACKERS))(text.replace("\n", end).encode(encoding))


@settings(max_examples=FEW)
@given(NOTES, st.data())
def test_every_note_of_any_text_is_found_once(notes: list[str], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["", "# 清单\n", "\n\n"]))
    for number, note in enumerate(notes, 1):
        before = data.draw(
            st.sampled_from(["", f"{number}. ", f"{number}、", "- ", "* ", "• ", "看 "])
        )
        spelt = data.draw(st.sampled_from(SPELLINGS))(note)
        text += before + data.draw(SIGNS) + spelt + data.draw(SIGNS)
        text += data.draw(st.sampled_from(["\n", "\n\n", " ", "，"])) if number < len(notes) else ""
    read = Read(encoded(data, text))
    assert read.ids == notes
    assert read.bad == []


def quoted(cell: str, delimiter: str, *, always: bool) -> str:
    if always or any(sign in cell for sign in (delimiter, '"', "\n")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


@settings(max_examples=FEW)
@given(NOTES, st.data())
def test_every_note_of_any_table_is_found_once_with_its_columns(
    notes: list[str], data: st.DataObject
) -> None:
    delimiter, always = data.draw(st.sampled_from([",", ";", "\t"])), data.draw(st.booleans())
    columns = data.draw(st.permutations([data.draw(st.sampled_from(NAMES)), "标题", "达人 2"]))
    place = next(at for at, name in enumerate(columns) if name not in {"标题", "达人 2"})
    spell = data.draw(st.sampled_from(SPELLINGS))
    rows = [list(columns)]
    for note in notes:
        sign = data.draw(SIGNS)
        made = [data.draw(WORDS) for _ in columns]
        made[place] = sign + spell(note) + sign
        rows.append(made)
    text = data.draw(st.sampled_from(["", "投放清单\n", "\n", f"sep={delimiter}\n"]))
    lines = (
        delimiter.join(quoted(cell, delimiter, always=always) for cell in made) for made in rows
    )
    read = Read(encoded(data, text + "\n".join(lines)), carry="all")
    assert read.ids == notes
    assert read.bad == []
    names = [name.strip() for name in columns]
    for note, made in zip(notes, rows[1:], strict=True):
        assert read.carried[note] == {
            name: cell
            for at, (name, cell) in enumerate(zip(names, made, strict=True))
            if at != place
        }


@settings(max_examples=FEW)
@given(NOTES, st.data())
def test_every_note_of_any_json_is_found_once_with_its_fields(
    notes: list[str], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(["noteId", "note_id", "笔记ID", "笔记链接", "URL"]))
    spell = data.draw(st.sampled_from(SPELLINGS))
    others = [{"desc": data.draw(WORDS), "n": data.draw(st.integers())} for _ in notes]
    made = [{key: spell(note), **more} for note, more in zip(notes, others, strict=True)]
    indent = data.draw(st.sampled_from([None, 2]))
    write: Callable[[object], str] = json.JSONEncoder(
        ensure_ascii=data.draw(st.booleans()), indent=indent
    ).encode
    text = data.draw(
        st.sampled_from(
            [
                write(made),
                write({"code": 0, "data": {"items": made, "has_more": False}}),
                "\n".join(map(write, made)),
            ]
        )
    )
    read = Read(encoded(data, text), carry="all")
    assert read.ids == notes
    assert read.bad == []
    assert [read.carried[note] for note in notes] == others
