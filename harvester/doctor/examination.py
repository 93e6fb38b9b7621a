"""The whole examination: every check that can be made of what was named."""

from __future__ import annotations

from pathlib import Path

from harvester.config import RunConfig
from harvester.doctor.check import Check, doubt, good
from harvester.doctor.machine import check_day, check_files, check_schedule
from harvester.doctor.place import check_place
from harvester.doctor.vendor import check_vendor


async def examine(config: RunConfig | None, output: Path | None) -> list[Check]:
    """Make all checks; what one finds, or cannot be asked, keeps none of the others from it."""
    checks: list[Check] = []
    if config is not None:
        simulated = [good("address", "the embedded simulator, which wants no token")]
        checks += simulated if config.simulate else await check_vendor(config)
        checks += [check_day(config), check_files(config)]
    if output is not None:
        checks += check_place(output)
    else:
        checks.append(doubt("OUTPUT", "none was named", "harvester doctor OUTPUT"))
    return [*checks, check_schedule()]
