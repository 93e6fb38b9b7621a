"""The paths of one command are held against each other before any of them is opened."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from harvester.cli import cli
from harvester.cli.params import OUTPUT
from harvester.config import ConsoleOptions, RunConfig
from harvester.errors import UsageError
from harvester.paths import check_apart, check_output, output_of, place_of
from harvester.sides import Side


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_text("paid\n")
    return path


def spellings(output: Path) -> list[Path]:
    """Other names of the same file: a link, a hard link, a detour."""
    link, hard = output.with_name("link"), output.with_name("hard")
    link.symlink_to(output)
    hard.hardlink_to(output)
    return [output, link, hard, output.parent / "." / ".." / output.parent.name / output.name]


def test_a_file_that_is_written_may_have_no_other_meaning(output: Path) -> None:
    for path in spellings(output):
        for written in ("--metrics-file", "--log-file"):
            with pytest.raises(UsageError, match="the same file"):
                check_apart({written: path}, output=output)
        for read in ("INPUT", "--token-file"):
            with pytest.raises(UsageError, match="the same file"):
                check_apart({}, [(read, path)], output=output)
    assert output.read_text() == "paid\n"


@pytest.mark.parametrize("name", ["log_file", "metrics_file"])
def test_what_a_run_writes_beside_its_notes_is_never_output(output: Path, name: str) -> None:
    with pytest.raises(UsageError, match="and OUTPUT are the same file"):
        ConsoleOptions.read({name: output}).check_apart([], output)


@pytest.mark.parametrize("name", ["log_file", "metrics_file"])
def test_what_a_run_writes_beside_its_notes_is_no_other_output_either(
    output: Path, name: str
) -> None:
    for side in (Side.LEDGER, Side.PART_MARKER):
        side.of(output).touch()
        with pytest.raises(UsageError, match="runs go on with"):
            ConsoleOptions.read({name: output}).check_apart([], output.with_name("other.jsonl"))
        side.of(output).unlink()


def test_a_metrics_file_replaces_an_earlier_one_and_no_file_of_somebody_elses(output: Path) -> None:
    place = output.with_name("night.prom")
    console = ConsoleOptions.read({"metrics_file": place})
    console.check_apart([], output)
    for text in (b"", b"# HELP harvester_calls_total x\n", bytes(4096)):
        place.write_bytes(text)
        console.check_apart([], output)
    place.write_bytes(b"id,name\n")
    with pytest.raises(UsageError, match="is there and is no metrics file"):
        console.check_apart([], output)


@pytest.mark.parametrize("side", [side for side in Side if side is not Side.LINKS])
def test_the_files_beside_output_are_its_own_also_before_they_are_there(
    output: Path, side: Side
) -> None:
    with pytest.raises(UsageError, match="the same file"):
        check_apart({"--log-file": side.of(output)}, output=output)


def test_two_that_are_written_are_held_against_each_other(tmp_path: Path) -> None:
    both = tmp_path / "both"
    with pytest.raises(UsageError, match="--metrics-file and --log-file"):
        check_apart({"--log-file": both, "--metrics-file": both})
    check_apart({"--log-file": Path(os.devnull), "--metrics-file": Path(os.devnull)})


def test_what_is_only_read_may_be_read_twice(output: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    check_apart({}, [("INPUT", ids), ("INPUT", ids), ("--token-file", None)], output=output)


def test_an_input_that_is_output_is_refused_from_python_too(output: Path) -> None:
    with pytest.raises(UsageError, match="INPUT and OUTPUT"):
        RunConfig.read([output], output, {"simulate": True})
    assert output.read_text() == "paid\n"


@pytest.mark.parametrize("name", ["-", "notes.jsonl.gz", "notes.ZST", "/dev/null", "."])
def test_an_output_that_cannot_be_one_is_told_what_it_must_be(name: str) -> None:
    with pytest.raises(UsageError, match="OUTPUT is a JSONL file"):
        check_output(output_of(name))


@pytest.mark.parametrize("beside", ["", *Side])
def test_a_pipe_in_the_place_of_output_or_of_a_file_beside_it_is_told_and_not_waited_for(
    beside: str, tmp_path: Path
) -> None:
    os.mkfifo(pipe := tmp_path / f"notes.jsonl{beside}")
    for command in (
        "run INPUT --simulate -o",
        "run INPUT --simulate --dry-run -o",
        "forget --id ID",
        "report -o page.html",
        *("status", "failures", "retry", "verify", "doctor"),
    ):
        with pytest.raises(UsageError, match=re.escape(f"{pipe} is not a regular file: ")):
            cli.main([*command.split(), str(tmp_path / "notes.jsonl")], standalone_mode=False)


def test_a_name_that_no_disk_takes_is_told_also_where_only_a_file_beside_it_has_one() -> None:
    for name in ("笔" * 86, "/".join(["d" * 200] * 30)):
        with pytest.raises(UsageError, match="cannot be a file's name: File name too long"):
            place_of(name)
    for long, is_good in ((223, True), (224, False)):
        place_of(output := Path("n" * long))
        with nullcontext() if is_good else pytest.raises(UsageError, match="too long"):
            output_of(output)


def test_nobodys_home_is_a_name_like_others() -> None:
    assert place_of("~.jsonl") == Path("~.jsonl")


def test_the_home_folder_is_found_also_behind_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place_of("~/notes.jsonl") == tmp_path / "notes.jsonl"


def test_a_good_name_is_taken_also_where_the_locale_knows_ascii_alone() -> None:
    script = "from harvester.paths import place_of; import sys; place_of(sys.argv[1])"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name, code in ((b"\xe7\xac\x94.jsonl", 0), (b"\xff.jsonl", 1)):
        command: list[str | bytes] = [sys.executable, "-c", script, name]
        ended = subprocess.run(command, env=locale, capture_output=True, check=False)
        assert (ended.returncode, b"is not UTF-8" in ended.stderr) == (code, bool(code))


def test_a_name_that_no_command_could_show_or_follow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        place_of(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match="link to itself"):
        place_of(loop)


def test_a_name_with_no_room_for_those_beside_it_is_refused(tmp_path: Path) -> None:
    longest = "n" * 223
    ids = [f"{1:024x}"]
    assert RunConfig.read(ids, tmp_path / longest, {"simulate": True}).output.name == longest
    with pytest.raises(UsageError, match=r"the name n+… is too long"):
        RunConfig.read(ids, tmp_path / f"{longest}n", {"simulate": True})
    with pytest.raises(UsageError, match="is too long"):
        OUTPUT.convert(f"{longest}n", None, None)
