"""A run of every night as text: a crontab line, and a systemd service with its timer."""

from __future__ import annotations

import math
import os
import re
import shlex
import zlib
from datetime import time
from pathlib import Path

from msgspec import Struct

from harvester.errors import UsageError

_DAY_MINUTES = 24 * 60
# Vixie cron and its heirs read a command into 1,000 bytes and cut the rest off without a word.
_CRON_LONGEST = 998
_NEEDS_NO_QUOTES = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_NOT_IN_UNIT_NAMES = re.compile(r"[^A-Za-z0-9:_.-]+")
_BEFORE_A_BACKSLASH = re.compile(r"\\(?=\\)")
# Between the last answer of a drain and the end of the process: lines, commits, a summary.
_STOP_MARGIN = 30.0


class Nightly(Struct, frozen=True):
    """A run that begins every day at `at`, local time.

    `command` is in whole words with absolute paths, `output` is OUTPUT's absolute path. With
    `until` it ends by itself then. `drain` is how many seconds a stopped run may go on: as long as
    a call may take, and whatever is to be done after it.
    """

    command: tuple[str, ...]
    output: Path
    at: time
    until: time | None = None
    drain: float = 90.0

    @property
    def unit(self) -> str:
        """The name of the systemd units, without their suffixes; no other OUTPUT here has it.

        Units are named in ASCII: what is lost of another script is made up for by a checksum.
        """
        stem = self.output.stem
        told = [_NOT_IN_UNIT_NAMES.sub("-", stem).strip("-")]
        if not stem.isascii():
            told.append(f"{zlib.crc32(os.fsencode(self.output)):08x}")
        return "-".join(filter(None, ("harvester", *told)))


def window(at: time, until: time) -> str:
    """How long it is from one time of day to the next other one, as `--max-runtime` takes it.

    Raises UsageError where both are the same.
    """
    minutes = (_minutes(until) - _minutes(at)) % _DAY_MINUTES
    if not minutes:
        raise UsageError("--at and --until are the same time: leave --until out for no end.")
    hours, rest = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{rest}m" if rest else "")


def _minutes(moment: time) -> int:
    return moment.hour * 60 + moment.minute


def crontab(nightly: Nightly) -> str:
    """A line for `crontab -e`; raises UsageError where cron would cut it off."""
    at = nightly.at
    command = " ".join(map(cron_word, nightly.command))
    if len(command.encode()) > _CRON_LONGEST:
        raise UsageError(
            f"cron cuts commands off after {_CRON_LONGEST} bytes, and this one is longer: use "
            "--format systemd, or shorter paths."
        )
    return (
        f"# {_when(nightly)}. To install: `crontab -e`, and paste the next line.\n"
        f"{at.minute} {at.hour} * * * {command}\n"
    )


def service(nightly: Nightly) -> str:
    """The service unit."""
    command = " ".join(map(systemd_word, nightly.command))
    return f"""\
# ~/.config/systemd/user/{nightly.unit}.service
[Unit]
Description=Harvest notes into {_specifiers_escaped(str(nightly.output))}

[Service]
Type=oneshot
# Notes and their ledger are nobody else's.
UMask=0077
ExecStart={command}
# Some notes failed, daily quota, own limit, already running, stopped on purpose: fine, go on
# tomorrow. Balance (4), token (5), API (6), usage (2) and disk (74) want somebody to look.
SuccessExitStatus=1 3 7 75 143
# A stop saves what is in flight.
TimeoutStopSec={math.ceil(nightly.drain + _STOP_MARGIN)}
"""


def timer(nightly: Nightly) -> str:
    """The timer unit that starts the service of the same name."""
    at = nightly.at
    is_window = nightly.until is not None
    missed = "is left out: it would go on after --until" if is_window else "is made up for at boot"
    return f"""\
# ~/.config/systemd/user/{nightly.unit}.timer
# Start it: systemctl --user enable --now {nightly.unit}.timer
# Let it run while you are logged out: loginctl enable-linger
[Unit]
Description={_when(nightly)}: {nightly.unit}.service

[Timer]
OnCalendar=*-*-* {at:%H:%M}:00
AccuracySec=1s
# A night through which the machine was off {missed}.
Persistent={"false" if is_window else "true"}

[Install]
WantedBy=timers.target
"""


def _when(nightly: Nightly) -> str:
    end = "" if nightly.until is None else f" until {nightly.until:%H:%M} at the latest"
    return f"Every night from {nightly.at:%H:%M}{end}"


def cron_word(word: str) -> str:
    r"""A word as a crontab line takes it: quoted for /bin/sh, and each % as \%.

    Cron reads a bare % as the end of the command, quoted or not, and takes the backslash away; some
    make one of two backslashes, too. So no backslash of the word's own may stand before either: the
    quotes end and begin again in between.
    """
    quoted = shlex.quote(word)
    if quoted == word:
        return word.replace("%", r"\%")
    return _BEFORE_A_BACKSLASH.sub(r"\\''", quoted).replace("%", r"'\%'")


def systemd_word(word: str) -> str:
    """A word as ExecStart= takes it: $ and % doubled, quoted where that is needed."""
    escaped = word.replace("\\", r"\\").replace('"', r"\"").replace("$", "$$")
    escaped = _specifiers_escaped(escaped)
    return escaped if _NEEDS_NO_QUOTES.fullmatch(word) else f'"{escaped}"'


def _specifiers_escaped(text: str) -> str:
    return text.replace("%", "%%")
