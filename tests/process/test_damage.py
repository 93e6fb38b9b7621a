"""Damage from outside, between runs: told by name, mended where it can be, never paid for twice."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harvester.api.endpoints import DEFAULT_ENDPOINT
from harvester.model import Job, Judgement, Verdict
from harvester.output.lines import make_line
from tests.process.tool import Finished, Simulator, Tool

MANY = 40
READERS = ("status", "failures", "verify", "retry")


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """A small disk of its own, where the system lets us have one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        is_there = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_there = False
    if not is_there:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S607 - the system's


def remount(place: Path, how: str) -> None:
    command = ["mount", "-o", f"remount,{how}", str(place)]
    subprocess.run(command, check=True)


def ledger_of(output: Path) -> Path:
    return output.with_name(output.name + ".ledger")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def check_plain(ended: Finished, *codes: int) -> None:
    """One line of error that says what to do, no traceback."""
    assert ended.code in codes, ended.text
    assert "Traceback" not in ended.text
    assert "internal error" not in ended.text
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.startswith("harvester: error: ")


def readers(tool: Tool) -> dict[str, Finished]:
    """What each command that looks at a ledger says, all started at once."""
    started = {name: tool.start(name, tool.output, env=tool.env) for name in READERS}
    return {name: process.finish() for name, process in started.items()}


@pytest.fixture
def simulator(tool: Tool) -> Simulator:
    """A server that has charged MANY notes, which are in OUTPUT."""
    simulator = tool.simulate()
    run = tool.harvest(simulator.url, tool.notes(MANY))
    assert run.code == 0, run.text
    return simulator


def lines_of(tool: Tool) -> list[bytes]:
    return tool.output.read_bytes().splitlines(keepends=True)


def check_refused(tool: Tool, simulator: Simulator, *words: str) -> None:
    """Nothing is paid again and nothing changed, with INPUT or without."""
    before = tool.output.read_bytes() if tool.output.exists() else None
    for inputs in ((tool.notes(MANY),), ()):
        refused = tool.harvest(simulator.url, *inputs)
        check_plain(refused, 2)
        for word in (*words, "--rebuild"):
            assert word in refused.err
    assert simulator.calls == MANY
    assert (tool.output.read_bytes() if tool.output.exists() else None) == before


def check_rebuilt(tool: Tool, simulator: Simulator, missing: set[str]) -> None:
    """Told to, a run fetches exactly what is missing."""
    rebuilt = tool.harvest(simulator.url, tool.notes(MANY), "--rebuild")
    assert rebuilt.code == 0, rebuilt.text
    assert set(simulator.charged_twice) == missing
    assert simulator.calls == MANY + len(missing)
    assert set(tool.saved()) >= set(tool.note_ids(MANY))
    verified = tool.verify()
    assert verified.code == 0, verified.text
    again = tool.harvest(simulator.url, tool.notes(MANY))
    assert again.code == 0, again.text
    assert simulator.calls == MANY + len(missing)


# The disk


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(tool: Tool) -> None:
    many = 1500
    simulator = tool.simulate()
    notes = tool.notes(many)
    with mounted(tool.folder / "disk", "2m") as disk:
        tool.output = disk / "notes.jsonl"
        full = tool.harvest(simulator.url, notes)
        assert full.code == 74, full.text
        assert "left" in full.closing_line
        assert "Traceback" not in full.text
        assert re.search("No space left|disk is full", full.text)
        assert re.search("make room|check free space", full.text)
        text = tool.output.read_bytes()
        kept = text[: text.rfind(b"\n") + 1]
        assert 0 < simulator.charged < many
        still = tool.harvest(simulator.url, notes)
        assert still.code == 74, still.text
        assert tool.output.read_bytes().startswith(kept)

        remount(disk, "size=64m")
        again = tool.harvest(simulator.url, notes)
        assert again.code == 0, again.text
        assert tool.output.read_bytes().startswith(kept)
        assert sorted(tool.saved()) == sorted(tool.note_ids(many))
        verified = tool.verify()
        assert verified.code == 0, verified.text
        told = [
            re.search(r"(\d+) answers that were paid for could not be written", run.out)
            for run in (full, still)
        ]
        assert simulator.charged - many <= sum(int(words[1]) for words in told if words)


def test_a_read_only_disk_is_told_and_can_still_be_looked_at(tool: Tool) -> None:
    simulator = tool.simulate()
    with mounted(tool.folder / "disk", "16m") as disk:
        tool.output = disk / "notes.jsonl"
        assert tool.harvest(simulator.url, tool.notes(MANY), "--max-notes", "10").code == 7
        before = files_of(disk)
        remount(disk, "ro")
        check_plain(tool.harvest(simulator.url, tool.notes(MANY)), 74)
        other = tool.run("run", tool.notes(MANY), "-o", disk / "new.jsonl", "--simulate")
        check_plain(other, 74)
        said = readers(tool)
        check_plain(said.pop("retry"), 74)
        assert {name: ended.code for name, ended in said.items()} == dict.fromkeys(said, 0), said
        assert files_of(disk) == before
        assert simulator.calls == 10
        remount(disk, "rw")
        assert tool.harvest(simulator.url).code == 0
        assert sorted(tool.saved()) == tool.note_ids(MANY)


def test_an_output_in_a_folder_that_is_none_is_refused(tool: Tool) -> None:
    file = tool.write("file", ["x"])
    runs = [
        tool.start("run", tool.notes(1), "-o", place / "notes.jsonl", "--simulate")
        for place in (file, tool.folder / "nowhere")
    ]
    for run in runs:
        check_plain(run.finish(), 74)
    assert file.read_text() == "x\n"


# OUTPUT, changed between runs


def test_another_file_in_its_place_is_not_paid_for_again(tool: Tool, simulator: Simulator) -> None:
    lines = lines_of(tool)
    ids = tool.saved()
    longer = [line.replace(b'"data":', b'"data":' + b" " * len(line)) for line in lines[5:30]]
    swapped = [*lines[:5], *reversed(longer)]
    tool.output.write_bytes(b"".join(swapped))
    check_refused(tool, simulator, "not the file that")
    assert "end differs" in tool.verify().out
    check_rebuilt(tool, simulator, set(ids[30:]))


def test_a_cut_off_output_is_not_paid_for_again(tool: Tool, simulator: Simulator) -> None:
    ids = tool.saved()
    tool.output.write_bytes(b"".join(lines_of(tool)[:25])[:-100])
    check_refused(tool, simulator, "shorter")
    said = tool.verify()
    assert said.code == 1, said.text
    assert ": shorter: " in said.out
    missing = re.search(r"16 done notes have no good line: (.*), …", said.out)
    assert missing
    assert set(missing[1].split(", ")) <= set(ids[24:])
    check_rebuilt(tool, simulator, set(ids[24:]))


def test_lines_taken_out_of_the_middle_are_fetched_only_when_told(
    tool: Tool, simulator: Simulator
) -> None:
    lines, ids = lines_of(tool), tool.saved()
    tool.output.write_bytes(b"".join(lines[:7] + lines[9:]))
    check_refused(tool, simulator, "shorter")
    check_rebuilt(tool, simulator, set(ids[7:9]))


def test_an_output_moved_away_is_not_paid_for_again(tool: Tool, simulator: Simulator) -> None:
    away = tool.output.rename(tool.folder / "away.jsonl")
    check_refused(tool, simulator, "is missing")
    assert ": output missing: " in tool.verify().out
    away.rename(tool.output)
    assert tool.harvest(simulator.url, tool.notes(MANY)).code == 0
    assert simulator.calls == MANY
    tool.output.unlink()
    check_rebuilt(tool, simulator, set(tool.note_ids(MANY)))


def test_what_verify_says_of_an_edited_file_mends_it(tool: Tool, simulator: Simulator) -> None:
    lines, ids = lines_of(tool), tool.saved()
    lines[4] = lines[4][:300].replace(b"data", b"d\0ta") + lines[4][300:]
    lines[8] = lines[8][:-20] + b"\n"
    lines[11:11] = [b"# a remark\n", b"\n", lines[2]]
    lines[20] = lines[20].replace(b'"attempts":1', b'"attempts":9')
    tool.output.write_bytes(b"".join(lines))
    check_refused(tool, simulator)
    said = tool.verify()
    assert said.code == 1, said.text
    found = re.findall(r"^\S+?:(\d+): ([a-z ]+):", said.out, re.MULTILINE)
    assert [kind for line, kind in found if line == "5"] == ["garbled"]
    assert ("9", "garbled") in found
    assert [damage for damage in found if damage[1] in ("foreign", "duplicate")] == [
        ("12", "foreign"),
        ("14", "duplicate"),
    ]
    assert ("21", "edited") in found
    assert f"{lines_id(lines[2])} has another line, line 3" in said.out
    hints = [line.split(":")[0] for line in said.out.splitlines() if "--rebuild`" in line]
    assert hints
    assert len(hints) == len(set(hints))

    (command,) = re.findall(r"`(sed .*)`", said.out)
    subprocess.run(["/bin/sh", "-c", command], check=True)
    check_rebuilt(tool, simulator, {ids[4], ids[8]})


def lines_id(line: bytes) -> str:
    return line.split(b'"', 4)[3].decode()


def test_a_broken_line_is_never_taken_as_done(tool: Tool, simulator: Simulator) -> None:
    lines, ids = lines_of(tool), tool.saved()
    broken = lines[3][:-30] + b"}\n"
    tool.output.write_bytes(b"".join([*lines[:3], broken, *lines[4:]]))
    for part in tool.folder.glob("notes.jsonl.ledger*"):
        part.unlink()
    refused = tool.harvest(simulator.url, tool.notes(MANY))
    check_plain(refused, 2)
    assert "line 4" in refused.err
    assert simulator.calls == MANY
    tool.output.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    assert tool.harvest(simulator.url, tool.notes(MANY)).code == 0
    assert simulator.charged_twice == [ids[3]]


def test_an_output_may_be_a_link(tool: Tool) -> None:
    simulator = tool.simulate()
    real = tool.folder / "data"
    real.mkdir()
    link = tool.output
    link.symlink_to(real / "kept.jsonl")
    assert tool.harvest(simulator.url, tool.notes(MANY), "--max-notes", "15").code == 7
    assert link.is_symlink()
    assert sorted(path.name for path in real.iterdir()) == ["kept.jsonl", "kept.jsonl.ledger"]
    tool.output = real / "kept.jsonl"
    assert tool.harvest(simulator.url, tool.notes(MANY)).code == 0
    tool.output = link
    assert tool.harvest(simulator.url, tool.notes(MANY)).code == 0
    assert (simulator.calls, simulator.charged_twice) == (MANY, [])
    assert sorted(tool.saved()) == tool.note_ids(MANY)
    assert {name: said.code for name, said in readers(tool).items()} == dict.fromkeys(READERS, 0)
    assert ledger_of(link).exists() is False


# The ledger, damaged between runs


def test_without_a_ledger_each_command_says_so(tool: Tool, simulator: Simulator) -> None:
    ledger = ledger_of(tool.output)
    ledger.unlink()
    for ended in readers(tool).values():
        check_plain(ended, 2)
        assert f"there is no ledger {ledger}" in ended.err
        assert "harvester run INPUT -o" in ended.err
    assert not ledger.exists()
    run = tool.harvest(simulator.url, tool.notes(MANY))
    assert run.code == 0, run.text
    assert "rebuilt" in run.err
    assert "what was still queued is not known" in run.err
    assert simulator.calls == MANY
    assert tool.verify().code == 0
    ledger.unlink()
    without_input = tool.harvest(simulator.url, "-q")
    assert without_input.code == 0


def test_a_newer_ledger_is_refused_and_untouched(tool: Tool, simulator: Simulator) -> None:
    with closing(sqlite3.connect(ledger_of(tool.output))) as db:
        db.execute("PRAGMA user_version = 99")
    before = files_of(tool.folder)
    said = readers(tool)
    said["run"] = tool.harvest(simulator.url, tool.notes(MANY))
    said["rebuild"] = tool.harvest(simulator.url, tool.notes(MANY), "--rebuild")
    for ended in said.values():
        check_plain(ended, 2)
        assert "upgrade harvester" in ended.err
    after = files_of(tool.folder)
    assert {name: after[name] for name in before} == before
    assert simulator.calls == MANY


def overwrite(path: Path, start: int, many: int) -> bytes:
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\xa5" * many + data[start + many :])
    return path.read_bytes()


@pytest.mark.parametrize(
    ("start", "many", "options"),
    [(0, 100, ()), (0, 100, ("--rebuild",)), (4096, 1 << 20, ()), (4096, 8192, ("--rebuild",))],
    ids=["header", "header, --rebuild", "all but the first page", "middle, --rebuild"],
)
def test_a_damaged_ledger_is_set_aside_and_rebuilt(
    tool: Tool, simulator: Simulator, start: int, many: int, options: tuple[str, ...]
) -> None:
    ledger = ledger_of(tool.output)
    many = min(many, ledger.stat().st_size - start)
    damaged = overwrite(ledger, start, many)
    for name, ended in readers(tool).items():
        # Two look at a part only, and cannot know of the rest.
        if name in ("verify", "retry") or ended.code:
            check_plain(ended, 2, 74)
            assert "damaged" in ended.err
    assert ledger.read_bytes() == damaged
    text = tool.output.read_bytes()
    run = tool.harvest(simulator.url, tool.notes(MANY), *options)
    assert run.code == 0, run.text
    aside = ledger.with_name(ledger.name + ".damaged")
    assert str(aside) in run.err
    assert "rebuilt" in run.err
    assert aside.read_bytes() == damaged
    assert tool.output.read_bytes() == text
    assert simulator.calls == MANY
    status = tool.status()
    assert (status["done"], status["charged"]) == (MANY, MANY)
    assert tool.verify().code == 0


def test_a_ledger_damaged_where_only_the_run_looks_is_mended_by_the_next_one(
    tool: Tool, simulator: Simulator
) -> None:
    ledger = ledger_of(tool.output)
    with closing(sqlite3.connect(ledger)) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'job_by_note'"
        ).fetchone()
    overwrite(ledger, (page - 1) * 4096, 4096)
    more = tool.notes(MANY + 10)
    stopped = tool.harvest(simulator.url, more)
    assert stopped.code in (0, 74), stopped.text
    assert "damaged" in stopped.text
    assert "Traceback" not in stopped.text
    run = tool.harvest(simulator.url, more)
    assert run.code == 0, run.text
    assert (simulator.calls, simulator.charged_twice) == (MANY + 10, [])
    assert ledger.with_name(ledger.name + ".damaged").exists()
    assert tool.verify().code == 0


def test_a_damaged_ledger_without_its_output_pays_for_nothing(
    tool: Tool, simulator: Simulator
) -> None:
    overwrite(ledger_of(tool.output), 0, 100)
    tool.output.unlink()
    check_refused(tool, simulator, "is missing", "damaged")


def test_an_empty_ledger_is_filled_from_output(tool: Tool, simulator: Simulator) -> None:
    ledger_of(tool.output).write_bytes(b"")
    for ended in readers(tool).values():
        check_plain(ended, 2)
    run = tool.harvest(simulator.url, tool.notes(MANY))
    assert run.code == 0, run.text
    assert simulator.calls == MANY
    assert tool.verify().code == 0


# In the middle of something


def many_lines(path: Path, many: int) -> list[str]:
    """An OUTPUT that is rebuilt in several pieces."""
    ids = [f"{0x68000000 + n:024x}" for n in range(many)]
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=b'{"n":1}')
    with path.open("wb") as file:
        for note_id in ids:
            file.write(make_line(Job(0, note_id), judgement, DEFAULT_ENDPOINT, 1795395723.5))
    return ids


# Killed by itself once it has adopted the second piece of OUTPUT.
DIES = """
import os, signal
from harvester.engine import mending
from harvester.ledger.sqlite import adoption
mending._LINES_AT_ONCE = 1000
adopt, done = adoption.adopt, []
def adopt_and_die(*args):
    adopted = adopt(*args)
    done.append(adopted)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return adopted
adoption.adopt = adopt_and_die
from harvester.__main__ import main
main()
"""


@pytest.mark.parametrize("options", [(), ("--rebuild",)], ids=["lost ledger", "--rebuild"])
def test_a_kill_in_the_middle_of_a_rebuild_is_made_good_by_the_next_run(
    tool: Tool, options: tuple[str, ...]
) -> None:
    simulator = tool.simulate()
    ids = many_lines(tool.output, 2500)
    if options:
        assert tool.harvest(simulator.url).code == 0
    text = tool.output.read_bytes()
    killed = tool.harvest(simulator.url, *options, python=("-c", DIES))
    assert killed.code == -signal.SIGKILL, killed.text
    with closing(sqlite3.connect(f"file:{ledger_of(tool.output)}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT length FROM output").fetchall()
    # All of it is done, or nothing.
    assert found == [(len(text) if options else 0,)]
    assert tool.verify().code == (0 if options else 1)

    again = tool.harvest(simulator.url, *options)
    assert again.code == 0, again.text
    assert simulator.calls == 0
    assert tool.output.read_bytes() == text
    status = tool.status()
    assert (status["done"], status["queued"], status["charged"]) == (len(ids), 0, len(ids))
    assert tool.verify().code == 0


def test_verify_gives_no_false_alarm_while_a_run_is_on(tool: Tool) -> None:
    simulator = tool.simulate("--latency", "20ms")
    run = tool.start_harvest(simulator.url, tool.notes(300), "--rate", "250/s")
    tool.until(lambda: simulator.charged > 20, "some charged calls")
    seen = 0
    while run.is_running:
        verified = tool.verify()
        assert verified.code == 0, verified.text
        seen += run.is_running
    assert seen
    assert run.finish().code == 0
    assert "good: 300 lines, 300 notes" in tool.verify().out


def test_a_copy_of_both_files_goes_on_by_itself(tool: Tool, simulator: Simulator) -> None:
    backup = tool.folder / "backup"
    backup.mkdir()
    for name in (tool.output.name, ledger_of(tool.output).name):
        shutil.copy(tool.folder / name, backup / name)
    tool.output = backup / tool.output.name
    assert tool.verify().code == 0
    assert tool.harvest(simulator.url, tool.notes(MANY)).code == 0
    assert simulator.calls == MANY
