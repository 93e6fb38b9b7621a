"""What `harvester schedule` prints is what cron and systemd take, and it harvests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.process.tool import Finished, Tool
from tests.unit.test_console_schedule import as_cron_reads, units

# What cron gives to a command, and no more.
BARE = {"HOME": "/", "LOGNAME": "nobody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
CRON = shutil.which("cron", path="/usr/sbin:/sbin:/usr/bin")
CRONTAB = shutil.which("crontab")


@pytest.fixture
def odd(tool: Tool) -> Tool:
    """The tool in a folder whose name must be quoted, with a token file."""
    tool.folder = tool.folder / "50% o'clock $HOME"
    tool.folder.mkdir()
    tool.output = tool.folder / "my notes.jsonl"
    token = tool.write("token file", [tool.token])
    token.chmod(0o600)
    return tool


def schedule(tool: Tool, url: str, notes: Path, *more: str) -> Finished:
    """Schedule by relative names, as a person in the folder does."""
    names = (tool.output.name, notes.name, "--token-file", "token file", "--base-url", url)
    found = tool.run("schedule", *names, "--rate", "1000/s", *more, env=tool.env)
    assert found.code == 0, found.text
    assert found.err == ""
    assert tool.token not in found.out
    return found


def cron_command(printed: str) -> str:
    line = printed.splitlines()[1]
    assert line.startswith("30 1 * * * /")
    return as_cron_reads(line.split(" ", 5)[5])


def test_the_line_for_cron_harvests_in_crons_bare_environment(odd: Tool) -> None:
    simulator = odd.simulate()
    night = ("--at", "01:30", "--until", "7:00", "--format", "cron")
    command = cron_command(schedule(odd, simulator.url, odd.notes(5), *night).out)
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", env=BARE, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(odd.saved()) == 5
    log = odd.output.with_name(odd.output.name + ".log").read_text("utf-8")
    assert all(note_id in log for note_id in odd.note_ids(5))


def test_trouble_at_night_is_one_line_for_cron_to_mail(odd: Tool) -> None:
    simulator = odd.simulate("--daily-quota", "2")
    night = (
        "--at",
        "01:30",
        "--format",
        "cron",
        "--on-finish",
        'echo "$HARVESTER_REASON 50%" >end',
    )
    command = cron_command(schedule(odd, simulator.url, odd.notes(5), *night).out)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=odd.folder,
        env=BARE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("harvester: stopped by the daily quota")
    assert len(done.stdout.splitlines()) == 1
    assert (odd.folder / "end").read_text() == "quota 50%\n"


def test_each_format_prints_its_files_one_after_the_other(odd: Tool) -> None:
    notes = odd.notes(1)
    parts = {
        form: schedule(odd, "http://127.0.0.1:9", notes, "--at", "01:30", "--format", form).out
        for form in ("cron", "service", "timer", "systemd", "all")
    }
    assert parts["systemd"] == parts["service"] + "\n" + parts["timer"]
    assert parts["all"] == parts["cron"] + "\n" + parts["systemd"]


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze (Debian: systemd) is not here"
)
@pytest.mark.parametrize("until", [(), ("--until", "07:00")])
def test_systemd_takes_the_units(odd: Tool, tmp_path: Path, until: tuple[str, ...]) -> None:
    finish = ("--on-finish", r"printf '%s\n' \"$HARVESTER_SUMMARY\"; date")
    night = ("--at", "01:30", *until, *finish)
    paths = []
    for kind in ("service", "timer"):
        text = schedule(odd, "http://127.0.0.1:9", odd.notes(1), *night, "--format", kind).out
        name = text.splitlines()[0].rpartition("/")[2]
        assert name == f"harvester-my-notes.{kind}"
        paths.append(tmp_path / name)
        paths[-1].write_text(text, "utf-8")
        units(text)
    # Warnings do not change its exit code.
    found = subprocess.run(
        ["systemd-analyze", "verify", *paths],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.fixture
def crontab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file which, once installed by the test, is this user's crontab, under a daemon of its own.

    Nobody else's daemon or crontab is touched.
    """
    if not request.config.getoption("--with-cron"):
        pytest.skip("a cron daemon for a minute only with --with-cron")
    if CRON is None or CRONTAB is None or os.geteuid():
        pytest.skip("needs cron (Debian: cron) and root")
    if Path("/run/crond.pid").exists() and is_running(Path("/run/crond.pid")):
        pytest.skip("a cron daemon runs here already")
    if subprocess.run([CRONTAB, "-l"], capture_output=True, check=False).returncode == 0:
        pytest.skip("this user has a crontab, which stays as it is")
    with subprocess.Popen([CRON, "-f"]) as daemon:
        try:
            yield tmp_path / "crontab"
        finally:
            daemon.terminate()
            subprocess.run([CRONTAB, "-r"], capture_output=True, check=False)


def is_running(pid_file: Path) -> bool:
    text = pid_file.read_text().strip()
    return text.isdigit() and Path(f"/proc/{text}").exists()


def test_a_real_cron_runs_the_line(odd: Tool, crontab: Path) -> None:
    assert CRONTAB is not None
    simulator = odd.simulate()
    # Not in the last seconds of a minute: cron reads a new crontab when the next one begins.
    now = datetime.fromtimestamp(time.time())  # noqa: DTZ006 - cron goes by local time
    at = now + timedelta(minutes=1 if now.second < 50 else 2)
    finish = f"printf '%s \\\\%%\\n' \"$HARVESTER_REASON 50%\" > '{odd.logs}/end'"
    night = ("--at", f"{at:%H:%M}", "--format", "cron", "--on-finish", finish)
    crontab.write_text(schedule(odd, simulator.url, odd.notes(5), *night).out, "utf-8")
    subprocess.run([CRONTAB, str(crontab)], check=True)
    end = odd.logs / "end"
    odd.until(end.exists, "the end of the run that cron started", 130)
    odd.until(lambda: bool(end.read_text()), "its last word")
    assert end.read_text() == "done 50% \\%\n"
    assert len(odd.saved()) == 5
