"""The whole examination: every check that can be made of what was named."""

from __future__ import annotations

from harvester.doctor.check import Check, Patient
from harvester.doctor.machine import check_day, check_files, check_schedule
from harvester.doctor.place import check_place
from harvester.doctor.vendor import check_vendor


async def examine(patient: Patient) -> list[Check]:
    """Make all checks; what one finds keeps none of the others from being made."""
    checks = [_configuration(patient)]
    config = patient.config
    if config is not None:
        checks += await check_vendor(config)
        checks += [check_day(config), check_files(config)]
    if patient.output is not None:
        checks += check_place(patient.output)
    else:
        checks.append(Check("OUTPUT", None, "none was named", "harvester doctor OUTPUT"))
    return [*checks, check_schedule()]


def _configuration(patient: Patient) -> Check:
    """What was said, and where; all else is as by default."""
    if patient.config is None:
        first, _, more = patient.refusal.partition("\n")
        return Check("configuration", is_good=False, text=first, remedy=" ".join(more.split()))
    said = ", ".join(f"{name} {where}" for name, where in patient.said.items())
    return Check("configuration", is_good=True, text=said or "all as by default")
