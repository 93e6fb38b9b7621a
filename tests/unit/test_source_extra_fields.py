"""Columns of an input that travel along with its note ids."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.errors import InputError, UsageError
from harvester.model import Page
from harvester.source.extra_fields import LONGEST_EXTRA, ExtraFields, parse_extra_fields
from harvester.source.given import pages_of
from harvester.source.options import InputOptions

A, B = (f"67f32a94000000001d02eb{n:02x}" for n in range(2))


def read(path: Path, carry: str | None) -> list[Page]:
    return list(pages_of([path], InputOptions(carry=carry)))


def carried(path: Path, names: str) -> dict[str, Any]:
    pages = read(path, names)
    return {key: json.loads(text) for page in pages for key, text in page.extra_fields.items()}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_named_columns_travel_along_in_the_order_of_the_list(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"owner,noteId,campaign,rest\nLi,{A},春 节,x\n,{B},,\n")
    found = read(path, "campaign, owner")[0].extra_fields
    assert found == {A: '{"owner":"Li","campaign":"春 节"}', B: '{"owner":"","campaign":""}'}


def test_all_columns_but_the_id_travel_along(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", f"noteId\tcampaign\t\towner\n{A}\tspring\tno name\tLi\n")
    assert read(path, "all")[0].extra_fields == {A: '{"campaign":"spring","owner":"Li"}'}


def test_a_row_too_short_carries_null(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"noteId,campaign\n{A}\n")
    assert carried(path, "campaign") == {A: {"campaign": None}}


def test_of_columns_with_one_name_the_first_travels_along(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"noteId,x,x\n{A},1,2\n")
    assert carried(path, "all") == {A: {"x": "1"}}


def test_the_last_row_that_names_a_note_counts(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"noteId,x\n{A},1\n{B},2\n{A},3\n")
    assert carried(path, "x") == {A: {"x": "3"}, B: {"x": "2"}}
    assert [page.differed for page in read(path, "x")] == [[A]]


def test_a_column_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"noteId,campaign\n{A},x\n")
    with pytest.raises(InputError, match=r"a\.csv:1: no column owner to carry.*campaign"):
        read(path, "campaign,owner")


def test_json_values_travel_along_as_they_are(tmp_path: Path) -> None:
    record = {"noteId": A, "n": 2**70, "list": [1, {"a": None}], "cut": "\ud83d", "f": 0.1}
    path = write(tmp_path, "a.jsonl", json.dumps(record) + "\n")
    del record["noteId"]
    assert carried(path, "all") == {A: record}
    assert carried(path, "n,nothing") == {A: {"n": 2**70}}


def test_a_value_that_is_no_json_is_a_bad_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", f'{{"noteId":"{A}","x":1e400}}\n{{"noteId":"{B}","x":1}}\n')
    (page,) = read(path, "all")
    assert [str(bad.line) for bad in page.bad] == ["1"]
    assert page.ids == [B]


def test_too_much_to_carry_is_a_bad_line_that_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"noteId,x\n{A},{'y' * LONGEST_EXTRA}\n{B},z\n")
    (page,) = read(path, "x")
    assert page.ids == [B]
    assert "name fewer columns" in page.bad[0].reason


def test_plain_text_has_no_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", f"{A}\n")
    with pytest.raises(InputError, match="no columns to carry"):
        read(path, "owner")
    assert carried(path, "all") == {}


def test_standard_input_may_hold_objects_with_more_fields() -> None:
    stdin = io.BytesIO(f'{{"noteId":"{A}","owner":"Li"}}\n{B}\n'.encode())
    (page,) = pages_of(["-"], InputOptions(carry="owner"), stdin)
    assert page.ids == [A, B]
    assert page.extra_fields == {A: '{"owner":"Li"}'}


def test_what_is_carried_stays_with_its_page(tmp_path: Path) -> None:
    ids = [f"{number:024x}" for number in range(15_000)]
    rows = "".join(f"{note_id},{note_id[-4:]}\n" for note_id in ids)
    pages = read(write(tmp_path, "a.csv", "noteId,x\n" + rows), "x")
    assert len(pages) > 1
    for page in pages:
        assert page.extra_fields == {key: f'{{"x":"{key[-4:]}"}}' for key in page.ids}


@pytest.mark.parametrize("names", ["", ",", "a,,b", " ", []])
def test_names_that_are_none_are_refused(names: str | list[str]) -> None:
    with pytest.raises(UsageError, match="--carry"):
        parse_extra_fields(names)


def test_nothing_is_carried_unless_asked_for(tmp_path: Path) -> None:
    assert parse_extra_fields(None) is None
    path = write(tmp_path, "a.csv", f"noteId,x\n{A},1\n")
    assert read(path, None)[0].extra_fields == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "noteId"), VALUES))
def test_any_json_object_comes_back_value_for_value(record: dict[str, Any]) -> None:
    assert json.loads(ExtraFields().of_record({"noteId": A, **record}, "noteId")[0]) == record
