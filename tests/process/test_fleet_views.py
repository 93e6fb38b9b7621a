"""What a fleet's ledger tells, and how all its parts are held against it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from html import unescape

import pytest

from harvester.ledger.protocol import Checkpoint, FoundLine, Identity
from harvester.model import Job, Judgement, Verdict
from harvester.output.lines import make_line, read_head
from harvester.output.part import PartMarker, write_part_marker
from tests.contract.fleet import Database
from tests.postgres import PASSWORD
from tests.process.hosts import Hosts
from tests.process.tool import Simulator, Tool

WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
sys.argv[0] = "harvester"
from harvester.cli import main
main()
"""


@pytest.fixture
def fleet(database: str, tool: Tool) -> Iterator[Hosts]:
    with closing(Hosts(tool, database, *tool.fast)) as fleet:
        yield fleet


@pytest.fixture
def simulator(tool: Tool) -> Simulator:
    return tool.simulate("--missing", "0.2")


@pytest.fixture
def harvested(fleet: Hosts, simulator: Simulator) -> Hosts:
    """Two hosts, one after the other, of 30 notes together."""
    ids = fleet.tool.note_ids(30)
    for name, some in (("a", ids[:20]), ("b", ids[10:])):
        fleet.harvest(name, simulator.url, fleet.tool.write(f"{name}.txt", some))
    return fleet


def test_all_views_tell_of_the_whole_harvest_its_stops_and_its_duplicates(harvested: Hosts) -> None:
    fleet, tool = harvested, harvested.tool
    saved = {name: tool.saved(fleet.part(name)) for name in ("a", "b")}
    done = len(saved["a"]) + len(saved["b"])
    status = fleet.status()
    assert (status["done"], status["charged"], status["rejected"]) == (done, done, 30 - done)
    assert [(p["notes"], p["charged"]) for p in status["parts"]] == [
        (len(saved["a"]), len(saved["a"])),
        (len(saved["b"]), len(saved["b"])),
    ]
    assert [p["path"] for p in status["parts"]] == [str(fleet.part(n)) for n in ("a", "b")]
    assert not any(part["alive"] for part in status["parts"])
    assert all(part["lastHeartbeat"] <= status["asOf"] for part in status["parts"])
    assert sum(part["calls"] for part in status["parts"]) == 30
    assert (status["duplicates"], status["stops"]) == ([], [])
    assert [run["state"] for run in status["runs"]] == ["finished", "finished"]
    shown = fleet.look("status", "--price", "0.05")
    assert shown.code == 0, shown.text
    for words in ("a fleet: 0 hosts alive now, 2 parts", str(fleet.part("b")), "not running"):
        assert words in shown.out
    assert f"holds {len(saved['a'])} notes" in shown.out
    failed = fleet.look("failures", "--format", "ids").out.split()
    assert sorted([*failed, *saved["a"], *saved["b"]]) == tool.note_ids(30)
    page = tool.folder / "page.html"
    made = fleet.look("report", "-o", page)
    assert made.code == 0, made.text
    text = page.read_text("utf-8")
    assert "harvest default" in text
    assert 'harvester retry --ledger "$HARVESTER_LEDGER" --harvest default' in unescape(text)
    assert not tool.holding(PASSWORD)
    assert not tool.holding(tool.token)
    fleet.ask(
        "INSERT INTO stop SELECT max(session), 'ab12', 'quota', E'used \\x1b[31mup', now_ms()"
        " FROM run"
    )
    fleet.ask(
        "INSERT INTO line (seq, fetched_at, part, found_at)"
        " SELECT seq, fetched_at + 9, 2, fetched_at FROM job WHERE state = 1 ORDER BY seq LIMIT 1"
    )
    status = fleet.status()
    (stop,) = status["stops"]
    assert (stop["token"], stop["reason"], stop["detail"]) == ("ab12", "quota", "used \\x1b[31mup")
    (again,) = status["duplicates"]
    assert again["noteId"] in saved["a"]
    assert again["part"] == status["parts"][1]["part"]
    assert status["parts"][1]["duplicates"] == 1
    said = fleet.look("status").out
    assert "token ab12, since " in said
    assert "1 line of notes that another call had saved" in said
    assert again["noteId"] in said
    assert "\x1b" not in said


def test_parts_are_good_together_and_merge_and_older_lines_are_in_any_of_them(
    harvested: Hosts, simulator: Simulator
) -> None:
    a, b = harvested.part("a"), harvested.part("b")
    good = harvested.verify("a", "b")
    assert good.code == 0, good.text
    notes = sum(len(harvested.tool.saved(part)) for part in (a, b))
    told = f"good: 2 parts, {notes} lines, {notes} notes, 0 older lines; 0 paid for twice\n"
    assert good.out == told
    merged = harvested.look("merge", a, b, "-o", harvested.tool.folder / "all.jsonl")
    assert merged.code == 0, merged.text
    assert f"{notes} lines, {notes} notes, 0 older lines left out" in merged.out
    refused = harvested.look("merge", a, "-o", b)
    assert (refused.code, "runs go on with" in refused.err) == (2, True)
    harvested.harvest("c", simulator.url, "--refresh", "1ms")
    good = harvested.verify("a", "b", "c")
    assert good.code == 0, good.text
    told = f"good: 3 parts, {2 * notes} lines, {notes} notes, {notes} older lines"
    assert good.out.startswith(told)
    text = a.read_text("utf-8").splitlines(keepends=True)
    a.write_text("".join([*text[:-1], text[0]]), "utf-8")
    bad = harvested.verify("a", "b", "c")
    assert bad.code == 1, bad.text
    assert "older lines" in bad.out


def test_damage_is_named_with_its_part_and_line(harvested: Hosts) -> None:
    a, b = harvested.part("a"), harvested.part("b")
    whole, lines = a.read_bytes(), a.read_bytes().splitlines(keepends=True)
    a.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"data"', b'"d\0ta"'), *lines[4:]]))
    bad = harvested.verify("a", "b")
    assert bad.code == 1, bad.text
    assert f"{a}:4: garbled" in bad.out
    assert '--ledger "$HARVESTER_LEDGER" --harvest default --rebuild' in bad.out
    assert f"{b}:" not in bad.out
    a.write_bytes(whole[:-30])
    assert f"{a}: shorter" in harvested.verify("a", "b").out
    a.write_bytes(whole)
    with b.open("ab") as file:
        file.write(lines[0])
    again = harvested.verify("a", "b")
    assert again.code == 1, again.text
    assert f"{b}:{len(b.read_bytes().splitlines())}: unknown" in again.out
    alone = harvested.verify("a")
    assert alone.code == 1, alone.text
    assert f"part missing: {harvested.status()['parts'][1]['host']}:{b}: " in alone.out
    # As if all of its lines had been found in the other.
    harvested.ask("UPDATE line SET part = (SELECT min(id) FROM part)")
    assert "part missing" not in harvested.verify("a").out
    harvested.ask(
        "UPDATE job SET part = NULL, line_end = NULL, lines = 0"
        " WHERE seq = (SELECT min(seq) FROM job WHERE state = 1)"
    )
    assert "1 done note has no line in any part: " in harvested.verify("a", "b").out


def test_hosts_that_are_on_are_told_and_a_killed_one_is_told_as_that(
    fleet: Hosts,
) -> None:
    upstream = fleet.tool.upstream()
    # Few are claimed ahead at this rate, so that there are some for both.
    slow = ("--workers", "2", "--rate", "20/s")
    notes = fleet.tool.notes(200)
    hosts = [fleet.start(name, upstream.url, notes, *slow) for name in ("a", "b")]
    fleet.tool.until(lambda: upstream.calls >= 4, "calls of both")
    status = fleet.status()
    assert [part["alive"] for part in status["parts"]] == [True, True]
    assert [run["state"] for run in status["runs"]] == ["running", "running"]
    shown = fleet.look("status").out
    assert "a fleet: 2 hosts alive now, 2 parts" in shown
    on = fleet.verify("a", "b")
    assert on.code == 0, on.text
    hosts[0].signal(signal.SIGKILL)
    fleet.tool.until(lambda: fleet.alive == 1, "its silence")
    path = str(fleet.part("a"))
    (killed,) = (run for run in fleet.status()["runs"] if run["path"] == path)
    assert killed["state"] in {"unknown", "killed"}
    assert "1 host alive now" in fleet.look("status").out
    hosts[1].signal(signal.SIGINT)
    upstream.open()
    assert hosts[1].finish().code == 130


def test_a_dry_run_goes_by_what_all_hosts_know(fleet: Hosts, simulator: Simulator) -> None:
    ids = fleet.tool.notes(30)
    dry = ("run", ids, "-o", fleet.part("other"), "--dry-run")
    assert "30 new notes, 0 already known, 0 queued before" in fleet.look(*dry).out
    calls = simulator.calls
    fleet.harvest("a", simulator.url, fleet.tool.notes(20))
    assert "10 new notes, 20 already known, 0 queued before" in fleet.look(*dry).out
    assert simulator.calls > calls
    assert not fleet.part("other").exists()


def test_what_was_paid_for_twice_is_in_its_place_in_any_order(fleet: Hosts) -> None:
    ids = fleet.tool.note_ids(4)
    # Part by part, each line a note and its moment: newer and older lines, also in one part.
    written = {"a": [(0, 5), (1, 5), (2, 5)], "b": [(0, 6), (1, 4), (3, 1), (3, 2)]}
    with closing(Database(fleet.database, "default")) as held:
        for name, notes in written.items():
            fleet.part(name).write_bytes(b"".join(line(ids[note], at) for note, at in notes))
            write_part_marker(fleet.part(name), PartMarker(name, "default"))
            with closing(held.open(name)) as ledger:
                ledger.identify(Identity("notes/v1", simulated=False))
                ledger.begin_run(120)
                found, end = [], 0
                for text in fleet.part(name).read_bytes().splitlines(keepends=True):
                    end += len(text)
                    found.append(head_of(text, end))
                ledger.adopt(found, Checkpoint(end, text[-64:]))
        good = fleet.verify("a", "b")
        assert good.code == 0, good.text
        assert good.out == "good: 2 parts, 7 lines, 4 notes, 3 older lines; 3 paid for twice\n"
        held.do("INSERT INTO line (seq, part) SELECT seq, part FROM line WHERE seq = 1 LIMIT 1")
        bad = fleet.verify("a", "b")
        assert (bad.code, f"{fleet.part('a')}: older lines" in bad.out) == (1, True)
        fleet.part("b").unlink()
        gone = fleet.verify("a", "b")
        assert f"{fleet.part('b')}: output missing" in gone.out


def line(note_id: str, at: int) -> bytes:
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=b"{}")
    return make_line(Job(1, note_id, 0, 0), judgement, "notes/v1", 1795395720.0 + at)


def head_of(text: bytes, end: int) -> FoundLine:
    head = read_head(text, end)
    assert head is not None
    return head


def test_failed_notes_are_put_back_while_hosts_may_be_on(
    harvested: Hosts, simulator: Simulator
) -> None:
    many = harvested.status()["rejected"]
    (first, *_) = harvested.look("failures", "--format", "ids").out.split()
    one = harvested.look("retry", "--id", first)
    assert one.code == 0, one.text
    assert one.out.startswith("1 note back in the queue; next: `harvester run -o PART --ledger ")
    assert harvested.look("retry", "--code", "404").out.startswith(f"{many - 1} notes back")
    assert harvested.look("retry").out == "0 notes back in the queue\n"
    status = harvested.status()
    assert (status["queued"], status["rejected"], len(status["parts"])) == (many, 0, 2)
    assert harvested.harvest("a", simulator.url).code == 1
    assert harvested.status()["rejected"] == many


def test_which_ledger_is_meant_is_told_apart(harvested: Hosts, simulator: Simulator) -> None:
    fleet, tool = harvested, harvested.tool
    by_part = fleet.look("status", fleet.part("a"), "--json")
    assert json.loads(by_part.out)["parts"] == fleet.status()["parts"]
    assert tool.harvest(simulator.url, tool.notes(3)).code in {0, 1}
    own = fleet.look("status", tool.output, "--json")
    assert "parts" not in json.loads(own.out)
    (tool.folder / "stray.jsonl").touch()
    without = {**tool.env}
    for args, env, said in (
        (("status", fleet.part("a")), without, "is a part of the fleet's harvest default"),
        (("status",), without, "name the OUTPUT of a run, or the ledger"),
        (("status", "--harvest", "x"), without, "give --ledger"),
        (("retry",), without, "name the OUTPUT of a run, or the ledger"),
        (("status", "--harvest", "none"), fleet.env(), "holds no harvest none"),
        (("retry", "--harvest", "none"), fleet.env(), "holds no harvest none"),
        (("status", fleet.part("a"), "--harvest", "x"), fleet.env(), "is a part of the harvest"),
        (("failures", tool.folder / "stray.jsonl"), fleet.env(), "is no part of a fleet's"),
        (("status", tool.output, "--ledger", fleet.database), without, "has a ledger of its own"),
        (("verify", fleet.part("a"), tool.output), fleet.env(), "different harvests"),
        (("verify", tool.output, tool.output), without, "one by one"),
        (("verify", fleet.part("a"), fleet.part("a")), fleet.env(), "are the same part"),
    ):
        refused = tool.run(*args, env=env)
        assert (refused.code, said in refused.err) == (2, True), refused.text
        assert PASSWORD not in refused.text
        assert "Traceback" not in refused.text


def test_a_missing_driver_is_told_in_one_line(fleet: Hosts) -> None:
    for args in (("status",), ("retry",), ("run", "-o", fleet.part("a"))):
        refused = fleet.tool.run(*args, env=fleet.env(), python=("-c", WITHOUT_DRIVER))
        assert refused.code == 2, refused.text
        assert refused.err.count("\n") == 1
        assert "with '.[fleet]' in place of" in refused.err


def test_a_part_that_was_lost_with_its_disk_is_fetched_again_when_told_so(
    harvested: Hosts, simulator: Simulator
) -> None:
    fleet, part = harvested, harvested.part("a")
    held = len(fleet.tool.saved(part))
    for path in fleet.tool.folder.glob("a.jsonl*"):
        path.unlink()
    assert fleet.verify("b").code == 1
    unknown = fleet.look("retry", "--lost-part", "nobody")
    assert (unknown.code, str(part) in unknown.err) == (2, True)
    told = fleet.look("retry", "--lost-part", part)
    assert f"{held} of them were charged, and are paid for again" in told.out, told.text
    fleet.harvest("b", simulator.url)
    assert fleet.status()["done"] == len(fleet.tool.saved(fleet.part("b")))
    assert fleet.verify("b").code == 0, fleet.verify("b").text
