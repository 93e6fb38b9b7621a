"""The page of a ledger's data: what it shows, what it keeps out, and where it may be written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harvester.errors import LocalIOError, UsageError
from harvester.ledger.protocol import Checkpoint, Identity
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.model import Job, Judgement, Outcome, State, Verdict
from harvester.money import Balance, Balances
from harvester.output.lines import make_line
from harvester.report import MARK, check_place
from harvester.report import notes as notes_module
from harvester.report.data import MOST_IDS, ReportData, read_report
from harvester.report.notes import read_notes
from harvester.report.page import page_of
from harvester.results import result_into
from harvester.status.model import StatusQuery

START = 1795395720.0  # 2026-11-23 09:02 in Shanghai
SHANGHAI = ZoneInfo("Asia/Shanghai")
HOSTILE = "</script><script>alert(1)</script> \u202e笔记 & \x1b[31m \"x\" 'y'"


class Night:
    """A ledger made by hand; `now` is its clock."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "notes.jsonl"
        self.now = START
        self._ledger = SqliteLedger(folder / "notes.jsonl.ledger", lambda: self.now)
        self._ledger.identify(Identity("xiaohongshu-pgy/note-detail/v1", simulated=True))
        self._ledger.begin_run(120.0)

    def enrol(self, many: int) -> None:
        self._ledger.enrol([f"{n:024x}" for n in range(many)], None)

    def answer(self, many: int, code: int, state: State, reason: str = "") -> None:
        jobs = self._ledger.claim(many, 100.0).jobs
        assert len(jobs) == many
        line = b"\n" if state is State.DONE else None
        told = [Outcome(job, state, code, reason, line=line, elapsed=0.2) for job in jobs]
        assert self._ledger.record(told, range(many) if line else (), Checkpoint(many)) == []

    def begin(self) -> None:
        self._ledger.begin_run(120.0)

    def finish(self) -> None:
        self._ledger.finish_run("limit", 7)

    def keep(self, balances: Balances) -> None:
        self._ledger.keep_balances(balances)

    def data(self, price: Decimal | None = None) -> ReportData:
        query = StatusQuery(self.now, SHANGHAI, price, target=str(self.output))
        with reading(self.output.with_name("notes.jsonl.ledger")) as reader:
            return read_report(reader, self.output, self.output.name, query)

    def page(self, price: Decimal | None = None) -> str:
        return page_of(self.data(price))

    def close(self) -> None:
        self._ledger.close()


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    with closing(Night(tmp_path)) as night:
        yield night


def shown(page: str) -> str:
    """A page without its scripts and its style."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def figures(page: str) -> dict[str, Any]:
    """The charts as the page's script gets them."""
    (text,) = re.findall(r'id="figures">(.*?)</script>', page, flags=re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_headline_numbers_the_money_and_the_run_are_told(night: Night) -> None:
    night.enrol(10)
    night.answer(6, 0, State.DONE)
    night.answer(1, 404, State.REJECTED, "not found")
    night.now += 90
    night.finish()
    text = shown(night.page(price=Decimal("0.05")))
    for told in ("of 10 notes (60.0%)", "1 rejected", ">0.30<", "limit (exit 7)", "1 min 30 s"):
        assert told in text, told
    assert "09:02" in text
    assert "harvester retry" in text


def test_every_chart_gets_its_numbers(night: Night) -> None:
    night.enrol(100)
    for _ in range(3):
        night.answer(10, 0, State.DONE)
        night.answer(2, 301, State.QUEUED)
        night.now += 60
    drawn = figures(night.page())
    assert set(drawn) == {"calls", "latency", "backlog", "attempts", "spend"}
    saved, retried = drawn["calls"]["data"]
    assert (saved["meta"], saved["y"]) == ("good", [10, 10, 10])
    assert (retried["meta"], retried["y"]) == ("fair", [2, 2, 2])
    assert saved["x"][0] == "2026-11-23 09:02:00"
    assert drawn["backlog"]["data"][0]["y"] == [90, 80, 70]
    assert drawn["backlog"]["data"][1]["y"][-1] == 0
    assert drawn["spend"]["data"][0]["y"] == [30]
    assert all(0.18 < y < 0.22 for trace in drawn["latency"]["data"] for y in trace["y"])


def test_runs_of_one_minute_are_drawn_in_their_order(night: Night) -> None:
    night.enrol(100)
    for _ in range(4):
        night.answer(10, 0, State.DONE)
        night.finish()
        night.begin()
    (line,) = figures(night.page())["backlog"]["data"][:1]
    assert line["y"] == [90, 80, 70, 60]
    assert line["x"] == sorted(line["x"])


def test_every_colour_that_is_drawn_has_its_legend(night: Night) -> None:
    night.enrol(100)
    for code, state in ((0, State.DONE), (301, State.QUEUED), (404, State.REJECTED)):
        night.answer(10, code, state)
        night.now += 60
    page = night.page(price=Decimal("0.05"))
    parts = dict(
        re.findall(r'<ul class="legend">(.*?)</ul><div class="chart" id="chart-(.*?)"', page)
    )
    legends = {
        name: re.findall(r'<li><i class="(.*?)"></i>(.*?)</li>', items)
        for items, name in parts.items()
    }
    drawn = figures(page)
    assert set(legends) == set(drawn)
    for name, figure in drawn.items():
        assert legends[name] == [(trace["meta"], trace["name"]) for trace in figure["data"]]


def test_nights_stand_side_by_side_without_the_days_between_them(night: Night) -> None:
    night.enrol(100)
    for _ in range(3):
        night.answer(10, 0, State.DONE)
        night.now += 86_400
    axis = figures(night.page())["calls"]["layout"]["xaxis"]
    assert [pause["bounds"] for pause in axis["rangebreaks"]] == [
        ["2026-11-23 09:03:00", "2026-11-24 09:02:00"],
        ["2026-11-24 09:03:00", "2026-11-25 09:02:00"],
    ]
    assert axis["ticktext"] == ["09:02<br>Nov 23", "09:02<br>Nov 24", "09:02<br>Nov 25"]


def test_a_ledger_without_any_call_has_no_empty_charts(night: Night) -> None:
    page = night.page()
    assert figures(page) == {}
    assert "No note has failed." in shown(page)
    assert "chart-" not in shown(page)


def test_what_the_server_said_is_text_and_nothing_else(night: Night) -> None:
    night.enrol(1)
    night.answer(1, 404, State.REJECTED, HOSTILE)
    page = night.page()
    assert "<script>alert" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "笔记" in page
    assert r"\u202e" in page
    assert r"\x1b[31m" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert page.count("<script") - page.count("<script>") == 1


def test_an_output_with_a_hostile_name_is_text_too(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with closing(Night(folder)) as night:
        night.enrol(1)
    named = folder / "<img src=x onerror=alert(1)>"
    ledger = (folder / "notes.jsonl.ledger").rename(named.with_name(named.name + ".ledger"))
    query = StatusQuery(START, SHANGHAI, target=shlex.quote(str(named)))
    with reading(ledger) as reader:
        page = page_of(read_report(reader, named, named.name, query))
    assert "<img" not in shown(page)
    assert "&lt;img src=x" in page


def test_no_more_than_so_many_ids_are_embedded_and_the_rest_is_one_command(night: Night) -> None:
    night.enrol(MOST_IDS + 5)
    night.answer(MOST_IDS + 5, 404, State.REJECTED, "not found")
    (listed,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", night.page(), flags=re.DOTALL)
    assert len(listed.split()) == MOST_IDS
    text = shown(night.page())
    assert "The first 1,000 of 1,005" in text
    assert "--format ids" in text


def test_the_browser_is_told_to_run_these_scripts_alone_and_to_load_nothing(night: Night) -> None:
    page = night.page()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    policy = unescape(policy)
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"sha256-{digest}" in policy
    assert "src=" not in shown(page)
    assert not re.search(r'href="(?!data:,")', shown(page))


def test_a_page_replaces_an_earlier_page_and_an_empty_file(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for text in ("", f"<head>{MARK.decode()}", "last"):
        check_place(page, tmp_path / "notes.jsonl")
        with result_into(page) as file:
            file.write(text.encode())
    assert page.read_text("utf-8") == "last"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("name", ["notes.jsonl", "notes.jsonl.ledger", "notes.jsonl.ledger-wal"])
def test_a_page_is_never_put_over_the_harvest_even_if_that_is_missing(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="name another file for the page"):
        check_place(tmp_path / name, tmp_path / "notes.jsonl")


def test_a_page_is_never_put_over_the_harvest_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").touch()
    (tmp_path / "page.html").symlink_to("notes.jsonl")
    with pytest.raises(UsageError, match="the same file"):
        check_place(tmp_path / "page.html", tmp_path / "notes.jsonl")


def test_what_is_no_page_of_ours_stays_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "thesis.html"
    other.write_text("<html>years of work", "utf-8")
    with pytest.raises(UsageError, match="move that one away"):
        check_place(other, tmp_path / "notes.jsonl")
    with pytest.raises(UsageError, match="move that one away"):
        check_place(Path("/dev/null"), tmp_path / "notes.jsonl")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="make it"):
        check_place(tmp_path / "no" / "page.html", tmp_path / "notes.jsonl")


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    page = tmp_path / "page.html"
    with pytest.raises(LocalIOError, match="make room"), result_into(page) as file:
        file.write(b"text")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def saved(number: int, likes: int, at: float = 0, title: str = "春天", link: str = "") -> bytes:
    data = {"title": title, "likeNum": likes, "noteLink": link, "userInfo": {"nickName": "阿花"}}
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=json.dumps(data).encode())
    return make_line(Job(number, f"{number:024x}"), judgement, "e", START + at)


def test_the_newest_notes_are_told_and_what_changed_most(night: Night) -> None:
    link = "https://www.xiaohongshu.com/explore/1?a=1&b=2"
    night.output.write_bytes(
        saved(1, 1000, title=HOSTILE, link="javascript:alert(1)")
        + saved(2, 5, 1, link=link)
        + saved(3, 7, 2)
        + saved(2, 1505, 3, title="半\ud83d", link=link)
        + saved(3, 6, 4)
        + b'{"noteId":"torn'
    )
    text = shown(night.page())
    rows = re.findall(r'<tr id="n(\w+)">(.*?)</tr>', text)
    assert [int(name, 16) for name, _ in rows] == [3, 2, 1]
    assert f'href="{link.replace("&", "&amp;")}" rel="noreferrer noopener"' in rows[1][1]
    assert "半\ufffd" in rows[1][1]
    assert "1,505" in rows[1][1]
    assert "阿花" in rows[0][1]
    assert "<a " not in rows[2][1]
    assert "<script" not in text
    changed = text[text.index("What changed most") : text.index("<h2>Notes</h2>")]
    assert re.findall(r">([+-][\d,]+)<", changed) == ["+1,500", "-1"]
    assert "of more" not in text


def test_of_very_many_notes_the_newest_are_told_and_where_all_are(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No note yet" in shown(night.page())
    night.output.write_bytes(b"".join(saved(number, 1, number) for number in range(9)))
    monkeypatch.setattr(notes_module, "MOST_NOTES", 4)
    text = shown(night.page())
    assert "The newest 4 notes of more" in text
    assert "harvester export" in text
    monkeypatch.setattr(notes_module, "_MOST_BYTES", 2 * len(saved(1, 1)) + 1)
    found = read_notes(night.output)
    assert [int(note.note_id, 16) for note in found.told] == [8, 7]
    assert not found.is_all


def test_the_page_begins_with_the_verdict_and_with_what_the_account_paid(night: Night) -> None:
    night.enrol(30)
    night.answer(20, 0, State.DONE)
    before, after = (Balance(Decimal(text), "CNY") for text in ("100.00", "99.00"))
    night.keep(Balances(before, after))
    night.finish()
    text = shown(night.page())
    assert "Stopped by its own limit at 09:02: 20 of 30 notes, 1.00 CNY. Now:" in text
    assert "The account paid 1.00 CNY for 20 calls (0.05 each); the ledger agrees." in text
    assert "99.00 CNY left" in text
