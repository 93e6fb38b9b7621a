"""What `harvester verify` does: each line against the ledger, what is wrong, and what mends it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from msgspec import Struct, field

from harvester.cli.ledgers import fleet_meant, reading_part, target_of
from harvester.errors import UsageError
from harvester.formatting import count
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.hosts import Hosts
from harvester.ledger.parts import PartView
from harvester.ledger.reader import LedgerReader, ledger_path, reading
from harvester.output.part import read_part_marker
from harvester.output.verify import MENDING, TO_TAKE_OUT, Checked, Damage, Kind, verify_whole
from harvester.output.verify import verify as check_output
from harvester.sanitize import sanitize

_SHOWN = 20
_NAMED = 10
# More lines than these are not named one by one in the command that takes them out.
_TAKEN_OUT = 100


class _Found(Struct):
    """The damages so far, by kind; `lines` are those to take out, in the order found."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    lines: list[int] = field(default_factory=list)

    def add(self, damage: Damage) -> bool:
        """Count a damage; gives whether to show it. What is wrong with all of OUTPUT always is."""
        self.kinds[damage.kind] += 1
        if damage.kind in TO_TAKE_OUT and len(self.lines) <= _TAKEN_OUT:
            self.lines.append(damage.line)
        return not damage.line or self.kinds.total() <= _SHOWN


def verified(outputs: Sequence[Path], ledger: str | None, harvest: str | None) -> int:
    """Hold OUTPUT, or all parts of a fleet's harvest, against the ledger; gives the exit code."""
    fleets = {fleet_meant(output, ledger, harvest) for output in outputs}
    if len(fleets) > 1:
        raise UsageError("these files are of different harvests: verify each harvest by itself.")
    (fleet,) = fleets
    if fleet is not None:
        return _verify_fleet(fleet, outputs)
    if len(outputs) > 1:
        raise UsageError("each of these files has a ledger of its own: verify them one by one.")
    return _verify_one(outputs[0])


def _verify_one(output: Path) -> int:
    path = output.resolve()
    checked, found = Checked(), _Found()
    with reading(ledger_path(path)) as reader:
        reader.check()
        _check(output, reader, checked, found)
    if checked.is_run_on:
        click.echo("a run is on: what it has written since is not looked at.")
    if not found.kinds:
        click.echo(f"good: {count(checked.lines, 'line')}, {count(checked.current, 'note')}")
        return 0
    for line in _closing(found, path, f"harvester run -o {shlex.quote(str(output))}"):
        click.echo(line)
    return 1


def _check(output: Path, reader: LedgerReader, checked: Checked, found: _Found) -> None:
    """Hold one file against its ledger, and show what is wrong."""
    for damage in check_output(output.resolve(), reader, checked):
        if found.add(damage):
            place = f"{output}:{damage.line}" if damage.line else str(output)
            click.echo(f"{sanitize(place)}: {damage.kind.value}: {damage.text}")


def _closing(found: _Found, path: Path, run: str) -> Iterator[str]:
    """How much is wrong, and what mends it, a line for each kind."""
    yield _summary(found)
    yield from _mending(found, run)
    if 0 < len(found.lines) <= _TAKEN_OUT:
        lines = ";".join(f"{line}d" for line in found.lines)
        # The file itself, since sed would put a file in the place of a link.
        yield f"take out: `sed -i.bak '{lines}' {shlex.quote(str(path))}` (keeps the old as .bak)"
    elif found.lines:
        yield "take out: the lines named above, then verify again for the next ones"


def _summary(found: _Found) -> str:
    kinds = ", ".join(f"{many:,} {kind.value}" for kind, many in found.kinds.items())
    return f"{count(found.kinds.total(), 'problem')} found: {kinds}"


def _mending(found: _Found, run: str) -> Iterator[str]:
    for kind in found.kinds:
        yield f"{kind.value}: {MENDING[kind].format(run=run, rebuild=run + ' --rebuild')}"


# A fleet


class _Whole(Struct):
    """What all parts together came to."""

    lines: int = 0
    current: int = 0
    problems: int = 0


def _verify_fleet(fleet: FleetAddress, outputs: Sequence[Path]) -> int:
    parts = _parts_of(outputs)
    whole = _Whole()
    for part, output in parts.items():
        _verify_part(fleet, part, output, whole)
    with reading_part(fleet) as reader, reader.snapshot():
        hosts = Hosts(reader)
        again = _check_whole(hosts, set(parts), target_of(fleet), whole)
    if whole.problems:
        return 1
    older = whole.lines - whole.current
    click.echo(
        f"good: {count(len(parts), 'part')}, {count(whole.lines, 'line')}, "
        f"{count(whole.current, 'note')}, {count(older, 'older line')}; "
        f"{again:,} paid for twice"
    )
    return 0


def _parts_of(outputs: Sequence[Path]) -> dict[str, Path]:
    """The files by their part's UUID; raises UsageError where two are the same part."""
    found: dict[str, Path] = {}
    for output in outputs:
        marker = read_part_marker(output.resolve())
        if marker is None:
            raise UsageError(
                f"{output} is no part of a fleet's harvest: {output.name}.fleet is not beside it."
            )
        if marker.part in found:
            raise UsageError(
                f"{output} and {found[marker.part]} are the same part: name the one that its host "
                "writes."
            )
        found[marker.part] = output
    return found


def _verify_part(fleet: FleetAddress, part: str, output: Path, whole: _Whole) -> None:
    checked, found = Checked(), _Found()
    with reading_part(fleet, part) as reader:
        _check(output, PartView(reader, part), checked, found)
    shown = sanitize(str(output))
    if checked.is_run_on:
        click.echo(f"{shown}: a run is on: what it has written since is not looked at.")
    if found.kinds:
        run = f"harvester run -o {shlex.quote(str(output))} {target_of(fleet)}"
        for line in _closing(found, output.resolve(), run):
            click.echo(f"{shown}: {line}")
    whole.lines += checked.lines
    whole.current += checked.current
    whole.problems += found.kinds.total()


def _check_whole(hosts: Hosts, named: set[str], target: str, whole: _Whole) -> int:
    """Look for what no part can show alone; gives how many lines were paid for again."""
    rows = hosts.hosts()
    absent = [
        (f"{row.host}:{row.path}", row.notes)
        for row in rows
        if row.part not in named and row.length
    ]
    found = _Found()
    for damage in verify_whole(absent, *hosts.unplaced(_NAMED)):
        found.add(damage)
        click.echo(f"{damage.kind.value}: {damage.text}")
    if found.kinds:
        click.echo(_summary(found))
        for line in _mending(found, f"harvester run -o PART {target}"):
            click.echo(line)
    whole.problems += found.kinds.total()
    return sum(row.duplicates for row in rows)
