"""Which ledger a command looks at: the one beside OUTPUT, or the one that a fleet shares."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from msgspec import Struct

from harvester.cli.params import OUTPUT, F, shared_option
from harvester.cli.telling import say, tell
from harvester.config import LEDGER_VARIABLE
from harvester.errors import NoHarvestError, UsageError
from harvester.formatting import count

if TYPE_CHECKING:
    from harvester.ledger.fleet import FleetAddress
    from harvester.ledger.hosts import Hosts
    from harvester.ledger.postgres.reading import FleetReader
    from harvester.ledger.reader import LedgerReader
    from harvester.model import Counts

# The address may hold a password, and what is shown may be kept.
_SHOWN_LEDGER = f'--ledger "${LEDGER_VARIABLE}"'


def fleet_options(function: F) -> F:
    """Which harvest that hosts share is meant, if one is."""
    for name in ("harvest", "ledger"):
        function = shared_option(name, click.STRING)(function)
    return function


output_or_fleet = click.argument(
    "output",
    type=OUTPUT,
    required=False,
    help="The file that `run -o` wrote; not needed with --ledger.",
)


class OpenLedger(Struct, frozen=True):
    """An open ledger: of an `output` (its links followed), or of a `fleet`'s `hosts`.

    `name` is what people know it by; `target` names it in a shell command.
    """

    reader: LedgerReader
    name: str
    target: str
    output: Path | None = None
    hosts: Hosts | None = None
    fleet: FleetAddress | None = None


@contextmanager
def opened_reader(
    output: Path | None, ledger: str | None, harvest: str | None
) -> Iterator[OpenLedger]:
    """Open the ledger that the command line means; raises UsageError, LedgerError, LocalIOError."""
    from harvester.ledger.hosts import Hosts
    from harvester.ledger.sqlite.reading import ledger_path, reading

    fleet = fleet_meant(output, ledger, harvest)
    if fleet is None:
        place = named(output)
        with reading(ledger_path(place.resolve())) as reader:
            yield OpenLedger(reader, place.name, shlex.quote(str(place)), place.resolve())
        return
    with reading_part(fleet) as found:
        name, hosts = f"harvest {fleet.harvest}", Hosts(found)
        yield OpenLedger(found, name, target_of(fleet), hosts=hosts, fleet=fleet)


@contextmanager
def known_to_all(fleet: FleetAddress | None) -> Iterator[LedgerReader | None]:
    """The ledger that a fleet's run would go on with, None if there is none yet."""
    with ExitStack() as stack:
        reader: LedgerReader | None = None
        if fleet is not None:
            with suppress(NoHarvestError):
                reader = stack.enter_context(reading_part(fleet))
        yield reader


def fleet_meant(
    output: Path | None, ledger: str | None, harvest: str | None
) -> FleetAddress | None:
    """The fleet that the command line means, None for an OUTPUT with a ledger of its own.

    An OUTPUT that is a part tells which harvest. Raises UsageError where it cannot be told.
    """
    from harvester.ledger.fleet import FleetAddress
    from harvester.ledger.sqlite.reading import ledger_path
    from harvester.output.part import check_no_part, read_part_marker

    fleet = FleetAddress.named(ledger, harvest)
    if fleet is None:
        if harvest is not None:
            raise UsageError(
                f"--harvest names one that hosts share: give --ledger, or {LEDGER_VARIABLE}."
            )
        check_no_part(named(output).resolve())
        return None
    if output is None:
        return fleet
    marker = read_part_marker(output.resolve())
    if marker is not None:
        if harvest not in {None, marker.harvest}:
            raise UsageError(
                f"{output} is a part of the harvest {marker.harvest}, not of {harvest}: leave out "
                "one of them."
            )
        return FleetAddress(fleet.url, marker.harvest)
    if not ledger_path(output.resolve()).exists():
        raise UsageError(
            f"{output} is no part of a fleet's harvest ({output.name}.fleet is not beside it): "
            "leave it out to look at the whole harvest."
        )
    if _is_typed("ledger") or harvest is not None:
        raise UsageError(
            f"{output} has a ledger of its own beside it: leave out --ledger and --harvest, or "
            "leave out OUTPUT."
        )
    return None


def fleet_named(ledger: str | None, harvest: str | None) -> FleetAddress:
    """The harvest that is named; raises UsageError where no ledger is, or its driver is missing."""
    from harvester.ledger.fleet import FleetAddress, need_driver

    fleet = FleetAddress.named(ledger, harvest)
    if fleet is None:
        raise UsageError(f"name the ledger that hosts share: give --ledger, or {LEDGER_VARIABLE}.")
    need_driver()
    return fleet


def tell_moved(
    text: str,
    output: Path,
    fleet: FleetAddress,
    counts: Counts,
    **more: Any,  # noqa: ANN401 - whatever JSON takes
) -> None:
    """Tell of a harvest that has moved, and what it holds."""
    from harvester.json_text import told

    held = f"{count(counts.done, 'note')} done, {counts.queued:,} queued, {counts.failed:,} failed"
    say(f"{text}: {held}")
    tell(told(counts) | {"output": output, "harvest": fleet.harvest, **more})


def _is_typed(parameter: str) -> bool:
    source = click.get_current_context().get_parameter_source(parameter)
    return source is ParameterSource.COMMANDLINE


def named(output: Path | None) -> Path:
    """The OUTPUT that was named; raises UsageError if none was."""
    if output is None:
        raise UsageError(
            "name the OUTPUT of a run, or the ledger that hosts share with --ledger or "
            f"{LEDGER_VARIABLE}."
        )
    return output


def target_of(fleet: FleetAddress) -> str:
    """What names a harvest in a command that is shown."""
    return f"{_SHOWN_LEDGER} --harvest {shlex.quote(fleet.harvest)}"


@contextmanager
def reading_part(fleet: FleetAddress, part: str | None = None) -> Iterator[FleetReader]:
    """A reader of a fleet's ledger, for one part by its UUID, or of the whole."""
    from harvester.ledger.fleet import need_driver

    need_driver()
    from harvester.ledger.postgres.reading import reading_fleet

    with reading_fleet(fleet, part) as reader:
        yield reader
