"""With --json, what every command comes to is one JSON object, and the manual names its keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import harvester
from harvester.cli import cli
from harvester.cli.ending import Ending, ending_of
from harvester.cli.telling import Telling
from harvester.errors import HarvesterError, OutputLockedError, UsageError
from harvester.json_text import to_json, told
from harvester.status.verdict_text import command_to_go_on
from tests.process.tool import note_ids

TOKEN = "a-token-of-some-length"  # noqa: S105 - one that must not be shown
REFERENCE = Path(harvester.__file__).parent / "docs" / "reference.md"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OUTPUT with three simulated notes, of a run that left one behind."""
    folder = tmp_path_factory.mktemp("telling")
    (folder / "ids.txt").write_text("\n".join([*note_ids(4), "nonsense"]))
    (folder / "token.txt").write_text(TOKEN)
    return folder / "notes.jsonl"


@pytest.fixture(scope="module")
def fetched(output: Path) -> tuple[Path, dict[str, Any]]:
    """The same, and what the run told."""
    how = ("--simulate", "--rate", "1000/s", "--max-notes", "3", "--price", "0.5")
    ended = run("run", output.with_name("ids.txt"), "-o", output, *how, "-q", "--json")
    return output, json.loads(ended.stdout)


def test_a_run_tells_its_summary_also_where_it_is_quiet(
    fetched: tuple[Path, dict[str, Any]],
) -> None:
    output, summary = fetched
    assert (summary["reason"], summary["exitCode"], summary["byCode"]) == ("limit", 7, {"0": 3})
    assert (summary["done"], summary["queued"], summary["cost"]) == (3, 1, 1.5)
    assert (summary["output"], summary["simulated"]) == (str(output), True)
    assert summary["badExamples"][0]["text"] == "nonsense"
    assert summary["message"].startswith("harvester: stopped by its own limit")


def test_a_run_that_resolves_links_tells_of_both_harvests_in_the_words_of_its_log(
    tmp_path: Path,
) -> None:
    output, log = tmp_path / "notes.jsonl", tmp_path / "log"
    (tmp_path / "list.txt").write_text(f"{note_ids(1)[0]} http://xhslink.com/a/b\n")
    how = ("--simulate", "--resolve-links", "--price", "0.5", "--rate", "1000/s")
    logged = ("--log-file", log, "--log-format", "json")
    ended = run("run", tmp_path / "list.txt", "-o", output, *how, *logged, "--json")
    told = json.loads(ended.stdout)
    assert (told["saved"], told["cost"], told["output"]) == (2, 1.0, str(output))
    links = told["links"]
    assert (links["saved"], links["cost"]) == (1, 0.5)
    assert links["output"] == f"{output}.links.jsonl"
    ends = [
        event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "end"
    ]
    assert [end["saved"] for end in ends] == [1, 2]
    for end, one in zip(ends, (links, told), strict=True):
        assert end.keys() - {"at", "run", "event"} <= one.keys()


def results(output: Path) -> Iterator[tuple[str, str]]:
    """What each command tells with --json."""
    ids, page, merged = (output.with_name(name) for name in ("ids.txt", "page", "all.jsonl"))
    token = ("--token-file", output.with_name("token.txt"))
    for words in (
        ("run", ids, "-o", output, "--simulate", "--dry-run"),
        ("status", output),
        ("failures", output),
        ("verify", output),
        ("retry", output),
        ("report", output, "-o", page),
        ("merge", output, "-o", merged),
        ("export", output, "-o", merged.with_suffix(".csv")),
        ("schedule", output.with_name("other.jsonl"), ids, "--at", "01:30", *token),
    ):
        yield str(words[0]), run(*words, "--json").stdout


def test_every_command_tells_one_object_whose_keys_the_manual_names(
    fetched: tuple[Path, dict[str, Any]],
) -> None:
    output, summary = fetched
    told_of = dict(results(output))
    objects = {name: json.loads(text) for name, text in told_of.items()}
    named = set(re.findall(r"[`\"](\w+)[`\"]", REFERENCE.read_text("utf-8")))
    keys = {key for one in (summary, *objects.values()) for key in one}
    assert keys - named == set()
    assert not [key for key in keys if not re.fullmatch(r"[a-z][A-Za-z]*", key)]
    assert (objects["run"]["queued"], objects["run"]["known"]) == (1, 4)
    assert (objects["verify"]["isGood"], objects["verify"]["notes"]) == (True, 3)
    assert (objects["merge"]["notes"], objects["retry"]["queued"]) == (3, 0)
    assert "OnCalendar=*-*-* 01:30:00\n" in objects["schedule"]["texts"]["timer"]


def test_what_is_wrong_is_counted_by_name_with_its_remedy(
    fetched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "notes.jsonl"
    for suffix in ("", ".ledger"):
        place = fetched[0].with_name(fetched[0].name + suffix)
        output.with_name(output.name + suffix).write_bytes(place.read_bytes())
    with output.open("ab") as file:
        file.write(b"nonsense\n")
    verified = json.loads(run("verify", output, "--json").stdout)
    assert verified["isGood"] is False
    (name,) = verified["problems"]
    assert verified["examples"][0]["name"] == name
    assert name in verified["advice"][0]


def test_where_the_data_goes_to_standard_output_the_object_goes_beside(
    fetched: tuple[Path, dict[str, Any]],
) -> None:
    output, _ = fetched
    merged = run("merge", output, "-o", "-", "--json")
    assert merged.stdout == output.read_text("utf-8")
    assert json.loads(merged.stderr)["notes"] == 3
    page = run("report", output, "-o", "-")
    assert page.stdout.startswith("<!DOCTYPE html>")
    assert page.stderr == ""


def test_the_doctor_names_the_vendors_variables_among_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUSTONEAPI_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("JUST_ONE_API_TOKEN", "a-token-of-some-length")
    monkeypatch.setenv("HARVESTER_RUN_RATE", "3/s")
    said = json.loads(run("doctor", "--json").stdout)["checks"][0]["text"]
    vendors = "the address (JUSTONEAPI_BASE_URL), the token (JUST_ONE_API_TOKEN)"
    assert said == f"--rate 3/s (environment), {vendors}"
    of_a_file = run("doctor", "--json", "--simulate", "--rate", "2/s").stdout
    assert json.loads(of_a_file)["checks"][0]["text"].startswith("--simulate (command line)")


def test_a_look_leaves_no_file_of_its_own_behind(fetched: tuple[Path, dict[str, Any]]) -> None:
    output, _ = fetched
    for command in ("status", "failures", "verify"):
        run(command, output)
        assert list(output.parent.glob("*.ledger-*")) == []


def test_a_ledger_in_the_place_of_its_output_is_told(
    fetched: tuple[Path, dict[str, Any]],
) -> None:
    ledger = f"{fetched[0]}.ledger"
    with pytest.raises(UsageError, match=r"is a ledger itself: name its OUTPUT, .*notes\.jsonl\.$"):
        run("status", ledger)


def test_the_command_to_go_on_knows_where_the_last_run_got_its_notes(tmp_path: Path) -> None:
    token, here = str(tmp_path / "token.txt"), "'a b.jsonl'"
    solar = "xiaohongshu-pgy/solar-note-detail/v1"
    told_of: dict[str, str | int] = {"token_file": token, "endpoint": solar, "simulated": 0}
    command = f"harvester run -o 'a b.jsonl' --endpoint {solar} --token-file {token}"
    assert command_to_go_on(here, told_of) == command
    assert command_to_go_on(here, {"token_file": "", "simulated": 1}).endswith(" --simulate")


def test_an_end_before_any_work_has_a_reason_a_code_and_a_line() -> None:
    wrong = click.UsageError("No such option: --x")
    assert told(ending_of(wrong)) == {
        "reason": "usage",
        "exitCode": 2,
        "message": "harvester: error: No such option: --x",
    }
    held = ending_of(OutputLockedError("held"))
    assert held == Ending("locked", 75, "harvester: error: held")
    assert ending_of(KeyboardInterrupt()).exit_code == 130
    assert ending_of(MemoryError()).reason == "local I/O"
    refused = ending_of(PermissionError(13, "Permission denied", "notes.jsonl"))
    assert refused == Ending("local I/O", 74, "harvester: error: notes.jsonl: Permission denied.")
    assert ending_of(ValueError("secret")).message.startswith(
        "harvester: internal error: ValueError. Nothing"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("run", "-o", "notes.jsonl", "--simulate", "--rate", TOKEN),
        ("run", "-o", "notes.jsonl", "--simulate", "--endpoint", TOKEN),
        ("run", "-o", "notes.jsonl", "--region", TOKEN),
        ("run", TOKEN, "-o", "notes.jsonl", "--simulate"),
        ("status", "notes.jsonl", "--config", TOKEN),
        ("forget", "{output}", "--id", TOKEN),
        (TOKEN,),
    ],
)
def test_a_token_that_was_typed_for_something_else_is_not_told(
    words: tuple[str, ...],
    fetched: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUSTONEAPI_TOKEN", TOKEN)
    typed = [word.format(output=fetched[0]) for word in words]
    with pytest.raises((HarvesterError, click.UsageError)) as caught:
        cli.main(typed, standalone_mode=False, obj=Telling())
    message = ending_of(caught.value).message
    assert TOKEN not in message
    assert "***" in message


def test_a_token_that_was_typed_for_a_note_is_not_told(
    fetched: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUSTONEAPI_TOKEN", TOKEN)
    told = json.loads(run("retry", fetched[0], "--id", TOKEN, "--json").stdout)
    assert told["missed"] == ["*** is not known here: no list named it"]
    told = json.loads(run("doctor", fetched[0], "--rate", TOKEN, "--json").stdout)
    assert "--rate '***' is not like" in str(told["checks"][0])
    assert TOKEN not in str(told)


def test_no_text_breaks_the_json_and_no_moment_stays_a_number() -> None:
    text = to_json({"asOf": 1.5, "byCode": {"none": 2}, "text": "\x1b\ud83d\x9b\n笔"})
    assert text == (
        b'{"asOf":"1970-01-01T00:00:01.500Z","byCode":{"none":2},'
        b'"text":"\\\\x1b\\\\ud83d\\\\x9b\\n\xe7\xac\x94"}'
    )


def test_what_ctrl_c_cut_short_is_not_loaded_to_tell_of_it() -> None:
    """What it needs of asyncio would be broken for good."""
    script = (
        "import sys; sys.modules['asyncio'] = None; from harvester.cli.ending import ending_of; "
        "print(ending_of(KeyboardInterrupt()).exit_code)"
    )
    told_by = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told_by.stdout == b"130\n"
