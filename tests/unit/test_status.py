"""What a ledger holds, for people and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.cells import cell_len

from harvester.console.status_text import status_lines
from harvester.json_text import to_json
from harvester.ledger.protocol import Checkpoint, FoundLine, Identity, RunRequest
from harvester.ledger.reader import RunRow
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.model import Job, Outcome, State
from harvester.money import Balance, Balances
from harvester.output.holder import is_held
from harvester.sanitize import has_unprintable
from harvester.status.model import Status, StatusQuery
from harvester.status.reading import kind_of, status_of
from harvester.status.runs import place_alone, runs_alone

NOW = 1795395723.0
SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = 86400.0
ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
PROMISED = [
    "done",
    "queued",
    "waiting",
    "rejected",
    "exhausted",
    "unanswered",
    "closed",
    "charged",
    "endpoint",
    "runs",
]
PROMISED_OF_RUNS = ["startedAt", "finishedAt", "reason", "exitCode", "calls", "charged", "byCode"]


class Told(dict[str, Any]):
    """A status as `status --json` tells it, and as it is."""

    def __init__(self, status: Status) -> None:
        super().__init__(json.loads(to_json(status)))
        self.status = status


class History:
    """A ledger to which things happened; `now` is moved by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOW
        self._ledger = SqliteLedger(path, lambda: self.now)
        self._ledger.identify(Identity(ENDPOINT, simulated=True))
        self._end = 0

    def begin(self, rate: float | None = None, cap: int | None = None) -> None:
        self._ledger.begin_run(120.0, RunRequest(rate, cap))

    def enrol(self, many: int, first: int = 0) -> None:
        self._ledger.enrol([f"{n:024x}" for n in range(first, first + many)], None)

    def answer(self, many: int, code: int | None = 0, reason: str = "", **how: Any) -> None:  # noqa: ANN401 - fields of an outcome
        """So many claimed jobs get such an answer."""
        jobs = self._ledger.claim(many, 100.0).jobs
        self._ledger.mark_sent(jobs, 100.0)
        state = State.DONE if code == 0 else State.QUEUED
        outcomes = [self._outcome(job, code, reason, {"state": state, **how}) for job in jobs]
        saved = [o for o in outcomes if o.line is not None]
        ends = [self._end + n for n in range(1, len(saved) + 1)]
        self._end += len(saved)
        assert len(jobs) == many
        assert self._ledger.record(outcomes, ends, Checkpoint(self._end)) == []

    def _outcome(self, job: Job, code: int | None, reason: str, how: dict[str, Any]) -> Outcome:
        line = b"\n" if how["state"] is State.DONE else None
        given = {"elapsed": 0.2, "fetched_at": self.now, "line": line, **how}
        return Outcome(job, code=code, reason=reason, **given)

    def leave_in_flight(self, many: int) -> None:
        self._ledger.mark_sent(self._ledger.claim(many, 100.0).jobs, 100.0)

    def finish(self, reason: str = "done", code: int = 0) -> None:
        self._ledger.finish_run(reason, code)

    def wait_until(self, moment: float) -> None:
        self._ledger.note_wait(moment)

    def account(self, before: str, after: str | None = None, early: int = 0) -> None:
        """What the vendor told of the balance around the run that is on."""
        told = [None if text is None else Balance(Decimal(text), "CNY") for text in (before, after)]
        self._ledger.keep_balances(Balances(told[0], told[1], early))

    def adopt(self, line: FoundLine) -> None:
        self._ledger.adopt([line], Checkpoint(self._end))

    def status(self, **asked: Any) -> Told:  # noqa: ANN401 - fields of a query
        query = StatusQuery(**{"now": self.now, "zone": SHANGHAI, **asked})
        with reading(self.path) as reader, reader.snapshot():
            return Told(status_of(reader, query))

    def close(self) -> None:
        self._ledger.close()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    held = History(tmp_path / "out.jsonl.ledger")
    yield held
    held.close()


def page(told: Told, width: int | None = None) -> str:
    return "\n".join(status_lines(told.status, width))


def test_the_status_holds_what_the_contract_promises_and_is_json(history: History) -> None:
    history.begin()
    history.enrol(3)
    history.finish("limit", 7)
    status = history.status()
    assert set(PROMISED) <= set(status)
    assert set(PROMISED_OF_RUNS) <= set(status["runs"][0])
    assert json.loads(json.dumps(status)) == status
    assert (status["queued"], status["done"], status["charged"]) == (3, 0, 0)
    assert (status["endpoint"], status["simulated"]) == (ENDPOINT, True)
    assert (status["runs"][0]["reason"], status["runs"][0]["exitCode"]) == ("limit", 7)
    assert status["runs"][0]["startedAt"] == "2026-11-23T01:02:03.000Z"


def test_without_any_run_nothing_is_told_and_nothing_fails(history: History) -> None:
    status = history.status(price=Decimal("0.05"))
    assert (status["runs"], status["forecast"]["rate"], status["cost"]) == ([], None, 0.0)
    assert "nothing is queued" in page(status)
    assert "0 runs" not in page(status)


def test_without_any_answer_each_note_is_one_call_and_no_time_is_guessed(history: History) -> None:
    history.begin()
    history.enrol(3)
    history.finish()
    status = history.status(price=Decimal("0.05"))
    assert status["left"] == {"calls": 3, "hours": None, "days": None}
    assert (status["forecast"]["cost"], status["forecast"]["endsAt"]) == (0.15, None)
    shown = page(status)
    assert "3 notes left: at least 3 calls, 3 charged (0.15 at 0.05 a call)" in shown
    assert "cannot be told yet" in shown
    assert "--rate" in shown


def test_the_rate_asked_for_tells_when_before_any_answer_came(history: History) -> None:
    history.begin(rate=2.0)
    history.enrol(7200)
    status = history.status()
    assert status["forecast"]["endsAt"] == "2026-11-23T02:02:03.000Z"
    assert (status["forecast"]["rateFrom"], status["forecast"]["saveShare"]) == ("asked", None)
    assert status["left"] == {"calls": 7200, "hours": 1.0, "days": 0.041667}
    shown = page(status)
    assert "done Mon 2026-11-23 10:02 (Asia/Shanghai), in 1 h 0 min, if it goes on now" in shown
    assert "at 2/s, the rate asked for, if each call saves a note" in shown


def test_the_forecast_goes_by_what_was_reached_and_what_calls_brought(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(1000)
    history.answer(80)
    history.answer(10, 404, "not found", state=State.REJECTED)
    history.answer(10, 301, "collection failed")
    history.now += 50
    history.finish("limit", 7)
    ahead = history.status(price=Decimal("0.5"))["forecast"]
    assert (ahead["rate"], ahead["rateFrom"], ahead["saveShare"]) == (2.0, "reached", 0.8)
    assert (ahead["notes"], ahead["calls"], ahead["charged"]) == (910, 1012, 809)
    assert ahead["cost"] == 404.5
    assert ahead["seconds"] == pytest.approx(910 / 0.9 / 2.0, abs=0.01)
    faster = history.status(rate=10.0)["forecast"]
    assert (faster["rate"], faster["rateFrom"]) == (10.0, "option")


def test_a_short_run_does_not_tell_its_rate(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(1000)
    history.answer(100)
    history.now += 50
    history.finish("limit", 7)
    history.begin(rate=9.0)
    history.answer(3)
    history.now += 300
    history.finish("SIGINT", 130)
    ahead = history.status()["forecast"]
    assert (ahead["rate"], ahead["rateFrom"]) == (9.0, "asked")
    history.begin(rate=None)
    history.finish("SIGINT", 130)
    ahead = history.status()["forecast"]
    assert (ahead["rate"], ahead["rateFrom"]) == (2.0, "reached")


def test_the_daily_cap_is_the_last_runs_or_the_one_asked_for(history: History) -> None:
    history.begin(rate=10.0, cap=100)
    history.enrol(300)
    history.answer(60)
    ahead = history.status()["forecast"]
    assert (ahead["dailyCap"], ahead["leftToday"], ahead["days"]) == (100, 40, 3)
    assert ahead["endsAt"] == "2026-11-24T16:00:10.000Z"
    told = history.status(daily_cap=1000)["forecast"]
    assert (told["dailyCap"], told["leftToday"], told["days"]) == (1000, 940, 1)
    shown = page(history.status())
    assert "at most 100 charged a day, 40 of them left today: calls on 3 days" in shown


def test_an_unanswered_call_counts_against_the_cap_as_the_run_counts_it(history: History) -> None:
    history.begin(cap=100)
    history.enrol(10)
    history.answer(2, None, "timeout", unanswered=True)
    assert history.status()["forecast"]["leftToday"] == 98


def test_today_is_the_day_of_the_zone(history: History) -> None:
    history.begin()
    history.enrol(10)
    history.answer(4)
    history.now += DAY
    history.answer(3)
    assert (history.status()["charged"], history.status()["chargedToday"]) == (7, 3)
    # In Honolulu both are of the same day's end and the next one's start.
    status = history.status(zone=ZoneInfo("Pacific/Honolulu"), price=Decimal("0.5"))
    assert (status["chargedToday"], status["costToday"], status["cost"]) == (3, 1.5, 3.5)


def test_a_run_is_told_with_its_rate_and_latencies(history: History) -> None:
    history.begin(rate=5.0, cap=50)
    history.enrol(100)
    history.answer(19, elapsed=0.1)
    history.answer(1, elapsed=3.0)
    history.answer(3, None, "timeout", unanswered=True, elapsed=90.0)
    history.answer(2, None, "ended while idle", closed=True)
    history.now += 10
    history.finish("limit", 7)
    (run,) = history.status()["runs"]
    assert (run["seconds"], run["state"], run["rate"], run["askedRate"]) == (
        10.0,
        "finished",
        2.5,
        5.0,
    )
    assert (run["calls"], run["charged"], run["unanswered"]) == (25, 20, 3)
    assert (run["closed"], history.status()["closed"]) == (2, 2)
    assert (run["byCode"], run["dailyCap"]) == ({"none": 5, "0": 20}, 50)
    assert run["medianSeconds"] == pytest.approx(0.1, rel=0.045)
    assert run["p95Seconds"] == pytest.approx(0.1, rel=0.045)
    shown = page(history.status(price=Decimal("0.05")))
    assert "2026-11-23 09:02, 10 s: limit (exit 7)" in shown
    assert "25 calls, 20 charged (1.00), 3 unanswered, 2 not taken" in shown
    assert re.search("not taken +2 +met a connection that had ended", shown)
    assert "by code: none:5, 0:20" in shown
    assert "2.5/s of 5/s; median 1" in shown


def test_the_pace_of_a_few_calls_is_not_told_as_above_its_rate(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(100)
    history.answer(2)
    history.now += 0.25
    history.finish("done", 0)
    assert "of 5/s" not in page(history.status())


def test_failures_are_grouped_by_what_they_have_in_common(history: History) -> None:
    history.begin()
    history.enrol(8)
    for n in range(3):
        history.answer(
            1, 404, f"not found: 笔记{n:024x}不存在 at 2026-11-23T01:02:0{n}", state=State.REJECTED
        )
    history.answer(2, 301, "collection failed", state=State.EXHAUSTED)
    history.answer(1, None, "timeout: no answer in 90 s", state=State.EXHAUSTED)
    assert history.status()["failures"][0] == {
        "state": "rejected",
        "code": 404,
        "reason": "not found: 笔记…不存在 at …",
        "notes": 3,
    }
    assert [(f["state"], f["code"], f["notes"]) for f in history.status()["failures"]] == [
        ("rejected", 404, 3),
        ("exhausted", 301, 2),
        ("exhausted", None, 1),
    ]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("collection failed", "collection failed"),
        ("unreadable answer (HTTP 502)", "unreadable answer (HTTP 502)"),
        ("timeout: no answer in 90 s", "timeout: no answer in 90 s"),
        ("note 67f32a94000000001d02eb4a is gone", "note … is gone"),
        ("笔记67f32a94000000001d02eb4a不存在", "笔记…不存在"),
        ("request 0b8f7c1e-1111-4222-8333-944445555666: no", "request …: no"),
        ("answer of 123456 bytes", "answer of … bytes"),
        ("answered at 1795395723", "answered at …"),
        ("no connection to 127.0.0.1:8080", "no connection to 127.0.0.1:8080"),
        ("internationalisation", "internationalisation"),
        ("", ""),
    ],
)
def test_a_kind_of_reason_leaves_out_what_differs_from_note_to_note(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def test_ten_groups_are_shown_and_the_rest_counted(history: History) -> None:
    history.begin()
    history.enrol(40)
    for n in range(13):
        history.answer(3 if n < 12 else 1, 404, f"not found: {'x' * n}", state=State.REJECTED)
    status = history.status()
    assert len(status["failures"]) == 13
    shown = page(status)
    assert shown.count("gone 404") == 10
    assert "and 3 more reasons" in shown
    (more,) = [line for line in shown.splitlines() if "and more" in line]
    assert more.split()[2] == "7"


def test_more_kinds_of_reasons_than_memory_should_hold_are_told_together(history: History) -> None:
    history.begin()
    history.enrol(6)
    for letter in "abcdef":
        history.answer(1, 404, letter, state=State.REJECTED)
    with reading(history.path) as reader:
        groups = reader.failed_groups(kind_of, 4)
    assert sorted((group.reason, group.jobs) for group in groups) == [
        ("", 2),
        ("a", 1),
        ("b", 1),
        ("c", 1),
        ("d", 1),
    ]


def test_the_last_run_is_going_on_or_killed_as_the_lock_tells(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(50)
    history.answer(20)
    history.now += 30
    history.leave_in_flight(4)
    history.now += 10
    on, dead = history.status(is_held=True), history.status(is_held=None)
    assert (on["runs"][0]["state"], on["runs"][0]["seconds"]) == ("running", 40.0)
    assert (dead["runs"][0]["state"], dead["runs"][0]["seconds"]) == ("unknown", 30.0)
    assert "going on" in page(on)
    assert "if it goes on now" not in page(on)
    assert "going on, or killed" in page(dead)
    history.now += 1000
    dead = history.status(is_held=False)
    assert dead["runs"][0]["state"] == "killed"
    assert (dead["inFlight"], dead["runs"][0]["finishedAt"]) == (4, None)
    assert "about 30 s: killed" in page(dead)
    assert "the next run counts them as unanswered" in page(dead)


def test_a_run_without_an_end_before_another_was_killed(history: History) -> None:
    history.begin()
    history.enrol(5)
    history.answer(1)
    history.now += 5
    history.begin()
    runs = history.status(is_held=True)["runs"]
    assert [(run["state"], run["seconds"]) for run in runs] == [("killed", 5.0), ("running", 0.0)]


@pytest.mark.parametrize(
    ("is_held", "is_leased", "state"),
    [
        (True, False, "running"),
        (True, True, "running"),
        (False, False, "killed"),
        (False, True, "unknown"),
        (None, False, "unknown"),
        (None, True, "unknown"),
    ],
)
def test_a_run_is_called_dead_only_if_neither_lock_nor_lease_is_there(
    *, is_held: bool | None, is_leased: bool, state: str
) -> None:
    row = RunRow(NOW, None, None, None, {}, 1)
    (run,) = runs_alone([row], place_alone(is_held=is_held, is_leased=is_leased), NOW)
    assert run.state == state


def test_the_list_of_locks_is_read_without_locking(tmp_path: Path) -> None:
    output, locks = tmp_path / "out.jsonl", tmp_path / "locks"
    output.touch()
    inode = output.stat().st_ino
    assert is_held(output, locks) is None
    assert is_held(tmp_path / "gone", locks) is None
    for line, held in (
        (f"1: FLOCK  ADVISORY  WRITE 12 fd:01:{inode} 0 EOF", True),
        (f"1: FLOCK  ADVISORY  READ  12 fd:01:{inode} 0 EOF", False),
        (f"1: POSIX  ADVISORY  WRITE 12 fd:01:{inode} 0 EOF", False),
        (f"1: FLOCK  ADVISORY  WRITE {inode} fd:01:{inode + 1} 0 EOF", False),
        (f"1: -> FLOCK  ADVISORY  WRITE 12 fd:01:{inode} 0 EOF", False),
        ("", False),
    ):
        locks.write_text("7: POSIX  ADVISORY  READ 3 00:01:9 128 128\n" + line + "\n")
        assert is_held(output, locks) is held


def test_a_long_history_is_summed_up_for_people_and_whole_in_json(history: History) -> None:
    history.enrol(100)
    for _ in range(25):
        history.begin()
        history.answer(2)
        history.now += 60
        history.finish("limit", 7)
    status = history.status()
    assert len(status["runs"]) == 25
    shown = page(status)
    assert "25 runs, the last 10 of them" in shown
    assert "15 runs before: 30 calls, 30 charged" in shown
    assert shown.count("limit (exit 7)") == 10


@pytest.fixture
def full(history: History) -> Told:
    """A status with everything in it, Chinese reasons and hostile ones."""
    history.begin(rate=5.0, cap=20_000)
    history.enrol(2000)
    history.answer(1234)
    history.answer(50, 404, "not found: 该笔记不存在或者已经被作者删除了", state=State.REJECTED)
    history.answer(9, 202, "not supported: \x1b[31mred\r\nnext\u202e", state=State.REJECTED)
    history.answer(7, 301, "collection failed: " + "长" * 90, state=State.EXHAUSTED)
    history.answer(3, None, "timeout: no answer in 90 s", delay=77.0, unanswered=True)
    history.now += 400
    history.leave_in_flight(5)
    return history.status(is_held=True, price=Decimal("0.05"))


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(full: Told, width: int) -> None:
    lines = list(status_lines(full.status, width))
    assert max(map(cell_len, lines)) <= width
    squeezed = "".join("".join(lines).split())
    assert "该笔记不存在或者已经被作者删除了" in squeezed
    assert "长" * 40 in squeezed
    assert not any(map(has_unprintable, lines))
    assert r"\x1b[31mred\x0d\x0anext\u202e" in squeezed


def test_columns_are_aligned_whatever_the_script(full: Told) -> None:
    lines = page(full, 80).splitlines()
    begins = {
        cell_len(line[: line.index(reason)])
        for line in lines
        for reason in ("not found: 该", "not supported", "collection failed")
        if reason in line
    }
    assert len(begins) == 1


def test_where_nobody_looks_no_line_is_broken_or_coloured(full: Told) -> None:
    shown = page(full)
    assert "collection failed: " + "长" * 90 + "\n" in shown
    assert "\x1b" not in shown
    assert not [line for line in shown.splitlines() if line != line.rstrip()]


def test_the_page_reads_as_it_should(full: Told) -> None:
    assert page(full, 80).splitlines()[:17] == [
        "Going on since 09:02: 1,234 of 2,000 notes (50 gone), 61.70.",
        "",
        "xiaohongshu-pgy/note-detail/v1 (simulated)",
        "2026-11-23 09:08, like all times here in Asia/Shanghai",
        "",
        "Notes",
        "  done         1,234",
        "  queued         700",
        "  · in flight      5",
        "  rejected         9",
        "  gone            50  not called for again",
        "  exhausted        7  tried again by the next run",
        "",
        "Failed",
        "  gone 404       50  not found: 该笔记不存在或者已经被作者删除了",
        r"  rejected 202    9  not supported: \x1b[31mred\x0d\x0anext\u202e",
        "  exhausted 301   7  collection failed:",
    ]


def test_after_a_quota_stop_the_rest_is_told_by_the_quota_that_was_met(history: History) -> None:
    history.begin(rate=50.0)
    history.enrol(350)
    history.answer(100)
    history.finish("quota", 3)
    ahead = history.status()["forecast"]
    assert (ahead["quotaMet"], ahead["leftToday"], ahead["days"]) == (100, 0, 3)
    assert ahead["startsAt"] == "2026-11-23T16:00:00.000Z"
    assert ahead["endsAt"] == "2026-11-25T16:00:01.000Z"
    shown = page(history.status())
    assert "done Thu 2026-11-26 00:00 (Asia/Shanghai), in 2 d 14 h, if it goes on when" in shown
    assert "with 100 charged calls that day: the next day begins Tue 2026-11-24 00:00" in shown
    history.now += DAY
    ahead = history.status()["forecast"]
    assert (ahead["leftToday"], ahead["startsAt"], ahead["days"]) == (100, None, 3)
    assert "a new day has begun since" in page(history.status())


def test_a_run_that_waits_for_the_next_day_is_forecast_from_there(history: History) -> None:
    history.begin(rate=50.0)
    history.enrol(350)
    history.answer(100)
    history.wait_until(NOW + 3600)
    waiting = history.status(is_held=True)
    assert waiting["resumesAt"] == waiting["forecast"]["startsAt"] == "2026-11-23T02:02:03.000Z"
    assert waiting["forecast"]["quotaMet"] == 100
    assert waiting["verdict"].startswith("Waiting for the next day, until 10:02, to go on: 100 of")
    assert "the daily quota is used up, with 100 charged calls that day" in page(waiting)
    assert history.status(is_held=True, zone=ZoneInfo("UTC"))["resumesAt"] is not None
    history.finish("quota", 3)
    assert history.status()["resumesAt"] is None


def test_a_quota_that_others_used_up_still_ends_with_the_day(history: History) -> None:
    history.begin(rate=50.0)
    history.enrol(100)
    history.answer(1, 303)
    history.finish("quota", 3)
    assert history.status()["forecast"]["endsAt"] == "2026-11-23T16:00:02.000Z"


def test_the_next_due_time_has_its_date_only_if_that_is_not_today(history: History) -> None:
    history.begin()
    history.enrol(2)
    history.answer(1, 301, "collection failed", delay=60.0)
    assert "· waiting  1  next due 09:03:03" in page(history.status())
    assert history.status()["nextDue"] == "2026-11-23T01:03:03.000Z"
    west = history.status(zone=ZoneInfo("Etc/GMT+1"))
    assert "next due 00:03:03" in page(west)
    history.answer(1, 301, "collection failed", delay=60.0)
    history.now -= DAY
    assert "next due 2026-11-23 09:03:03" in page(history.status())


def test_a_price_that_changed_is_that_of_the_runs_since(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(100)
    for many, price, ends in ((20, "100.00", "99.00"), (20, "99.00", "96.00")):
        history.answer(many)
        history.account(f"{price}00", f"{ends}00")
        history.finish("limit", 7)
        history.begin(rate=5.0)
    status = history.status()
    assert (status["price"], status["cost"], status["costToday"]) == (0.15, 4.0, 4.0)
    shown = page(status, 80)
    assert "charged     40  4.00 CNY\n" in shown
    assert "20 charged (1.00)" in shown


def test_what_the_account_paid_is_told_of_each_run_and_of_all(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(100)
    history.answer(40)
    history.account("100.0000", "98.0000")
    history.finish("limit", 7)
    history.begin(rate=5.0)
    history.answer(20)
    history.answer(1, None, "timeout", unanswered=True)
    history.account("98.0000", "96.9500")
    history.finish("limit", 7)
    status = history.status()
    assert status["account"]["text"] == (
        "the account paid 3.05 CNY: 1 call more than the 60 that the ledger counted (0.05 each); "
        "the 1 unanswered explains that"
    )
    told = [run["account"] for run in status["runs"]]
    assert [(run["agreement"], run["difference"]) for run in told] == [("same", 0), ("more", 1)]
    assert (status["price"], status["currency"], status["balance"]) == (0.05, "CNY", 96.95)
    assert (status["callsLeft"], status["cost"]) == (1939, 3.0)
    shown = page(status, 80)
    assert "charged     60  3.00 CNY at 0.05 a call" in shown
    assert "reaches for about 1,939 calls at" in shown


def test_the_balance_of_the_next_run_tells_what_one_that_died_spent(history: History) -> None:
    history.begin()
    history.enrol(100)
    history.answer(39)
    history.leave_in_flight(1)
    history.account("100.0000")
    history.begin()
    history.account("98.0000", "98.0000")
    history.finish()
    first, second = (run["account"] for run in history.status()["runs"])
    assert (first["agreement"], first["difference"], first["spent"]) == ("more", 1, 2.0)
    assert (second["agreement"], second["spent"]) == ("same", 0.0)


def test_a_run_that_is_on_has_no_account_yet_and_one_that_did_not_ask_has_none(
    history: History,
) -> None:
    history.begin()
    history.enrol(10)
    history.answer(5)
    history.finish()
    history.begin()
    history.account("100.0000")
    status = history.status(is_held=True)
    assert [run["account"] for run in status["runs"]] == [None, None]
    assert (status["account"], status["price"], status["balance"]) == (None, None, 100.0)
    assert "when last asked, the balance is 100.00 CNY" in page(status)


@pytest.mark.parametrize(
    ("reason", "code", "said", "following"),
    [
        ("limit", 7, "Stopped by its own limit at 09:02", "Now: `harvester run -o OUTPUT"),
        (
            "balance",
            4,
            "Stopped since the balance, or the token's budget, is used up",
            "Top up, then: `harvester run",
        ),
        ("refused", 5, "Stopped since the API refused", "Now: `harvester doctor OUTPUT`"),
        ("upstream", 6, "Stopped since the API did not", "Later: `harvester run -o OUTPUT"),
        ("SIGINT", 130, "Stopped by Ctrl-C (SIGINT) at 09:02", "Now: `harvester run -o OUTPUT"),
        (
            "local I/O",
            74,
            "Stopped since OUTPUT or its ledger could not be used at 09:02",
            "Mend that, then: `harvester run",
        ),
        ("quota", 3, "Stopped by the daily quota at 09:02", "After 00:00 Shanghai: `harvester run"),
    ],
)
def test_the_verdict_says_what_ended_the_run_and_what_to_type(
    history: History, reason: str, code: int, said: str, following: str
) -> None:
    history.begin(rate=5.0)
    history.enrol(30)
    history.answer(20)
    history.account("100.0000", "99.0000")
    history.finish(reason, code)
    verdict = history.status()["verdict"]
    assert verdict.startswith(said)
    assert f": 20 of 30 notes, 1.00 CNY. {following}" in verdict
    assert page(history.status()).splitlines()[0] == verdict


def test_what_is_to_be_typed_and_when_is_there_for_programs(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(30)
    history.answer(20)
    history.finish("quota", 3)
    status = history.status(target="my.jsonl")
    assert status["nextCommand"] == "harvester run -o my.jsonl --simulate"
    assert status["nextAt"] == "2026-11-23T16:00:00.000Z"
    history.now += DAY
    status = history.status()
    assert status["nextAt"] is None
    assert "at Mon 2026-11-23 09:02: 20 of 30 notes, 20 calls charged. Now: `" in status["verdict"]


def test_a_cap_of_ones_own_is_waited_out_as_a_quota_is(history: History) -> None:
    history.begin(rate=5.0, cap=20)
    history.enrol(30)
    history.answer(20)
    history.finish("limit", 7)
    assert "After 00:00 Shanghai: `" in history.status()["verdict"]


def test_where_nothing_is_left_to_do_nothing_is_to_be_typed(history: History) -> None:
    history.begin()
    assert history.status(is_held=True)["verdict"].startswith("Going on since 09:02: 0 of 0 notes")
    history.enrol(2)
    history.answer(1)
    history.answer(1, 404, "gone", state=State.REJECTED)
    history.finish("some failed", 1)
    status = history.status()
    assert status["verdict"] == (
        "Finished, but some notes are gone at 09:02: 1 of 2 notes (1 gone), 1 call charged."
    )
    assert (status["nextCommand"], status["gone"], status["rejected"]) == (None, 1, 1)


def test_a_killed_run_and_failed_notes_have_a_command_of_their_own(history: History) -> None:
    history.begin()
    history.enrol(2)
    history.answer(1, 400, "invalid", state=State.REJECTED)
    history.answer(1)
    assert "Killed at about" in history.status(is_held=False)["verdict"]
    history.finish("some failed", 1)
    assert history.status()["nextCommand"] == "harvester failures OUTPUT"


def test_what_was_reached_is_told_in_the_unit_of_what_was_asked_for(history: History) -> None:
    history.begin(rate=5.0)
    history.enrol(30)
    history.answer(20)
    history.now += 60
    history.finish("limit", 7)
    assert "0.333/s of 5/s" in page(history.status())
