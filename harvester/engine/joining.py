"""Opens OUTPUT as one part of a fleet's harvest, whose ledger others share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import replace

from harvester.engine.open_output import (
    MOST_IN_FLIGHT,
    Environment,
    OpenOutput,
    bring_together,
    check_kind,
    identity_of,
    with_room,
)
from harvester.errors import UsageError
from harvester.ledger.protocol import Identity, Ledger
from harvester.ledger.reader import ledger_path
from harvester.output.file import OutputFile
from harvester.output.part import PartMarker, read_part_marker, write_part_marker
from harvester.output.spool import EmergencySpool
from harvester.sides import Side


def open_part(
    path: Path,
    identity: Identity,
    env: Environment,
    harvest: str,
    ledger_of: Callable[[str], Ledger],
    *,
    rebuild: bool = False,
    in_flight: int = MOST_IN_FLIGHT,
    is_local: bool = False,
) -> OpenOutput:
    """Open for a run; `path` is OUTPUT's, and `ledger_of` opens the ledger of a part by its name.

    The rest is `open_output`'s.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError.
    """
    path = path.resolve()
    _check_no_ledger(path)
    with ExitStack() as undo:
        had_output = path.exists()
        output = OutputFile(path, env.disk, look=env.look)
        if not had_output:
            undo.callback(env.disk.remove, path)
        undo.callback(output.close)
        marker = _part_marker_of(path, harvest, env, undo)
        # What the fleet's ledger holds says nothing of a file that it does not know yet.
        found = identity_of(output)
        if found is not None:
            check_kind(path, found, identity, is_local=is_local)
        ledger = ledger_of(marker.part)
        undo.callback(ledger.close)
        # Told of the harvest, not of OUTPUT, which may be empty.
        ledger.identify(identity)
        held = OpenOutput(output, ledger, EmergencySpool(path, env.disk), part=marker.part)
        recovery = bring_together(held, identity, env, rebuild=rebuild, is_local=is_local)
        opened = with_room(replace(held, recovery=recovery), in_flight)
        undo.pop_all()
    return opened


def _check_no_ledger(path: Path) -> None:
    if ledger_path(path).exists():
        raise UsageError(
            f"{path} has a ledger of its own, {ledger_path(path).name}: a part of a fleet's "
            "harvest is an OUTPUT of its own. Choose another --output, or leave --ledger out."
        )


def _part_marker_of(path: Path, harvest: str, env: Environment, undo: ExitStack) -> PartMarker:
    """The part's marker, made if there is none; `undo` leaves no file behind."""
    marker = read_part_marker(path)
    if marker is None:
        marker = PartMarker.fresh(harvest)
        undo.callback(env.disk.remove, Side.PART_MARKER.of(path))
        write_part_marker(path, marker)
    if marker.harvest != harvest:
        raise UsageError(
            f"{path} is a part of the harvest {marker.harvest}, not of {harvest}: give "
            f"--harvest {marker.harvest}, or choose another --output."
        )
    return marker
