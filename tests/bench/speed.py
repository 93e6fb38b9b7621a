"""Calls a second and CPU a call, unthrottled: the product, a bare pool, and what others use.

Same server, same notes, one core, in turns. Absolute figures mean little; their ratios do.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.notes import write_ids
from tests.bench.product import harvest
from tests.bench.serve import PATH, Limit, fast_server, limited_server, nginx, on_core, statuses
from tests.bench.table import show

_ROUNDS = 3
_NOTES = 20_000
# The slow ones are given less, or they would take all the time.
_FEW_NOTES = 3_000
_UNTHROTTLED = ("--rate", "100000/s", "--workers", "64", "-q")
_MEMORY = (20_000, 100_000)
_LIMIT = Limit(rate=100, burst=20)
_LIMITED_NOTES = 4_000
_PEERS = Path(__file__).parent / "peers"
_ENVIRONMENT = Path(".cache/bench")
_REQUIREMENTS = ("scrapy>=2.13", "requests>=2.32")


@dataclass(slots=True)
class Contender:
    """One of those compared: what runs it on (ids, output, url), and what was measured."""

    name: str
    run: Callable[[Path, Path, str], object]
    notes: int
    start_up: float = 0.0
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    @property
    def calls(self) -> float:
        """Calls a second, the median."""
        return self.notes / statistics.median(self.walls)

    @property
    def cpu(self) -> float:
        """CPU seconds a call, the median."""
        return statistics.median(self.cpus) / self.notes


def compare(room: Path) -> None:
    """Print calls a second and CPU a call of each, and what they are of the bare pool's."""
    bare = Contender("bare pool", partial(_script, sys.executable, "bare_pool.py"), _NOTES)
    product = Contender("harvester", _product, _NOTES)
    contenders = [bare, product, *_others()]
    with fast_server(room) as url:
        for contender in contenders:
            contender.start_up, _ = _measured(contender, 1, room, url)
        for _ in range(_ROUNDS):
            for contender in contenders:
                wall, cpu = _measured(contender, contender.notes, room, url)
                contender.walls.append(wall)
                contender.cpus.append(cpu)
    head = ("", "notes", "calls/s", "CPU us/call", "start-up s", "calls/s ratio", "CPU ratio")
    show(
        f"Unthrottled, one core, {_server()}, medians of {_ROUNDS} rounds in turns",
        [head, *(_row(c, bare) for c in contenders)],
        "Whole processes, start-up included; ratios are to the bare pool.",
    )


def _row(one: Contender, bare: Contender) -> Sequence[str]:
    return (
        one.name,
        f"{one.notes:,}",
        f"{one.calls:,.0f}",
        f"{one.cpu * 1e6:,.0f}",
        f"{one.start_up:.2f}",
        f"{one.calls / bare.calls:.2f}",
        f"{one.cpu / bare.cpu:.2f}",
    )


def _server() -> str:
    return "against nginx" if nginx() else "against a server in Python (nginx is not installed)"


def _measured(contender: Contender, notes: int, room: Path, url: str) -> tuple[float, float]:
    """Wall and CPU seconds of one run; all its notes must be in its output."""
    ids = write_ids(room / f"ids{notes}.txt", notes)
    with tempfile.TemporaryDirectory(dir=room) as folder:
        output = Path(folder) / "notes.jsonl"
        before, began = _children_cpu(), time.perf_counter()
        contender.run(ids, output, url)
        wall, cpu = time.perf_counter() - began, _children_cpu() - before
        found = output.read_bytes().count(b"\n")
        assert found == notes, f"{contender.name} wrote {found} of {notes} notes"
    return wall, cpu


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _product(ids: Path, output: Path, url: str) -> None:
    with on_core(1):
        harvest(url, ids, output, *_UNTHROTTLED)


def _script(python: str, script: str, ids: Path, output: Path, url: str) -> None:
    with on_core(1):
        subprocess.run(
            [python, str(_PEERS / script), str(ids), str(output), url + PATH],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def _others() -> list[Contender]:
    """The peers that need packages of their own, if those can be installed."""
    try:
        python = _peers_python()
    except subprocess.CalledProcessError:
        print("scrapy and requests cannot be installed here: compared without them")
        return []
    return [
        Contender("Scrapy with JOBDIR", partial(_script, python, "scrapy_job.py"), _FEW_NOTES),
        Contender("requests loop", partial(_script, python, "requests_loop.py"), _FEW_NOTES),
    ]


def _peers_python() -> str:
    """The Python of the peers' own environment, which is made once."""
    python, made = _ENVIRONMENT / "bin" / "python", _ENVIRONMENT / "made"
    wanted = "\n".join((sys.version, *_REQUIREMENTS))
    if not made.exists() or made.read_text("utf-8") != wanted:
        venv.create(_ENVIRONMENT, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *_REQUIREMENTS], check=True)
        made.write_text(wanted, "utf-8")
    return str(python)


def memory(room: Path) -> None:
    """Print the product's peak for few and for many notes."""
    rows = [("notes", "peak MB")]
    with fast_server(room) as url:
        for notes in _MEMORY:
            ids = write_ids(room / f"ids{notes}.txt", notes)
            with tempfile.TemporaryDirectory(dir=room) as folder, on_core(1):
                output = Path(folder) / "notes.jsonl"
                said = harvest(url, ids, output, *_UNTHROTTLED, module="tests.bench.product")
            rows.append((f"{notes:,}", f"{int(said.split()[-1]) / 1024:.1f}"))
    show("Memory of a run, at its most (VmHWM)", rows)


def at_limit(room: Path) -> None:
    """Print how many calls nginx refuses at exactly its limit."""
    program = nginx()
    if program is None:
        print("nginx is not installed: not tried against its limit_req")
        return
    ids = write_ids(room / "limited.txt", _LIMITED_NOTES)
    rate = f"{_LIMIT.rate}/s"
    with limited_server(program, room, _LIMIT) as url:
        harvest(url, ids, room / "limited.jsonl", "--rate", rate)
    seen = statuses(room)
    show(
        f"harvester --rate {rate} against nginx limit_req rate={_LIMIT.rate}r/s "
        f"burst={_LIMIT.burst} nodelay",
        [
            ("calls", "answered 200", "refused 429"),
            (f"{len(seen):,}", f"{seen.count('200'):,}", f"{seen.count('429'):,}"),
        ],
    )


def main() -> None:
    """Print all three tables."""
    for part in (compare, memory, at_limit):
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder))


if __name__ == "__main__":
    main()
