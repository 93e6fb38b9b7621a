"""The person's own command hears how every run ended, and can break nothing."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from harvester.cli.on_finish import run_command
from harvester.cli.signals import Signals
from tests.process.hook import Hook
from tests.process.proxy import Proxy
from tests.process.test_answers import noon_zone
from tests.process.tool import Tool

TELL = 'env | grep -E "^(HARVESTER_[A-Z_]+|JUST_?ONE_?API_TOKEN|PGPASSWORD)=" > told'
NAMES = {"REASON", "EXIT_CODE", "SUMMARY", "OUTPUT", "DONE", "QUEUED", "FAILED", "CHARGED"}
NAMES |= {"UNANSWERED", "CALLS"}


def told(tool: Tool) -> dict[str, str]:
    lines = (tool.folder / "told").read_text("utf-8").splitlines()
    return dict(line.removeprefix("HARVESTER_").split("=", 1) for line in lines)


def test_a_run_that_is_done_tells_its_counts_and_no_token(tool: Tool) -> None:
    simulator = tool.simulate()
    ended = tool.harvest(simulator.url, tool.notes(4), "--on-finish", TELL)
    assert ended.code == 0, ended.text
    heard = told(tool)
    assert set(heard) == NAMES
    assert heard["SUMMARY"] == ended.closing_line
    assert heard["OUTPUT"] == str(tool.output)
    counts = [heard[name] for name in ("DONE", "QUEUED", "FAILED", "CHARGED", "UNANSWERED")]
    assert counts == ["4", "0", "0", "4", "0"]
    assert (heard["REASON"], heard["EXIT_CODE"], heard["CALLS"]) == ("done", "0", "4")


@pytest.mark.parametrize(
    ("faults", "options", "reason", "code"),
    [
        (("--missing", "0.5"), (), "some failed", 1),
        (("--daily-quota", "1"), (), "quota", 3),
        (("--balance", "1"), (), "balance", 4),
        ((), ("--max-calls", "1"), "limit", 7),
        ((), ("--token-file", "none"), "usage", 2),
        ((), ("none.txt",), "input", 2),
        ((), ("--log-file", "none/log"), "local I/O", 74),
    ],
)
def test_a_run_that_stops_or_cannot_begin_tells_why(
    tool: Tool, faults: tuple[str, ...], options: tuple[str, ...], reason: str, code: int
) -> None:
    simulator = tool.simulate(*faults)
    notes = tool.notes(30)
    ended = tool.harvest(simulator.url, notes, "-q", "--on-finish", TELL, *options)
    assert "told" not in ended.text
    heard = told(tool)
    assert (ended.code, heard["EXIT_CODE"], heard["REASON"]) == (code, str(code), reason)
    assert ended.text.strip().startswith(heard["SUMMARY"])
    assert len(ended.text.splitlines()) == 1 or code == 2


def test_webhooks_are_told_what_a_run_came_to_and_their_urls_show_nowhere(tool: Tool) -> None:
    simulator = tool.simulate()
    with Hook() as plain, Hook('{"code": 0}') as feishu, Hook("", "500 Oh") as failing:
        urls = tool.write("urls", [feishu.url("/open-apis/bot/v2/hook/s3cretkey")])
        typed = ("--notify-file", urls, "--max-calls", "3", "--log-file", "log", "--price", "0.05")
        env = {**tool.env, "JUSTONEAPI_TOKEN": tool.token}
        env["HARVESTER_RUN_NOTIFY"] = f"{plain.url()} {failing.url()}"
        ended = tool.harvest(simulator.url, tool.notes(4), *typed, env=env)
    assert ended.code == 7, ended.text
    assert "\nharvester: --notify 2 (any JSON) answered with HTTP 500.\n" in ended.err
    [told], [message] = plain.told, feishu.told
    assert (told["event"], told["reason"], told["exitCode"]) == ("end", "limit", 7)
    assert (told["done"], told["queued"], told["calls"], told["cost"]) == (3, 1, 3, 0.15)
    assert told["output"] == str(tool.output)
    assert told["text"] == message["content"]["text"]
    assert told["text"].startswith(f"{ended.closing_line}\n3 calls in ")
    urls.unlink()
    assert tool.holding("s3cretkey") == []


def test_webhooks_are_told_through_the_proxy_why_a_run_could_not_begin(tool: Tool) -> None:
    with Hook() as hook, Proxy() as proxy:
        typed = (
            "--notify",
            hook.url(),
            "--proxy",
            f"http://127.0.0.1:{proxy.port}",
            "--rate",
            "no",
        )
        ended = tool.harvest("http://127.0.0.1:9", *typed)
    assert ended.code == 2
    assert [told["reason"] for told in hook.told] == ["usage"]
    assert hook.told[0]["message"] in ended.err
    assert len(proxy.heads) == 1


def test_webhooks_are_told_that_a_run_waits_for_the_next_day(tool: Tool) -> None:
    simulator = tool.simulate("--daily-quota", "1")
    with Hook() as hook:
        typed = ("--wait-quota", "--day-timezone", noon_zone(), f"--notify={hook.url()}")
        run = tool.start_harvest(simulator.url, tool.notes(2), *typed)
        tool.until(lambda: bool(hook.told), "what a webhook is told")
        run.signal(signal.SIGTERM)
        assert run.finish().code == 3
    assert [told["event"] for told in hook.told] == ["waiting", "end"]
    assert "waiting until" in hook.told[0]["message"]
    assert str(tool.output) in hook.told[0]["text"]


def test_a_webhook_that_is_typed_is_warned_of_and_not_repeated(tool: Tool) -> None:
    simulator = tool.simulate()
    with Hook() as hook:
        typed = ("--max-calls", "1", f"--notify={hook.url()}")
        ended = tool.harvest(simulator.url, tool.notes(2), *typed)
    assert "shows in the list of processes" in ended.err
    assert hook.told[0]["done"] == 1
    assert ended.closing_line.endswith("--max-calls 1`")
    assert "s3cretkey" not in ended.text + str(hook.told)


def test_a_locked_output_and_a_signal_are_told(tool: Tool) -> None:
    upstream = tool.upstream()
    holder = tool.start_harvest(upstream.url, tool.notes(2), "--on-finish", "echo mine > mine")
    tool.until(lambda: upstream.calls > 0, "a call")
    locked = tool.harvest(upstream.url, "--on-finish", TELL)
    heard = told(tool)
    assert (locked.code, heard["EXIT_CODE"], heard["REASON"]) == (75, "75", "locked")
    assert (heard["DONE"], heard["QUEUED"]) == ("", "")
    waiting = tool.start_harvest(upstream.url, "--wait-for-lock", "10m", "--on-finish", TELL)
    waiting.says("another run holds OUTPUT")
    waiting.signal(signal.SIGTERM)
    assert waiting.finish().code == 143
    assert told(tool)["REASON"] == "SIGTERM"
    assert not (tool.folder / "mine").exists()
    holder.signal(signal.SIGINT)
    holder.says("SIGINT")
    upstream.open()
    assert holder.finish().code == 130
    assert (tool.folder / "mine").exists()


def test_a_command_may_use_the_output_that_the_run_held(tool: Tool) -> None:
    simulator = tool.simulate("--missing", "1")
    command = f"{shlex.quote(sys.executable)} -m harvester retry notes.jsonl"
    ended = tool.harvest(simulator.url, tool.notes(2), "--on-finish", command)
    assert ended.code == 1, ended.text
    assert tool.status()["queued"] == 2


@pytest.mark.parametrize(
    ("command", "trouble"),
    [("exit 3", "ended with code 3"), ("no-such-command-here", "ended with code 127")],
)
def test_a_command_that_fails_changes_nothing(tool: Tool, command: str, trouble: str) -> None:
    simulator = tool.simulate()
    ended = tool.harvest(simulator.url, tool.notes(1), "--on-finish", command)
    assert ended.code == 0
    assert f"harvester: --on-finish {trouble}.\n" in ended.err


def test_a_dry_run_finishes_nothing(tool: Tool) -> None:
    ended = tool.harvest("http://127.0.0.1:9", tool.notes(1), "--dry-run", "--on-finish", TELL)
    assert ended.code == 0, ended.text
    assert not (tool.folder / "told").exists()


def test_a_command_does_not_find_what_a_run_is_told_in_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("JUSTONEAPI_TOKEN", "JUST_ONE_API_TOKEN", "HARVESTER_LEDGER", "PGPASSWORD")
    for name in (*names, "HARVESTER_RUN_LEDGER", "HARVESTER_RUN_NOTIFY", "SEEN"):
        monkeypatch.setenv(name, "s3cret")
    assert run_command(f"env > '{tmp_path}/env'", {"HARVESTER_DONE": "1"}, Signals(), 30) is None
    lines = (tmp_path / "env").read_text("utf-8").splitlines()
    assert [line for line in lines if "s3cret" in line] == ["SEEN=s3cret"]
    assert "HARVESTER_DONE=1" in lines


def test_a_command_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = f'sleep 600 & echo $! > "{pid}"; wait'
    began = time.monotonic()
    trouble = run_command(command, {}, Signals(), 1.0)
    assert trouble == "was still running after 1 s and was killed"
    assert time.monotonic() - began < 30
    child = int(pid.read_text())
    Tool.until(lambda: not is_alive(child), "the end of what the command started")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody has waited for yet is dead all the same.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_quiet_run_says_nothing_on_success_and_one_line_otherwise(tool: Tool) -> None:
    simulator = tool.simulate()
    silent = tool.harvest(simulator.url, tool.notes(3), "-q")
    assert (silent.code, silent.text) == (0, "")
    told = tool.harvest(simulator.url, tool.notes(9), "-q", "--max-calls", "1")
    assert told.code == 7
    assert told.text.startswith("harvester: stopped by its own limit")
    assert len(told.text.splitlines()) == 1
