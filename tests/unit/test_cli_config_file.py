"""`harvester.toml` holds what is said each time, and a wrong word in it is told with its place."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click
import pytest

from harvester.cli import cli
from harvester.cli.config_file import NAME
from harvester.cli.run import parsed_as_run
from harvester.errors import HarvesterError


def main(*words: str) -> int:
    code = cli.main(list(words), standalone_mode=False, auto_envvar_prefix="HARVESTER")
    return int(code or 0)


def refusal(*words: str) -> str:
    with pytest.raises((HarvesterError, click.UsageError)) as caught:
        main(*words)
    error = caught.value
    return error.format_message() if isinstance(error, click.UsageError) else str(error)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a list in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("\n".join(f"{n:024x}" for n in range(3)))
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / NAME).write_text(text)


def test_a_run_needs_no_word_where_the_file_says_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        folder,
        'price = 0.5\n[run]\ninputs = ["ids.txt"]\noutput = "notes.jsonl"\nsimulate = true\n'
        'rate = "1000/s"\nmax-notes = 2\n[status]\njson = true\n',
    )
    assert main("run") == 7
    assert "(1.00 at 0.5 a call)" in capsys.readouterr().out
    assert len((folder / "notes.jsonl").read_bytes().splitlines()) == 2
    # At the top stands what is for all; of another heading nothing is taken.
    assert main("status", "notes.jsonl") == 0
    assert capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize("option", ["--log-file", "--metrics-file", "-o"])
def test_a_file_that_a_run_is_told_by_is_written_by_none(folder: Path, option: str) -> None:
    write(folder, 'rate = "1/s"\n')
    (folder / "urls").write_text("http://127.0.0.1:1/\n")
    before = [path.read_text() for path in sorted(folder.iterdir())]
    for path in (NAME, "urls"):
        said = ("--simulate", "-o", "notes.jsonl", "--notify-file", "urls", option, path)
        assert "are the same file" in refusal("run", "ids.txt", *said)
    assert [path.read_text() for path in sorted(folder.iterdir())] == before


def test_an_option_goes_before_the_environment_and_that_before_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, '[run]\ntimeout = "soon"\n')
    words = ("run", "ids.txt", "-o", "notes.jsonl", "--simulate")
    assert refusal(*words).startswith("harvester.toml: timeout='soon' is not a time like")
    monkeypatch.setenv("HARVESTER_RUN_TIMEOUT", "never")
    assert refusal(*words).startswith("HARVESTER_RUN_TIMEOUT='never' is not a time like")
    assert refusal(*words, "--timeout", "x").startswith("--timeout 'x' is not a time like")


@pytest.mark.parametrize(
    ("words", "environment", "used"),
    [
        ((), {}, ("filed.txt", None, "cn")),
        ((), {"JUSTONEAPI_TOKEN": "t", "JUSTONEAPI_BASE_URL": "http://e"}, (None, None, None)),
        ((), {"JUST_ONE_API_TOKEN": " ", "JUSTONEAPI_BASE_URL": ""}, ("filed.txt", None, "cn")),
        ((), {"HARVESTER_RUN_BASE_URL": "http://e"}, ("filed.txt", "http://e", None)),
        (
            ("--base-url", "http://o"),
            {"HARVESTER_RUN_REGION": "cn"},
            ("filed.txt", "http://o", None),
        ),
        (("--token-file", "o.txt"), {"JUSTONEAPI_TOKEN": "t"}, ("o.txt", None, "cn")),
    ],
)
def test_what_says_the_same_by_another_name_goes_by_where_it_stands_too(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    environment: dict[str, str],
    used: tuple[str | None, ...],
) -> None:
    write(folder, '[run]\ntoken-file = "filed.txt"\nregion = "cn"\nquiet = true\n')
    for name in ("JUSTONEAPI_TOKEN", "JUST_ONE_API_TOKEN", "JUSTONEAPI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    params = parsed_as_run(["-v", *words], click.Context(cli)).params
    file = params["token_file"] and Path(params["token_file"]).name
    assert (file, params["base_url"], params["region"]) == used
    assert (params["quiet"], params["verbose"]) == (None, True)


def test_a_schedule_goes_by_the_files_token_for_the_night_has_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, '\ufeff[run]\ntoken-file = "filed.txt"\n')
    (folder / "filed.txt").write_text("a-token-of-some-length")
    monkeypatch.setenv("JUSTONEAPI_TOKEN", "another-token-of-some-length")
    assert main("schedule", "notes.jsonl", "ids.txt", "--at", "01:30", "--format", "cron") == 0
    assert f"--config {folder / NAME}" in capsys.readouterr().out


def test_what_the_file_tells_other_commands_holds_up_none_that_takes_the_options_of_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, 'preset = "marketing"\n[run]\nsimulate = true\n[status]\nprice = 0.5\n')
    assert main("schedule", "notes.jsonl", "ids.txt", "--at", "01:30", "--json") == 0
    assert capsys.readouterr().out.startswith("{")
    assert "no token" in refusal("account")


def test_paths_are_relative_to_the_file_that_is_named(folder: Path) -> None:
    night = folder / "night"
    night.mkdir()
    (folder / "ids.txt").rename(night / "ids.txt")
    (night / "other.toml").write_text(
        '[run]\ninput = "ids.txt"\noutput = "notes.jsonl"\nsimulate = true\nrate = "1000/s"\n'
        'log-file = "run.log"\n'
    )
    assert main("run", "--config", "night/other.toml", "-q") == 0
    assert {path.name for path in night.iterdir()} >= {"notes.jsonl", "run.log"}
    assert [path.name for path in folder.iterdir()] == ["night"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[run]\nrat = 5", "harvester.toml: rat is no option. Did you mean rate?"),
        ("rat = 5", "harvester.toml: rat is no option. Did you mean rate?"),
        ("[rum]\nrate = 5", "harvester.toml: [rum] is no command. Did you mean [run]?"),
        ("[run]\ntoken = 'abc'", "harvester.toml: a token never stands there"),
        ("token = 'abc'", "harvester.toml: a token never stands there"),
        ("[run]\nsimulate = 1", "harvester.toml: simulate is neither true nor false."),
        ("[run]\nrate = [1]", "harvester.toml: rate is not one text or number."),
        ("[run]\nburst = 0", "harvester.toml: burst='0' is not a whole number of 1 or more."),
        ("[run]\nprogress = 'bra'", "Invalid value for harvester.toml: progress: 'bra' is not"),
        ("[run\n", "is not TOML: "),
    ],
)
def test_a_wrong_word_in_the_file_is_told_with_its_place(
    folder: Path, text: str, told: str
) -> None:
    write(folder, text)
    said = refusal("run", "ids.txt", "-o", "notes.jsonl", "--simulate")
    assert told in said
    assert "abc" not in said
    assert not (folder / "notes.jsonl").exists()


def test_a_file_that_is_named_and_not_there_is_told(folder: Path) -> None:
    told = refusal("run", "--config", "none.toml", "-o", "notes.jsonl")
    assert told == f"--config {folder / 'none.toml'} cannot be read: No such file or directory."
    write(folder, '[run]\ntoken-file = "tok.txt"\n')
    told = refusal("run", "ids.txt", "-o", "notes.jsonl")
    assert told.startswith("harvester.toml: token-file cannot be read: No such file")
    assert f" in {folder}. It wants" in told


def test_what_has_no_end_is_no_file_of_options(folder: Path) -> None:
    told = refusal("run", "--config", "/dev/zero", "-o", "notes.jsonl")
    assert told == (
        "--config /dev/zero cannot be read: it holds more than 1,048,576 bytes: name another file."
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_options_of_windows_is_read(folder: Path, encoding: str) -> None:
    (folder / NAME).write_bytes("rat = 5\r\n".encode(encoding))
    assert refusal("run").startswith("harvester.toml: rat is no option.")


def test_the_manuals_file_is_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manual = Path(__file__).parents[2] / "harvester" / "docs" / "reference.md"
    text = manual.read_text("utf-8").partition("```toml\n")[2].partition("```")[0]
    write(folder, textwrap.dedent(text))
    (folder / "token.txt").write_text("a-token-of-some-length")
    (folder / "token.txt").chmod(0o600)
    assert main("run", "--dry-run") == 0
    assert "at least 3 calls" in capsys.readouterr().out


def test_a_schedule_names_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "[run]\nsimulate = true\n")
    assert main("schedule", "notes.jsonl", "ids.txt", "--at", "01:30", "--format", "cron") == 0
    assert f"--config {folder / NAME}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("notes.jsonl",), ("-o", "notes.jsonl")])
def test_a_schedule_and_the_doctor_take_what_is_not_typed_from_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    write(folder, '[run]\ninputs = ["ids.txt"]\noutput = "notes.jsonl"\nsimulate = true\n')
    assert main("schedule", *words, "--at", "01:30", "--format", "cron") == 0
    line = capsys.readouterr().out
    assert f"run {folder / 'ids.txt'} --output {folder / 'notes.jsonl'} " in line
    assert main("doctor", *words) == 0
    told = capsys.readouterr().out
    assert "OUTPUT: none was named" not in told
    assert "good  run: it would begin" in told
    # What the run would refuse before its first call is bad.
    for wrong in (("--log-file", "notes.jsonl"), ("--metrics-file", "ids.txt")):
        assert main("doctor", *words, *wrong) == 1
        assert "BAD   configuration: " in capsys.readouterr().out
