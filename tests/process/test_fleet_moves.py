"""A harvest that moves into a fleet's ledger and out of it, also where that is cut short."""

from __future__ import annotations

import csv
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.disk import Disk
from harvester.engine.moving import join
from harvester.engine.open_run import this_environment
from harvester.errors import HaltedError
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.moving import Moving
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.output.file import OutputFile
from tests.contract.fleet import Database, Severed
from tests.process.hosts import Hosts
from tests.process.tool import Simulator, Tool

MANY = 40


class Moves(Hosts):
    """A harvest that moves, and the simulator that counts what is charged for it."""

    def __init__(self, tool: Tool, url: str, simulator: Simulator) -> None:
        super().__init__(tool, url, *tool.fast)
        tool.output = self.part("alone")
        self.simulator = simulator
        self.ids = tool.note_ids(MANY)
        self.list = tool.folder / "ids.csv"
        carried = "".join(f"{note},c{n}\n" for n, note in enumerate(self.ids))
        self.list.write_text(f"note_id,campaign\n{carried}")

    @property
    def address(self) -> FleetAddress:
        return FleetAddress(self.database)

    def begin_alone(self) -> None:
        """Save 15 notes into an OUTPUT of its own; some fail, the others stay queued."""
        ended = self.tool.harvest(
            self.simulator.url, self.list, "--carry", "campaign", "--max-notes", "15"
        )
        assert ended.code == 7, ended.text

    def join_until_done(self) -> None:
        """Bring the OUTPUT in, cut short at every look that it takes, a few later each time."""
        for most in count(0, 4):
            looks = iter(range(most))

            def look(left: Iterator[int] = looks) -> None:
                if next(left, None) is None:
                    raise HaltedError

            env = replace(this_environment(), look=look)
            try:
                join(self.tool.output, self.address, env)
            except HaltedError:
                continue
            return


@pytest.fixture
def moves(database: str, tool: Tool) -> Iterator[Moves]:
    with closing(Moves(tool, database, tool.simulate("--missing", "0.2"))) as moves:
        moves.begin_alone()
        yield moves


def told(status: dict[str, Any]) -> dict[str, Any]:
    """What a harvest has come to, whichever ledger tells it."""
    names = ("done", "queued", "rejected", "exhausted", "charged", "unanswered", "empty")
    runs = [(run["startedAt"], run["reason"], run["calls"]) for run in status["runs"]]
    return {name: status[name] for name in names} | {"runs": runs}


def test_a_harvest_joins_a_fleet_and_leaves_it_and_nothing_is_paid_for_twice(moves: Moves) -> None:
    tool, before, url = moves.tool, moves.tool.status(), moves.simulator.url
    failed = tool.run("failures", tool.output, "--format", "jsonl").out
    joined = moves.look("join", tool.output)
    assert joined.code == 0, joined.text
    assert told(moves.status()) == told(before)
    assert moves.look("failures", "--format", "jsonl").out == failed
    assert moves.look("verify", tool.output).code == 0
    assert tool.run("run", "-o", tool.output).code == 2
    assert moves.start("b", url, "--max-notes", "10").finish().code == 7
    whole = tool.folder / "whole.jsonl"
    left = moves.look("leave", moves.part("b"), tool.output, "-o", whole)
    assert left.code == 0, left.text
    assert told(tool.status(whole)) == told(moves.status())
    refused = moves.start("b", url).finish()
    assert (refused.code, "whole.jsonl" in refused.err) == (2, True)
    ended = tool.run("run", "-o", whole, "--base-url", url, *tool.fast)
    assert ended.code in {0, 1}, ended.text
    assert moves.simulator.charged_twice == []
    assert moves.simulator.charged == len(tool.saved(whole))
    table = tool.folder / "table.csv"
    assert tool.run("export", whole, "-o", table).code == 0
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["campaign"] == f"c{moves.ids.index(row['noteId'])}" for row in rows)


def test_joining_goes_on_wherever_it_was_cut_short(moves: Moves) -> None:
    tool, before = moves.tool, moves.tool.status()
    kept = tool.folder / "kept"
    shutil.copy(ledger_path(tool.output), kept)
    moves.join_until_done()
    assert told(moves.status()) == told(before)
    # Killed before its ledger was put aside.
    shutil.copy(kept, ledger_path(tool.output))
    for refused in (
        tool.run("run", "-o", tool.output),
        moves.start("alone", "http://127.0.0.1:1").finish(),
    ):
        assert refused.code == 2, refused.text
    moves.join_until_done()
    assert told(moves.status()) == told(before)
    assert moves.look("verify", tool.output).code == 0


def test_a_ledger_is_taken_in_once_where_the_databases_word_is_lost(moves: Moves) -> None:
    before = moves.tool.status()
    with Severed(moves.database) as proxy, closing(Database(moves.database, "default")) as held:
        with closing(held.open(url=proxy.url)) as ledger:
            for at in (b"COMMIT", b"nothing"):
                proxy.sever(at)
                with reading(ledger_path(moves.tool.output)) as reader:
                    ledger.bring_in(Moving(reader))
            counts = ledger.counts()
        assert proxy.severed == 1
        assert (counts.done, counts.queued) == (before["done"], before["queued"])
        assert moves.status()["charged"] == before["charged"]


def test_a_part_that_is_missing_or_a_host_that_lives_lets_no_harvest_leave(moves: Moves) -> None:
    tool, whole = moves.tool, moves.tool.folder / "whole.jsonl"
    assert moves.look("join", tool.output).code == 0
    upstream = tool.upstream()
    host = moves.start("b", upstream.url)
    tool.until(lambda: upstream.calls > 0, "a call")
    refused = moves.look("leave", moves.part("b"), tool.output, "-o", whole)
    assert (refused.code, "1 live" in refused.err) == (2, True), refused.text
    host.signal(signal.SIGKILL)
    tool.until(lambda: moves.alive == 0, "the host to be taken for dead")
    refused = moves.look("leave", moves.part("b"), "-o", whole)
    assert (refused.code, str(tool.output) in refused.err) == (2, True), refused.text
    assert not list(tool.folder.glob("*whole*"))
    assert moves.start("b", moves.simulator.url).finish().code < 2


def test_leaving_goes_on_where_it_was_killed_before_all_was_in_place(moves: Moves) -> None:
    tool, whole = moves.tool, moves.tool.folder / "whole.jsonl"
    assert moves.look("join", tool.output).code == 0
    before = told(moves.status())
    assert moves.look("leave", tool.output, "-o", whole).code == 0
    # As if killed when the ledger alone was there.
    whole.unlink()
    assert tool.run("run", "-o", whole, "--base-url", moves.simulator.url).code == 2
    assert moves.look("leave", tool.output, "-o", whole).code == 0
    assert told(tool.status(whole)) == before
    # While another makes it, what lies in its folder is not taken away; if that is killed, it is.
    made = tool.folder / ".whole.jsonl.leaving1"
    made.mkdir()
    with closing(OutputFile(tool.folder / ".whole.jsonl.leave", Disk())):
        other = moves.look("leave", tool.output, "-o", whole)
    assert (other.code, "another `harvester leave`" in other.err) == (75, True), other.text
    assert made.exists()
    assert moves.look("leave", tool.output, "-o", whole).code == 2
    assert not list(tool.folder.glob(".whole*"))
    assert tool.run("run", "-o", whole, "--base-url", moves.simulator.url, *tool.fast).code < 2
    assert moves.simulator.charged_twice == []


def test_notes_that_both_know_are_done_once_all_their_lines_are_known(moves: Moves) -> None:
    tool, url = moves.tool, moves.simulator.url
    some = tool.write("some.txt", moves.ids[:25])
    other = tool.run("run", some, "-o", moves.part("b"), "--base-url", url, *tool.fast)
    assert other.code == 1, other.text
    charged = tool.status(moves.part("b"))["charged"] + tool.status()["charged"]
    for part in (tool.output, moves.part("b")):
        assert moves.look("join", part).code == 0
    joined = moves.status()
    both = set(tool.saved()) | set(tool.saved(moves.part("b")))
    assert (joined["done"], joined["charged"]) == (len(both), charged)
    assert moves.verify("alone", "b").code == 0, moves.verify("alone", "b").text
    before = moves.simulator.charged_twice
    moves.harvest("b", url)
    assert moves.simulator.charged_twice == before
    assert moves.verify("alone", "b").code == 0
    assert (
        moves.look("leave", tool.output, moves.part("b"), "-o", tool.folder / "all.jsonl").code == 0
    )
    assert tool.run("verify", tool.folder / "all.jsonl").code == 0
