"""A nightly run as a crontab line and as units: each reads the words that were given."""

from __future__ import annotations

import configparser
import shlex
from datetime import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.console.schedule import (
    Nightly,
    cron_word,
    crontab,
    service,
    systemd_word,
    timer,
    window,
)
from harvester.errors import UsageError

HARD = [
    "plain",
    "two words",
    "50%",
    "a b%c",
    "it's",
    'say "so"',
    "$HOME",
    "a\\b",
    "标题.txt",
    ";",
    "",
]


def nightly(*command: str, until: time | None = None, drain: float = 90.0) -> Nightly:
    output = Path("/data/notes.jsonl")
    return Nightly(command or ("/bin/harvester", "run"), output, time(1, 30), until, drain)


def as_cron_reads(command: str, unescaped: str = "%\\") -> str:
    """What cron hands to the shell: up to a bare percent sign, without backslashes before some.

    Debian's takes them away before percent signs and backslashes, others before percent signs.
    """
    handed, is_escaped = "", False
    for sign in command:
        if is_escaped:
            handed = handed[:-1] if sign in unescaped else handed
            is_escaped = False
        elif sign == "%":
            break
        else:
            is_escaped = sign == "\\"
        handed += sign
    return handed


def units(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # case matters to systemd
    parser.read_string(text)
    return parser


@pytest.mark.parametrize(
    ("at", "until", "long"),
    [
        (time(1, 30), time(7), "5h30m"),
        (time(22), time(6), "8h"),
        (time(23, 45), time(0, 15), "30m"),
        (time(0), time(23, 59), "23h59m"),
        (time(7), time(6, 59), "23h59m"),
    ],
)
def test_a_window_may_go_over_midnight(at: time, until: time, long: str) -> None:
    assert window(at, until) == long


def test_what_a_night_writes_is_nobody_elses() -> None:
    assert units(service(nightly()))["Service"]["UMask"] == "0077"


def test_a_window_of_no_length_is_refused() -> None:
    with pytest.raises(UsageError, match="same time"):
        window(time(7), time(7))


@pytest.mark.parametrize("unescaped", ["%", "%\\"])
@pytest.mark.parametrize("word", HARD)
def test_every_cron_and_the_shell_read_a_word_as_it_was(word: str, unescaped: str) -> None:
    read = as_cron_reads(f"run {cron_word(word)} end", unescaped)
    assert shlex.split(read) == ["run", word, "end"]


@pytest.mark.parametrize("unescaped", ["%", "%\\"])
@given(word=st.text(st.sampled_from("a %\\'\"$;`~#é"), max_size=12))
def test_no_word_of_odd_signs_is_changed_by_cron(word: str, unescaped: str) -> None:
    assert shlex.split(as_cron_reads(cron_word(word), unescaped)) == [word]


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/a/b-c.txt", "/a/b-c.txt"),
        ("50%", "50%%"),
        ("two words", '"two words"'),
        ("$HOME", '"$$HOME"'),
        ('say "so"', r'"say \"so\""'),
        ("a\\b", r'"a\\b"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_a_word_is_written_as_systemd_takes_it(word: str, written: str) -> None:
    assert systemd_word(word) == written


def test_the_crontab_line_says_when_and_what() -> None:
    line = crontab(nightly("/bin/harvester", "run", "/my ids.txt")).splitlines()[-1]
    assert line == "30 1 * * * /bin/harvester run '/my ids.txt'"


def test_a_command_that_cron_would_cut_off_is_refused() -> None:
    with pytest.raises(UsageError, match="--format systemd"):
        crontab(nightly("/bin/harvester", "x" * 1000))


def test_a_stop_waits_for_as_long_as_a_call_may_take() -> None:
    parsed = units(service(nightly(drain=300.5)))["Service"]
    assert parsed["Type"] == "oneshot"
    assert int(parsed["TimeoutStopSec"]) == 331


def test_ends_that_need_nobody_are_a_success_to_systemd() -> None:
    fine = units(service(nightly()))["Service"]["SuccessExitStatus"].split()
    assert fine == ["1", "3", "7", "75", "143"]


@pytest.mark.parametrize(("until", "persistent"), [(None, "true"), (time(7), "false")])
def test_a_missed_night_is_made_up_for_only_where_there_is_no_end(
    until: time | None, persistent: str
) -> None:
    parsed = units(timer(nightly(until=until)))
    assert parsed["Timer"]["OnCalendar"] == "*-*-* 01:30:00"
    assert parsed["Timer"]["Persistent"] == persistent
    assert parsed["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize(
    ("output", "unit"),
    [
        ("/d/notes.jsonl", "harvester-notes"),
        ("/d/my notes.v2.jsonl", "harvester-my-notes.v2"),
        ("/d/笔记.jsonl", "harvester-70c8f01f"),
        ("/d/评论.jsonl", "harvester-1860d7c9"),
        ("/d/50%.jsonl", "harvester-50"),
    ],
)
def test_units_are_named_after_the_output(output: str, unit: str) -> None:
    assert Nightly(("/bin/harvester",), Path(output), time(1)).unit == unit
    written = service(Nightly(("/bin/harvester",), Path(output), time(1)))
    assert written.startswith(f"# ~/.config/systemd/user/{unit}.service\n")
    assert f"into {output.replace('%', '%%')}\n" in written
