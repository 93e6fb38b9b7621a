"""What a call costs, unthrottled, beside a bare pool; what starting costs; memory at its most.

One server on one core, both callers on another, the same notes, in turns: absolute figures mean
little, their ratios do.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct, field

from tests.bench.notes import write_ids
from tests.bench.pace import serving
from tests.bench.product import harvest, on_core
from tests.bench.table import show

_PATH = "/api/xiaohongshu-pgy/get-note-detail/v1"
_BARE_POOL = str(Path(__file__).parent / "peers" / "bare_pool.py")
_KINDS = ("plain", "escaped", "digits")
_NOTES = 8_000
_ROUNDS = 3
_STARTS = 9
_UNTHROTTLED = ("--no-account", "--rate", "100000/s", "--workers", "64", "-q")
_FEW, _MANY = 20_000, 400_000
_COMPLETING = {
    "_HARVESTER_COMPLETE": "bash_complete",
    "COMP_WORDS": "harvester run --r",
    "COMP_CWORD": "2",
}

Deed = Callable[[], object]


class Spent(Struct):
    """Wall and CPU seconds of some runs."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    def add(self, deed: Deed) -> None:
        """Measure one more; CPU is that of the processes it starts."""
        before, began = _children_cpu(), time.perf_counter()
        deed()
        self.walls.append(time.perf_counter() - began)
        self.cpus.append(_children_cpu() - before)

    def beside(self, other: Spent) -> tuple[float, float]:
        """Speed and CPU as ratios to another's that was measured in the same rounds."""
        speed = [theirs / ours for ours, theirs in zip(self.walls, other.walls, strict=True)]
        cpu = [ours / theirs for ours, theirs in zip(self.cpus, other.cpus, strict=True)]
        return statistics.median(speed), statistics.median(cpu)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def in_turns(deeds: dict[str, Deed], rounds: int) -> dict[str, Spent]:
    """Each measured once a round."""
    spent = {name: Spent() for name in deeds}
    for _ in range(rounds):
        for name, deed in deeds.items():
            spent[name].add(deed)
    return spent


def calls(room: Path, url: str, kind: str) -> list[Sequence[str]]:
    """Rows of the product's calls/s and CPU as ratios to the bare pool's."""
    ids, output = write_ids(room / "ids.txt", _NOTES), room / "notes.jsonl"

    def whole(run: Deed) -> Deed:
        def deed() -> None:
            for file in room.glob("notes.jsonl*"):
                file.unlink()
            with on_core(1):
                run()
            assert output.read_bytes().count(b"\n") == _NOTES

        return deed

    pool = [sys.executable, _BARE_POOL, str(ids), str(output), f"{url}/{kind}{_PATH}"]
    names = {f"{kind} bodies": (), f"{kind} bodies, --sync": ("--sync",)}
    deeds: dict[str, Deed] = {"": whole(lambda: subprocess.run(pool, check=True))}
    for name, more in names.items():
        deeds[name] = whole(partial(harvest, f"{url}/{kind}", ids, output, *_UNTHROTTLED, *more))
    spent = in_turns(deeds, _ROUNDS)
    told = {name: spent[name].beside(spent[""]) for name in names}
    return [(name, f"{speed:.2f}", f"{cpu:.2f}") for name, (speed, cpu) in told.items()]


def starts(room: Path) -> list[Sequence[str]]:
    """Rows of the CPU of commands that only look, as ratios to loading what none can do without."""
    ids, output = write_ids(room / "few.txt", 10), str(room / "few.jsonl")
    harvest("", ids, Path(output), "--simulate", "--rate", "1000/s", "-q")
    python = [sys.executable, "-c", "import click, sqlite3"]

    def deed(command: Sequence[str], env: dict[str, str]) -> Deed:
        return lambda: subprocess.run(
            command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, check=True
        )

    words = (
        ("--version",),
        ("--help",),
        ("status", output),
        ("failures", output),
        ("verify", output),
    )
    product = [sys.executable, "-m", "harvester"]
    deeds = {"": deed(python, {}), "completion": deed(product, _COMPLETING)}
    deeds |= {command[0]: deed([*product, *command], {}) for command in words}
    spent = in_turns(deeds, _STARTS)
    return [
        (f"start of {name}", "", f"{spent[name].beside(spent[''])[1]:.2f}")
        for name in deeds
        if name
    ]


def memory(room: Path, url: str, notes: int) -> str:
    """The product's peak (VmHWM) in MB."""
    ids, output = write_ids(room / "many.txt", notes), room / "many.jsonl"
    with on_core(1):
        said = harvest(f"{url}/plain", ids, output, *_UNTHROTTLED, module="tests.bench.product")
    return f"{int(said.split()[-1]) / 1024:.0f}"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, serving(0, 0, core=0) as url:
        room = Path(folder)
        rows: list[Sequence[str]] = [("", "calls/s", "CPU")]
        for kind in _KINDS:
            rows += calls(room, url, kind)
        rows += starts(room)
        peak = memory(room, url, _FEW)
        show(
            "Speed",
            rows,
            f"Calls: {_NOTES:,} notes of 3 KB a run, whole processes, as ratios to a bare aiohttp "
            "pool's.",
            "Starts: as ratios to `python -c 'import click, sqlite3'`.",
            f"Memory of a run of {_FEW:,} notes, at its most: {peak} MB.",
        )


def many() -> None:
    """Print the memory of a long run."""
    with tempfile.TemporaryDirectory() as folder, serving(0, 0, core=0) as url:
        peak = memory(Path(folder), url, _MANY)
        show("Memory of a long run, at its most", [("notes", "peak MB"), (f"{_MANY:,}", peak)])


if __name__ == "__main__":
    main()
