"""Hosts that share one harvest: real processes on a real PostgreSQL, killed, stopped and cut off."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from aiohttp import web

from tests.cut import Cut, Mode
from tests.postgres import PASSWORD, Postgres
from tests.process.tool import Started, Tool, Upstream

# Calls a second of the whole fleet, in these tests.
RATE = 60
FAST = ("--backoff-base", "0.01", "--backoff-cap", "0.05", "--progress", "none")
# What a host may take to fall silent, in seconds.
SILENT = 1.0
# A lease is this and 15 s.
SHORT = ("--timeout", "1", "--allow-short-timeout")
WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from harvester.cli import main
main()
"""


class Hosts:
    """The hosts of one fleet, each with a part of its own in the tool's folder."""

    def __init__(self, tool: Tool, database: str) -> None:
        self.tool, self.database = tool, database
        self._stack = ExitStack()
        self._runs: list[Started] = []

    def part(self, name: str) -> Path:
        return self.tool.folder / f"part-{name}.jsonl"

    @property
    def parts(self) -> list[Path]:
        return sorted(self.tool.folder.glob("part-*.jsonl"))

    def env(self, ledger: str | None = None) -> dict[str, str]:
        return {
            **self.tool.env,
            "JUSTONEAPI_TOKEN": self.tool.token,
            "HARVESTER_LEDGER": ledger or self.database,
        }

    def start(
        self,
        name: str,
        url: str,
        *args: str | Path,
        rate: int = RATE,
        ledger: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Started:
        run = self.tool.start(
            *("run", "-o", self.part(name), "--base-url", url, "--rate", f"{rate}/s", *FAST, *args),
            env=self.env(ledger) if env is None else env,
        )
        self._runs.append(run)
        return run

    def cut(self) -> Cut:
        """A network between a host and the database; a host is given its `url`."""
        return self._stack.enter_context(Cut(self.database))

    def end(self) -> None:
        for run in self._runs:
            run.end()
        self._stack.close()

    # What came of it

    def ask(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("SET search_path = harvester_default")
            return connection.execute(query, values).fetchall()

    @property
    def shares(self) -> list[int]:
        """The calls a second of each host that lives, in the order they came."""
        try:
            rows = self.ask("SELECT calls FROM share WHERE alive_until > now_ms() ORDER BY run")
        except psycopg.errors.UndefinedTable:
            return []
        return [row[0] for row in rows]

    @property
    def lines(self) -> Counter[str]:
        """How many lines each note has over all parts."""
        return Counter(note for part in self.parts for note in self.tool.saved(part))

    @property
    def unanswered(self) -> list[str]:
        """The notes of calls without an answer, once for each."""
        rows = self.ask("SELECT note_id FROM unanswered JOIN job USING (seq)")
        return [row[0] for row in rows]

    @property
    def duplicates(self) -> list[str]:
        """The notes of lines that were paid for again, once for each."""
        rows = self.ask("SELECT note_id FROM duplicate JOIN job USING (seq)")
        return [row[0] for row in rows]

    def has_each_once(self, ids: list[str]) -> None:
        """Every note is on one current line, and a line more is a duplicate that is listed."""
        lines, again = self.lines, Counter(self.duplicates)
        assert {note: many - again[note] for note, many in lines.items()} == dict.fromkeys(ids, 1)
        found = self.ask("SELECT note_id FROM job WHERE state = 1 AND lines > 0")
        assert sorted(row[0] for row in found) == sorted(ids)


@pytest.fixture
def hosts(tool: Tool, database: str) -> Iterator[Hosts]:
    hosts = Hosts(tool, database)
    try:
        yield hosts
    finally:
        hosts.end()


async def prompt(upstream: Upstream, note_id: str, _nth: int) -> web.StreamResponse:
    """An answer at once."""
    return upstream.reply(0, {"noteId": note_id})


def most_in_a_second(upstream: Upstream) -> int:
    starts = [moment for moment, _ in upstream.starts]
    return max(sum(begin <= start < begin + 1 for start in starts) for begin in starts)


def finish_well(*runs: Started) -> None:
    for run in runs:
        ended = run.finish()
        assert ended.code == 0, ended.text


def test_hosts_share_the_notes_and_the_rate(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--fail", "301=0.1")
    notes = tool.notes(150)
    runs = [hosts.start(name, simulator.url, notes) for name in "abc"]
    finish_well(*runs)
    page = simulator.charges()
    assert (page["charged"], page["chargedTwice"]) == (150, [])
    assert page["maxPerSecond"] <= RATE
    hosts.has_each_once(tool.note_ids(150))
    assert set(hosts.lines.values()) == {1}
    assert len(hosts.parts) == 3
    assert (hosts.unanswered, hosts.duplicates) == ([], [])


def test_who_comes_late_gets_a_share_and_who_goes_leaves_his(hosts: Hosts) -> None:
    tool, upstream = hosts.tool, hosts.tool.upstream()
    notes = tool.notes(240)
    first, second = (hosts.start(name, upstream.url, notes) for name in "ab")
    tool.until(lambda: hosts.shares == [RATE // 2] * 2, "two shares")
    third = hosts.start("c", upstream.url, notes)
    tool.until(lambda: hosts.shares == [RATE // 3] * 3, "three shares")
    third.signal(signal.SIGKILL)
    tool.until(lambda: hosts.shares == [RATE // 2] * 2, "two shares again", 4)
    upstream.open()
    first.signal(signal.SIGTERM)
    left = first.finish()
    assert left.code == 143, left.text
    tool.until(lambda: hosts.shares == [RATE], "all for one", 4)
    third = hosts.start("c", upstream.url)
    finish_well(second, third)
    assert most_in_a_second(upstream) <= RATE
    hosts.has_each_once(tool.note_ids(240))
    twice = {note for note, many in Counter(n for _, n in upstream.starts).items() if many > 1}
    assert twice <= set(hosts.unanswered)


def test_a_killed_host_that_is_started_again_goes_on_at_once(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--latency", "200ms")
    notes = tool.notes(120)
    first, second = (hosts.start(name, simulator.url, notes) for name in "ab")
    tool.until(lambda: len(hosts.lines) >= 30, "lines")
    first.signal(signal.SIGKILL)
    first.finish()
    again = hosts.start("a", simulator.url, notes)
    finish_well(again, second)
    page = simulator.charges()
    lost = hosts.unanswered
    assert lost
    assert f"{len(lost)} calls of the last run may have been charged" in again.err
    hosts.has_each_once(tool.note_ids(120))
    # A call that was recorded may have been killed before it was sent.
    assert 120 <= page["calls"] <= 120 + len(lost)
    assert set(page["chargedTwice"]) <= set(lost)


def test_hosts_that_are_killed_stopped_or_cut_off_are_outlived(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--latency", "300ms")
    notes = tool.notes(160)
    cuts = {name: hosts.cut() for name in "ad"}
    names = "abcd"
    runs = {
        name: hosts.start(
            name,
            simulator.url,
            *(notes, *SHORT),
            ledger=cuts[name].url if name in cuts else None,
        )
        for name in names
    }
    tool.until(lambda: all(len(tool.saved(hosts.part(name))) >= 5 for name in names), "lines")
    for cut in cuts.values():
        cut.cut()
    runs["c"].signal(signal.SIGSTOP)
    runs["d"].signal(signal.SIGTERM)
    known = "SELECT count(*) FROM job JOIN part ON part.id = job.part WHERE part.path = %s"

    def is_behind() -> bool:
        ((seen,),) = hosts.ask(known, str(hosts.part("a")))
        return len(tool.saved(hosts.part("a"))) > seen

    tool.until(is_behind, "lines that the ledger has not seen")
    runs["a"].signal(signal.SIGKILL)
    began = time.monotonic()
    ended = runs["d"].finish(40)
    print("SIGTERM in the cut took", time.monotonic() - began, ended)
    assert ended.code in (74, 143), ended.text
    assert "Traceback" not in ended.text
    assert "run the same command again" in ended.text
    finish_well(runs["b"])
    lines = hosts.lines
    runs["c"].signal(signal.SIGCONT)
    finish_well(runs["c"])
    for cut in cuts.values():
        cut.mend()
    again = [hosts.start(name, simulator.url, notes, *SHORT) for name in "ad"]
    finish_well(*again)
    page, lost, twice = simulator.charges(), hosts.unanswered, hosts.duplicates
    print(page, len(lost), len(twice), lines.total(), hosts.lines.total())
    for run in again:
        print(run.out, run.err)
    hosts.has_each_once(tool.note_ids(160))
    assert set(page["chargedTwice"]) <= {*lost, *twice}
    assert twice
    assert page["calls"] <= hosts.lines.total() + len(lost)
    assert page["charged"] == page["calls"]


def test_all_wait_while_the_database_is_away(hosts: Hosts, postgres: Postgres) -> None:
    tool = hosts.tool
    upstream = tool.upstream(prompt)
    notes = tool.notes(200)
    runs = [hosts.start(name, upstream.url, notes) for name in "ab"]
    tool.until(lambda: upstream.calls >= 20, "calls")
    postgres.restart()
    before = upstream.calls
    tool.until(lambda: upstream.calls >= before + 20, "more calls")
    postgres.kill()
    killed = time.monotonic()
    tool.until(lambda: time.monotonic() > killed + SILENT + 1, "a while")
    assert not [start for start, _ in upstream.starts if start > killed + SILENT]
    postgres.start()
    finish_well(*runs)
    for run in runs:
        assert run.err.count("is away") == run.err.count("is back") in (1, 2), run.err
    assert sorted(note for _, note in upstream.starts) == tool.note_ids(200)
    assert set(hosts.lines.values()) == {1}
    hosts.has_each_once(tool.note_ids(200))
    assert most_in_a_second(upstream) <= RATE


@pytest.mark.parametrize("mode", Mode)
def test_a_host_that_is_cut_off_falls_silent_and_comes_back(hosts: Hosts, mode: Mode) -> None:
    tool = hosts.tool
    cut = hosts.cut()
    here, there = tool.upstream(prompt), tool.upstream(prompt)
    notes = tool.notes(200)
    cut_off = hosts.start("a", here.url, notes, ledger=cut.url)
    other = hosts.start("b", there.url, notes)
    tool.until(lambda: here.calls >= 10 and there.calls >= 10, "calls")
    cut.cut(mode)
    at = time.monotonic()
    before = there.calls
    tool.until(lambda: there.calls > before + RATE, "the other to go on")
    tool.until(lambda: time.monotonic() > at + SILENT + 0.5, "a while")
    assert not [start for start, _ in here.starts if start > at + SILENT]
    silent = here.calls
    cut.mend()
    tool.until(lambda: here.calls > silent, "it to go on")
    finish_well(cut_off, other)
    called = Counter(note for _, note in [*here.starts, *there.starts])
    assert called.total() == 200
    hosts.has_each_once(tool.note_ids(200))
    assert set(hosts.lines.values()) == {1}


@pytest.mark.parametrize(("code", "exit_code"), [(303, 3), (601, 4), (100, 5)])
def test_a_stop_that_one_host_is_told_is_for_all(hosts: Hosts, code: int, exit_code: int) -> None:
    told = []

    async def refusing(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth < 10:
            return await prompt(upstream, note_id, nth)
        told.append(time.monotonic())
        return upstream.reply(code)

    tool = hosts.tool
    here, there = tool.upstream(refusing), tool.upstream(prompt)
    notes = tool.notes(300)
    other = hosts.start("b", there.url, notes)
    tool.until(lambda: there.calls >= 1, "a call")
    for run in (hosts.start("a", here.url, notes), other):
        ended = run.finish()
        assert ended.code == exit_code, ended.text
    assert max(start for start, _ in [*here.starts, *there.starts]) < told[0] + SILENT
    assert hosts.lines.total() == here.calls + there.calls - len(told)


def test_a_token_that_is_used_up_rests_on_all_hosts(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--daily-quota", "60")
    notes = tool.notes(50, seed=2)
    assert tool.harvest(simulator.url, notes).code == 0
    tokens = tool.write("tokens", [tool.token, "tok-another"])
    tokens.chmod(0o600)
    notes = tool.notes(70)
    env = {key: text for key, text in hosts.env().items() if key != "JUSTONEAPI_TOKEN"}
    given = (notes, "--token-file", tokens)
    runs = [hosts.start(name, simulator.url, *given, env=env) for name in "ab"]
    finish_well(*runs)
    for run in runs:
        assert "token 1 of 2 rests (quota" in run.err, run.err
    page = simulator.charges()
    assert page["charged"] == 120
    # Those in flight when the first was told.
    assert page["byCode"]["303"] <= 6
    hosts.has_each_once(tool.note_ids(70))


@pytest.mark.parametrize(
    ("cap", "counted"),
    [
        ("--max-charged", "charged"),
        ("--max-charged-daily", "charged"),
        ("--max-notes", "charged"),
        ("--max-calls", "calls"),
    ],
)
def test_a_cap_holds_for_the_fleet(hosts: Hosts, cap: str, counted: str) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--fail", "301=0.2")
    notes = tool.notes(200)
    runs = [hosts.start(name, simulator.url, notes, cap, "45") for name in "ab"]
    for run in runs:
        ended = run.finish()
        assert ended.code == 7, ended.text
        assert f"{cap} is reached" in ended.out
    page = simulator.charges()
    assert page[counted] == 45
    assert hosts.lines.total() == page["charged"]


def test_one_host_that_is_refused_slows_all(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--rate-limit", "40")
    notes = tool.notes(160)
    finish_well(*(hosts.start(name, simulator.url, notes) for name in "ab"))
    page = simulator.charges()
    print(page)
    assert 0 < page["byCode"]["302"] <= 12
    hosts.has_each_once(tool.note_ids(160))
