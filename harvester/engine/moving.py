"""Moves a harvest between the ledger of one OUTPUT and a fleet's; what was cut short goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from glob import escape
from pathlib import Path
from tempfile import mkdtemp

from msgspec import Struct

from harvester.engine.fleet import FleetSession, part_marker_of
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.kind import identity_of
from harvester.engine.mending import catch_up
from harvester.engine.open_output import open_held
from harvester.errors import OutputLockedError, UsageError
from harvester.ledger.fleet import FleetAddress, Outage, PartIdentity
from harvester.ledger.hosts import Hosts
from harvester.ledger.latest_lines import latest_line_index
from harvester.ledger.moving import Moving, missing
from harvester.ledger.postgres.ledger import PostgresLedger
from harvester.ledger.postgres.moving import PROGRESS, leave_fleet, progress_of
from harvester.ledger.postgres.reading import FleetReader, reading_fleet
from harvester.ledger.protocol import Identity
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.moving import fill
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.ledger.sqlite.store import set_aside
from harvester.model import Counts
from harvester.output.file import OutputFile
from harvester.output.merge import Merge, Part
from harvester.output.part import check_no_part, read_part_marker
from harvester.output.spool import EmergencySpool
from harvester.results import check_folder, result_into, writing


class Joined(Struct, frozen=True):
    """What came of it: the harvest as it is now, and where the ledger of OUTPUT was put."""

    counts: Counts
    kept: Path | None


def join(path: Path, fleet: FleetAddress, env: Environment) -> Joined:
    """Make an OUTPUT with a ledger of its own a part of a fleet's harvest.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError. Cut short
    anywhere, it goes on when it is done again; until then, no run begins.
    """
    path, kept = path.resolve(), None
    own = ledger_path(path)
    if not own.exists() and read_part_marker(path) is None:
        raise UsageError(f"{path} has no ledger beside it: there is nothing to bring in.")
    with ExitStack() as stack:
        if own.exists():
            output, kind = _mended(path, env)
        else:
            output = OutputFile(path, env.disk, look=env.look)
            kind = identity_of(output)
        stack.callback(output.close)
        with ExitStack() as failing:
            marker = part_marker_of(path, fleet.harvest, env, failing)
            part = PartIdentity.here(marker.part, path)
            ledger = PostgresLedger(fleet, part, outage=Outage(lambda: FleetSession.patience))
            stack.callback(ledger.close)
            failing.callback(ledger.forget_part)
            if kind is not None:
                ledger.identify(kind)
            # From here on it is a part, whatever becomes of the rest.
            failing.pop_all()
        if own.exists():
            with reading(own) as reader:
                ledger.bring_in(Moving(reader))
            kept = set_aside(own, "moved")
        held = OpenOutput(output, ledger, EmergencySpool(path, env.disk), part=marker.part)
        catch_up(held, env)
        return Joined(ledger.counts(), kept)


def _mended(path: Path, env: Environment) -> tuple[OutputFile, Identity | None]:
    """OUTPUT, held, and its kind, after its ledger has learnt all that is in it and was closed."""
    held = open_held(path, env)
    try:
        kind = catch_up(held, env)
        held.ledger.settle(held.output.sync())
        _check_none_forgotten(path)
    except BaseException:
        held.close()
        raise
    held.ledger.close()
    return held.output, kind


def _check_none_forgotten(path: Path) -> None:
    with reading(ledger_path(path)) as reader:
        if Moving(reader).has_forgotten():
            raise UsageError(
                f"notes of {path} were forgotten, which a fleet's harvest does not keep to: they "
                "could be fetched again. It stays as it is."
            )


def leave(
    parts: Sequence[Part],
    place: Path,
    fleet: FleetAddress,
    env: Environment,
    on_torn: Callable[[Path, int], None],
) -> Counts:
    """Make one OUTPUT, with a ledger of its own, of a fleet's harvest and all of its parts.

    No host goes on with the harvest then. Errors as `join`'s; cut short anywhere, nothing has
    changed, or it goes on when it is done again.
    """
    place = place.resolve()
    check_folder(place)
    with _room(place, env) as folder, reading_fleet(fleet) as reader:
        # Where it was cut short, a ledger may be in its place already.
        is_begun = reader.meta().get("left") == str(place)
        check_no_part(place)
        if place.exists() or (ledger_path(place).exists() and not is_begun):
            raise UsageError(f"{place} is there, or its ledger is: name another file with -o.")
        progress = progress_of(reader.ask(PROGRESS), fleet.harvest)
        counts = _made(folder / place.name, parts, reader, env, on_torn)
        leave_fleet(fleet, progress, str(place))
        # In this order: an OUTPUT without its ledger would be taken for all there is to know.
        for path in (ledger_path(place), place):
            (folder / path.name).replace(path)
    return counts


@contextmanager
def _room(place: Path, env: Environment) -> Iterator[Path]:
    """A folder beside a file, for whoever alone makes that; what a killed one left there is gone.

    Raises OutputLockedError, LocalIOError.
    """
    try:
        lock = OutputFile(place.with_name(f".{place.name}.leave"), env.disk)
    except OutputLockedError:
        told = f"another `harvester leave` makes {place}: wait for it to end."
        raise OutputLockedError(told) from None
    name = f".{place.name}.leaving"
    with ExitStack() as stack:
        # In the reverse order: what is removed while it is held would be kept elsewhere.
        stack.callback(env.disk.remove, lock.path)
        stack.callback(lock.close)
        for left in place.parent.glob(f"{escape(name)}*"):
            shutil.rmtree(left, ignore_errors=True)
        with writing(place):
            folder = Path(mkdtemp(prefix=name, dir=place.parent))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _made(
    output: Path,
    parts: Sequence[Part],
    reader: FleetReader,
    env: Environment,
    on_torn: Callable[[Path, int], None],
) -> Counts:
    """Write one OUTPUT with its ledger where nobody looks for it yet."""
    with latest_line_index() as newest, result_into(output) as file:
        work = Merge(parts, newest, on_torn, env.look)
        work.read()
        work.copy(file)
    with closing(SqliteLedger(ledger_path(output), env.clock, sync=True)) as ledger:
        fill(ledger, Moving(reader))
    with closing(open_held(output, env)) as held:
        catch_up(held, env)
        held.ledger.settle(held.output.sync())
        counts = held.ledger.counts()
    with reading(ledger_path(output)) as made:
        lacking = missing(made)
    if lacking:
        known = ", ".join(f"{part.path} on {part.host}" for part in Hosts(reader).parts())
        raise UsageError(
            f"{lacking} notes of the harvest were paid for and are in none of these "
            f"parts: name all there are ({known}), as their hosts left them."
        )
    return counts
