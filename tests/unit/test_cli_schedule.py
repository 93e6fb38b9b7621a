"""What `schedule` hands to `run` means the same at night as it does now."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from harvester.cli import cli
from harvester.cli.run import run
from harvester.cli.schedule import schedule

NOT_NIGHTLY = {"dry_run", "rebuild"}
FROM_ELSEWHERE = {"json", "config", "notify"}
PLACES = {"inputs", "output"}
# A value that each option takes, where its type does not tell.
VALUES = {
    "proxy": "http://proxy:3128",
    "endpoint": "xiaohongshu-pgy/solar-note-detail/v1",
    "region": "cn",
    "base_url": "http://127.0.0.1:9",
    "rate": "7/m",
    "workers": "3",
    "day_timezone": "Europe/Berlin",
    "progress": "json",
    "log_format": "json",
    "id_pattern": r"[a-z]{3}\d 50% \"it's\"",
    "on_finish": "printf '%s\\n' \"$HARVESTER_SUMMARY\" >> /tmp/ends",
    "timeout": "2m",
    "max_runtime": "8h",
    "refresh": "7d",
    "wait_for_lock": "5m",
    "wait_quota": "12h",
    "carry": "campaign",
    "input_format": "text",
    "encoding": "utf-8",
}
OPTIONS = [
    param
    for param in run.params
    if isinstance(param, click.Option) and param.name not in PLACES | NOT_NIGHTLY | FROM_ELSEWHERE
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ids.txt and token.txt are, with no setting of ours in the environment."""
    for name in os.environ:
        if name.startswith(("HARVESTER_", "JUSTONEAPI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("67f32a94000000001d02eb4a\n")
    (tmp_path / "token.txt").write_text("any\n")
    (tmp_path / "token.txt").chmod(0o600)
    (tmp_path / "a file").touch()
    (tmp_path / "notes.jsonl").touch()
    (tmp_path / "notes.jsonl.ledger").touch()
    return tmp_path


def printed(*words: str, env: dict[str, str] | None = None) -> Result:
    """What `schedule` makes of its words, but for those that every call needs."""
    return CliRunner().invoke(schedule, [*words, "--at", "1:30", "--format", "service"], env=env)


def scheduled(*words: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """What `run` makes of the command that is printed."""
    result = printed(*words, env=env)
    assert result.exit_code == 0, (result.output, result.exception)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("ExecStart=")]
    command = line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$")
    words = tuple(shlex.split(command))
    return run.make_context("run", list(words[words.index("run") + 1 :])).params


def value_of(option: click.Option) -> list[str]:
    if option.is_flag:
        return []
    if isinstance(option.type, click.Path):
        return ["token.txt" if option.name == "token_file" else "a file"]
    return [VALUES.get(option.name or "", "11")]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_of_run_reaches_the_night_as_it_was_meant(
    folder: Path, option: click.Option
) -> None:
    said = ["=".join([option.opts[-1], *value_of(option)])]
    token = [] if option.name == "token_file" else ["--token-file", "token.txt"]
    if option.name == "harvest":
        token += ["--ledger", "postgresql://127.0.0.1:1/database"]
    night = scheduled("notes.jsonl", *token, *said)
    now = run.make_context("run", ["-o", "notes.jsonl", *said]).params
    meant = now[option.name or ""]
    if isinstance(option.type, click.Path):
        meant = type(meant)(Path(meant).absolute())
    assert night[option.name or ""] == meant


def test_paths_are_absolute_and_the_night_is_quiet_logged_and_patient(folder: Path) -> None:
    night = scheduled("notes.jsonl", "ids.txt", "--token-file", "token.txt")
    assert night["output"] == folder / "notes.jsonl"
    assert night["inputs"] == (str(folder / "ids.txt"),)
    assert night["token_file"] == str(folder / "token.txt")
    assert night["log_file"] == folder / "notes.jsonl.log"
    assert (night["quiet"], night["wait_for_lock"], night["max_runtime"]) == (True, "10m", None)


def test_what_was_said_is_not_said_otherwise(folder: Path) -> None:
    said = ("--wait-for-lock", "0s", "-v", "--log-file", "log", "--max-runtime", "2h")
    night = scheduled("notes.jsonl", "--simulate", *said)
    assert (night["quiet"], night["verbose"], night["wait_for_lock"]) == (False, True, "0s")
    assert (night["log_file"], night["max_runtime"]) == (folder / "log", "2h")


def test_a_night_may_wait_for_the_next_day(folder: Path) -> None:
    assert scheduled("--wait-quota", "notes.jsonl", "--simulate")["wait_quota"] == "always"
    assert scheduled("notes.jsonl", "--simulate")["wait_quota"] is None


def test_until_becomes_the_longest_runtime(folder: Path) -> None:
    assert scheduled("notes.jsonl", "--simulate", "--until", "0:15")["max_runtime"] == "22h45m"


def test_the_output_may_be_named_as_run_names_it(folder: Path) -> None:
    night = scheduled("ids.txt", "-o", "notes.jsonl", "--simulate", "--rate", "9/s")
    assert (night["output"], night["rate"]) == (folder / "notes.jsonl", "9/s")
    assert night["inputs"] == (str(folder / "ids.txt"),)
    assert scheduled("--rate", "9/s", "--simulate", "notes.jsonl")["output"] == night["output"]


def test_settings_of_this_environment_are_written_out_for_the_night(folder: Path) -> None:
    env = {"HARVESTER_RUN_RATE": "3/s", "JUSTONEAPI_BASE_URL": "http://127.0.0.1:9"}
    words = ("notes.jsonl", "--token-file", "token.txt")
    night = scheduled(*words, env=env)
    assert (night["rate"], night["base_url"]) == ("3/s", "http://127.0.0.1:9")
    assert scheduled(*words, "--region", "cn", env=env)["base_url"] is None


@pytest.mark.parametrize(
    ("said", "env"),
    [
        (("--ledger", "postgresql://me:s3cret@127.0.0.1:1/notes"), {}),
        (("--ledger=postgresql://me@127.0.0.1:1/notes?password=s3cret",), {}),
        ((), {"HARVESTER_LEDGER": "postgresql://me:s3cret@127.0.0.1:1/notes"}),
    ],
)
def test_the_ledgers_password_is_not_printed_and_it_is_said_where_it_goes(
    folder: Path, said: tuple[str, ...], env: dict[str, str]
) -> None:
    words = ("notes.jsonl", "ids.txt", "--simulate", *said)
    for form in ("cron", "systemd", "all"):
        result = CliRunner().invoke(schedule, [*words, "--at", "1:30", "--format", form], env=env)
        assert result.exit_code == 0, (result.output, result.exception)
        assert "s3cret" not in result.output
        assert "@127.0.0.1:1/notes" in result.stdout
        for place in ("~/.pgpass", "PGPASSWORD", "EnvironmentFile"):
            assert place in result.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("notes.jsonl",), "--token-file"),
        (("notse.jsonl", "--simulate"), "did you mean notes.jsonl?"),
        (("--simulate",), "name the OUTPUT"),
        (("notes.jsonl", "--token-file", "none.txt"), "cannot be read"),
        (("notes.jsonl", "none.txt", "--simulate"), "no such file"),
        (("notes.jsonl", "-", "--simulate"), "no standard input"),
        (("notes.jsonl", "--simulate", "--rate", "fast"), "--rate 'fast'"),
        (("notes.jsonl", "--simulate", "--wait-for-lock", "soon"), "--wait-for-lock 'soon'"),
        (("notes.jsonl", "--simulate", "--refresh", "7"), "7d or 7s?"),
        (("notes.jsonl", "--simulate", "--max-note", "5"), "--max-note"),
        (("notes.jsonl", "--simulate", "--dry-run"), "--dry-run is not for every night"),
        (("notes.jsonl", "--simulate", "--rebuild"), "--rebuild is not for every night"),
        (("notes.jsonl", "--simulate", "--until", "1:30"), "same time"),
        (("notes.jsonl", "--simulate", "--until", "25:00"), "--until '25:00' is not a time of day"),
        (("notes.jsonl", "--simulate", "--until", "7:00", "--max-runtime", "2h"), "say the same"),
        (("none/notes.jsonl", "--simulate"), "create its folder"),
        (("notes.jsonl", "--simulate", "--log-file", "none/log"), "create its folder"),
        (("not\nes.jsonl", "ids.txt", "--simulate"), "rename it"),
    ],
)
def test_what_would_fail_at_night_is_refused_now(
    folder: Path, words: tuple[str, ...], complaint: str
) -> None:
    result = printed(*words)
    assert result.exit_code, result.output
    assert complaint in f"{result.output}{result.exception}"
    assert "ExecStart" not in result.output


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("proxy", "http://me:pass-5b1e77c0d2@proxy:3128"),
        ("notify", "https://h.example/pass-5b1e77c0d2 https://h.example/2"),
    ],
)
def test_a_url_that_is_secret_is_not_printed_but_told_where_to_put(name: str, url: str) -> None:
    variable = f"HARVESTER_RUN_{name.upper()}"
    result = printed("notes.jsonl", "--token-file", "token.txt", env={variable: url})
    assert result.exit_code == 0
    assert "pass-5b1e77c0d2" not in result.output
    assert f"--{name}" not in result.stdout
    assert result.stderr.count(f"{variable}=...") == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("option", ["--token-file", "--notify-file", "--config", "INPUT"])
def test_a_pipe_of_this_process_is_gone_at_night(option: str) -> None:
    texts = {"--token-file": "any", "--notify-file": "http://127.0.0.1:1/x", "--config": ""}
    reader, writer = os.pipe()
    os.write(writer, texts.get(option, "").encode())
    os.close(writer)
    words = (f"/dev/fd/{reader}",) if option == "INPUT" else (option, f"/dev/fd/{reader}")
    told = CliRunner().invoke(
        cli, ["schedule", "notes.jsonl", "--at", "1:30", "--simulate", *words]
    )
    os.close(reader)
    assert told.exit_code == 1
    assert f"{option}: /dev/fd/{reader} is gone at night: name a file" in str(told.exception)
