"""The whole examination: every check that can be made, those of this machine among them."""

from __future__ import annotations

import getpass
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from harvester.config import RunConfig
from harvester.descriptors import raise_limit
from harvester.doctor.check import Check, bad, doubt, good
from harvester.doctor.place import check_place, check_run, check_written
from harvester.doctor.vendor import check_vendor
from harvester.formatting import count
from harvester.rules.day import day_ends

_LINGERING = Path("/var/lib/systemd/linger")


async def examine(
    config: RunConfig | None, output: Path | None, written: Mapping[str, Path]
) -> list[Check]:
    """Make all checks; what one finds, or cannot be asked, keeps none of the others from it.

    `written` are the other files that a run would write, by their options.
    """
    checks: list[Check] = []
    if config is not None:
        simulated = [good("address", "the embedded simulator, which wants no token")]
        checks += simulated if config.simulate else await check_vendor(config)
        checks += [check_day(config), check_files(config)]
    for name, path in written.items():
        checks += check_written(name, path)
    if output is not None:
        place = [*check_place(output)]
        checks += place
        # What is bad already need not be told twice.
        if config and config.fleet is None and all(check.is_good is not False for check in place):
            checks.append(check_run(config))
    else:
        checks.append(doubt("OUTPUT", "none was named", "harvester doctor OUTPUT"))
    return [*checks, check_schedule()]


def check_files(config: RunConfig) -> Check:
    """The limit of open files against the calls that may be in flight."""
    wanted = int(min(config.most_workers, config.top_rate.per_second * config.timeout))
    most = raise_limit() // max(1, len(config.tokens))
    text = f"enough for {count(most, 'call')} at once"
    if most >= wanted:
        return good("open files", text)
    remedy = f"ulimit -n 8192, or --workers {most}"
    return bad("open files", f"{text}, and {wanted:,} may be", remedy)


def check_day(config: RunConfig) -> Check:
    """When the day begins that the quota is counted over."""
    ends = day_ends(time.time(), config.day_timezone)
    here = datetime.fromtimestamp(ends).astimezone()
    begins = f"the quota's day begins at 00:00 in {config.day_timezone}"
    return good("day", f"{begins}, {here:%H:%M} here ({here:%Z})")


def check_schedule(lingering: Path = _LINGERING) -> Check:
    """What could start a run every night, also while nobody is logged in."""
    if shutil.which("crontab"):
        return good("schedule", "cron is there")
    if not shutil.which("systemctl"):
        remedy = "install cron, or start each night by hand"
        return doubt("schedule", "there is neither cron nor systemd", remedy)
    # A user may have a number alone, as in containers.
    with suppress(KeyError, OSError):
        if (lingering / getpass.getuser()).exists():
            return good("schedule", "systemd is there, and lingering is on")
    return doubt("schedule", "systemd is there, lingering is off", "loginctl enable-linger")
