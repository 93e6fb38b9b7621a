"""Checks of this machine: open files, the day of the quota, what could start a night."""

from __future__ import annotations

import getpass
import shutil
import time
from datetime import datetime
from pathlib import Path

from harvester.config import RunConfig
from harvester.descriptors import raise_limit
from harvester.doctor.check import Check
from harvester.engine.open_output import MOST_IN_FLIGHT
from harvester.formatting import count
from harvester.rules.day import day_ends

_LINGERING = Path("/var/lib/systemd/linger")


def check_files(config: RunConfig) -> Check:
    """The limit of open files against the calls that may be in flight."""
    wanted = int(min(config.workers or MOST_IN_FLIGHT, config.top_rate.per_second * config.timeout))
    most = raise_limit() // max(1, len(config.tokens))
    text = f"enough for {count(most, 'call')} at once"
    if most >= wanted:
        return Check("open files", is_good=True, text=text)
    remedy = f"ulimit -n 8192, or --workers {most}"
    return Check("open files", is_good=False, text=f"{text}, and {wanted:,} may be", remedy=remedy)


def check_day(config: RunConfig) -> Check:
    """When the day begins that the quota is counted over."""
    ends = day_ends(time.time(), config.day_timezone)
    here = datetime.fromtimestamp(ends).astimezone()
    text = (
        f"the quota's day begins at 00:00 in {config.day_timezone}, {here:%H:%M} here ({here:%Z})"
    )
    return Check("day", is_good=True, text=text)


def check_schedule(lingering: Path = _LINGERING) -> Check:
    """What could start a run every night, also while nobody is logged in."""
    has_cron, has_systemd = (shutil.which(name) is not None for name in ("crontab", "systemctl"))
    if has_cron:
        return Check("schedule", is_good=True, text="cron is there")
    if not has_systemd:
        remedy = "install cron, or start each night by hand"
        return Check("schedule", None, "there is neither cron nor systemd", remedy)
    if (lingering / getpass.getuser()).exists():
        return Check("schedule", is_good=True, text="systemd is there, and lingering is on")
    return Check("schedule", None, "systemd is there, lingering is off", "loginctl enable-linger")
