"""What `harvester verify` does: each line against the ledger, what is wrong, and what mends it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from harvester.cli.ledgers import fleet_meant, reading_part, target_of
from harvester.errors import UsageError
from harvester.formatting import count
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.hosts import Hosts
from harvester.ledger.parts import PartView
from harvester.ledger.reader import LedgerReader, ledger_path, reading
from harvester.output.part import read_part_marker
from harvester.output.verify import Checked, Damage, Remedy, verify
from harvester.sanitize import sanitize

_SHOWN = 20
_NAMED = 10
# More lines than these are not named one by one in the command that takes them out.
_TAKEN_OUT = 100


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
    checked = Checked()
    with reading(ledger_path(output.resolve())) as reader:
        reader.check()
        problems = _check(output, reader, checked)
    if problems:
        return 1
    click.echo(f"good: {count(checked.lines, 'line')}, {count(checked.current, 'note')}")
    return 0


def _check(
    output: Path, reader: LedgerReader, checked: Checked, fleet: FleetAddress | None = None
) -> int:
    """Hold one file against its ledger, and show what is wrong; gives how much."""
    found, path, shown = _Found(), output.resolve(), sanitize(str(output))
    before = "" if fleet is None else f"{shown}: "
    for damage in verify(path, reader, checked):
        if found.add(damage):
            place = f"{shown}:{damage.line}" if damage.line else shown
            click.echo(f"{place}: {damage.name}: {damage.text}")
    if checked.is_run_on:
        click.echo(f"{before}a run is on: what it has written since is not looked at.")
    run = f"harvester run -o {shlex.quote(str(output))}"
    found.close(run if fleet is None else f"{run} {target_of(fleet)}", path, before)
    return found.names.total()


class _Found:
    """The damages so far: how many of each name, what mends them, and the lines to take out."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self._mended: dict[Remedy, dict[str, None]] = {}
        self._lines: list[int] = []

    def add(self, damage: Damage) -> bool:
        """Count a damage; gives whether to show it. What is wrong with all of OUTPUT always is."""
        self.names[damage.name] += 1
        self._mended.setdefault(damage.remedy, {})[damage.name] = None
        if damage.remedy is Remedy.TAKE_OUT and len(self._lines) <= _TAKEN_OUT:
            self._lines.append(damage.line)
        return not damage.line or self.names.total() <= _SHOWN

    def close(self, run: str, path: Path | None = None, before: str = "") -> None:
        """Show how much is wrong, and what mends it, a line for each remedy."""
        if not self.names:
            return
        names = ", ".join(f"{many:,} {name}" for name, many in self.names.items())
        click.echo(f"{before}{count(self.names.total(), 'problem')} found: {names}")
        for remedy, mended in self._mended.items():
            how = remedy.value.format(run=run, rebuild=f"{run} --rebuild")
            click.echo(f"{before}{', '.join(mended)}: {how}")
        if path is not None and 0 < len(self._lines) <= _TAKEN_OUT:
            lines = ";".join(f"{line}d" for line in self._lines)
            # The file itself, since sed would put a file in the place of a link.
            command = f"`sed -i.bak '{lines}' {shlex.quote(str(path))}` (keeps the old as .bak)"
            click.echo(f"{before}take out: {command}")
        elif self._lines:
            click.echo(
                f"{before}take out: the lines named above, then verify again for the next ones"
            )


# A fleet


def _verify_fleet(fleet: FleetAddress, outputs: Sequence[Path]) -> int:
    parts = _parts_of(outputs)
    lines = notes = problems = 0
    for part, output in parts.items():
        checked = Checked()
        with reading_part(fleet, part) as reader:
            problems += _check(output, PartView(reader, part), checked, fleet)
        lines += checked.lines
        notes += checked.current
    with reading_part(fleet) as reader, reader.snapshot():
        hosts = Hosts(reader)
        found = _Found()
        for damage in _of_whole(hosts, parts):
            found.add(damage)
            click.echo(f"{damage.name}: {damage.text}")
        again = sum(row.duplicates for row in hosts.hosts())
    found.close(f"harvester run -o PART {target_of(fleet)}")
    if problems or found.names:
        return 1
    click.echo(
        f"good: {count(len(parts), 'part')}, {count(lines, 'line')}, {count(notes, 'note')}, "
        f"{count(lines - notes, 'older line')}; {again:,} paid for twice"
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


def _of_whole(hosts: Hosts, named: Iterable[str]) -> Iterable[Damage]:
    """What no part can show alone: parts that were not named, notes that are in none."""
    for row in hosts.hosts():
        if row.part not in named and row.length:
            held = "note has its" if row.notes == 1 else "notes have their"
            text = f"{sanitize(f'{row.host}:{row.path}')}: {row.notes:,} {held} current line there"
            yield Damage(Remedy.NAME_PARTS, "part missing", 0, text)
    nowhere, first = hosts.unplaced(_NAMED)
    if nowhere:
        names = ", ".join(map(sanitize, first)) + (", …" if nowhere > len(first) else "")
        has = "note has" if nowhere == 1 else "notes have"
        text = f"{nowhere:,} done {has} no line in any part: {names}"
        yield Damage(Remedy.REBUILD_EACH, "nowhere", 0, text)
