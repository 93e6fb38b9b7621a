"""What `harvester verify` does: each line against the ledger, what is wrong, and what mends it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from harvester.cli.ledgers import fleet_meant, reading_part, target_of
from harvester.cli.telling import say, tell
from harvester.errors import UsageError
from harvester.formatting import count
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.hosts import Hosts
from harvester.ledger.reader import LedgerReader
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.output.part import read_part_marker
from harvester.output.verify import Checked, Damage, Remedy, verify
from harvester.sanitize import sanitize

_SHOWN = 20
_NAMED = 10
# Programs are given as many.
_MOST_EXAMPLES = 1000
# More lines than these are not named one by one in the command that takes them out.
_TAKEN_OUT = 100


class Verified(Struct):
    """What was held against the ledger, how much of each kind is wrong, and what mends it.

    `paid_twice` lines are of notes that were done already; in `examples`, `line` is 0 where
    something is wrong with all of OUTPUT.
    """

    is_good: bool = True
    is_run_on: bool = False
    parts: int = 0
    lines: int = 0
    notes: int = 0
    paid_twice: int = 0
    problems: dict[str, int] = {}
    examples: list[dict[str, object]] = []
    advice: list[str] = []

    def advise(self, line: str) -> None:
        """Say, and keep, what is to be done."""
        self.advice.append(line)
        say(line)


def verified(outputs: Sequence[Path], ledger: str | None, harvest: str | None) -> int:
    """Hold OUTPUT, or all parts of a fleet's harvest, against the ledger; gives the exit code."""
    fleets = {fleet_meant(output, ledger, harvest) for output in outputs}
    if len(fleets) > 1:
        raise UsageError("these files are of different harvests: verify each harvest by itself.")
    (fleet,) = fleets
    whole = Verified()
    if fleet is not None:
        good = _verify_fleet(fleet, outputs, whole)
    elif len(outputs) > 1:
        raise UsageError("each of these files has a ledger of its own: verify them one by one.")
    else:
        good = _verify_one(outputs[0], whole)
    whole.is_good = not whole.problems
    if whole.is_good:
        say(f"good: {good}")
    tell(whole)
    return 0 if whole.is_good else 1


def _verify_one(output: Path, whole: Verified) -> str:
    with reading(ledger_path(output.resolve())) as reader:
        reader.check()
        _check(output, reader, whole)
    return f"{count(whole.lines, 'line')}, {count(whole.notes, 'note')}"


def _check(
    output: Path, reader: LedgerReader, whole: Verified, fleet: FleetAddress | None = None
) -> None:
    """Hold one file against its ledger, and show what is wrong."""
    checked, path, shown = Checked(), output.resolve(), sanitize(str(output))
    found = _Found(whole)
    before = "" if fleet is None else f"{shown}: "
    for damage in verify(path, reader, checked):
        found.add(damage, shown)
    if checked.is_run_on:
        say(f"{before}a run is on: what it has written since is not looked at.")
    run = f"harvester run -o {shlex.quote(str(output))}"
    found.close(run if fleet is None else f"{run} {target_of(fleet)}", path, before)
    whole.is_run_on |= checked.is_run_on
    whole.parts += 1
    whole.lines += checked.lines
    whole.notes += checked.current


class _Found:
    """The damages so far: how many of each name, what mends them, and the lines to take out."""

    def __init__(self, whole: Verified) -> None:
        self._whole = whole
        self._names: Counter[str] = Counter()
        self._mended: dict[Remedy, dict[str, None]] = {}
        self._lines: list[int] = []

    def add(self, damage: Damage, output: str = "") -> None:
        """Count a damage, and show it; what is wrong with all of OUTPUT always is."""
        self._names[damage.name] += 1
        problems, examples = self._whole.problems, self._whole.examples
        problems[damage.name] = problems.get(damage.name, 0) + 1
        if len(examples) < _MOST_EXAMPLES:
            where = {"output": output, "line": damage.line}
            examples.append(where | {"name": damage.name, "text": damage.text})
        self._mended.setdefault(damage.remedy, {})[damage.name] = None
        if damage.remedy is Remedy.TAKE_OUT and len(self._lines) <= _TAKEN_OUT:
            self._lines.append(damage.line)
        if not damage.line or self._names.total() <= _SHOWN:
            place = f"{output}:{damage.line}" if damage.line else output
            say(": ".join(filter(None, (place, damage.name, damage.text))))

    def close(self, run: str, path: Path | None = None, before: str = "") -> None:
        """Show how much is wrong, and what mends it, a line for each remedy."""
        if not self._names:
            return
        names = ", ".join(f"{many:,} {name}" for name, many in self._names.items())
        say(f"{before}{count(self._names.total(), 'problem')} found: {names}")
        advise = self._whole.advise
        for remedy, mended in self._mended.items():
            how = remedy.value.format(run=run, rebuild=f"{run} --rebuild")
            advise(f"{before}{', '.join(mended)}: {how}")
        if path is not None and 0 < len(self._lines) <= _TAKEN_OUT:
            lines = ";".join(f"{line}d" for line in self._lines)
            # The file itself, since sed would put a file in the place of a link.
            command = f"`sed -i.bak '{lines}' {shlex.quote(str(path))}` (keeps the old as .bak)"
            advise(f"{before}take out: {command}")
        elif self._lines:
            advise(f"{before}take out: the lines named above, then verify again for the next ones")


# A fleet


def _verify_fleet(fleet: FleetAddress, outputs: Sequence[Path], whole: Verified) -> str:
    parts = _parts_of(outputs)
    for part, output in parts.items():
        with reading_part(fleet, part) as reader:
            _check(output, reader, whole, fleet)
    with reading_part(fleet) as reader, reader.snapshot():
        hosts = Hosts(reader)
        found = _Found(whole)
        for damage in _of_whole(hosts, parts):
            found.add(damage)
        whole.paid_twice = sum(part.duplicates for part in hosts.parts())
    found.close(f"harvester run -o PART {target_of(fleet)}")
    lines, notes = whole.lines, whole.notes
    return (
        f"{count(len(parts), 'part')}, {count(lines, 'line')}, {count(notes, 'note')}, "
        f"{count(lines - notes, 'older line')}; {whole.paid_twice:,} paid for twice"
    )


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
    for row in hosts.parts():
        if row.part not in named and row.lines:
            held = count(row.notes, "note has its", "notes have their")
            text = f"{row.host}:{row.path}: {held} current line there"
            yield Damage(Remedy.NAME_PARTS, "part missing", 0, text)
    nowhere, first = hosts.unplaced(_NAMED)
    if nowhere:
        names = ", ".join(map(sanitize, first)) + (", …" if nowhere > len(first) else "")
        has = count(nowhere, "done note has", "done notes have")
        text = f"{has} no line in any part: {names}"
        yield Damage(Remedy.REBUILD_EACH, "nowhere", 0, text)
