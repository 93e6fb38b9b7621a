"""Ledgers of a million notes and more: enrolling, opening, marking done, mending, rebuilding.

`python -m tests.bench.scale 10000000` does it at ten million.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harvester.config import RunConfig
from harvester.engine.held import OpenOutput
from harvester.engine.open_output import begin, open_output
from harvester.engine.open_run import this_environment
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import ledger_path
from harvester.model import Outcome, State
from harvester.secret import Secret
from harvester.source.given import pages_of
from harvester.source.options import InputOptions
from tests.bench.memory import peak
from tests.bench.notes import write_ids
from tests.bench.table import show

_ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
_GROUP = 500
_LINES = 200_000
_TAIL = 1_000
# As long as a real answer.
_DATA = '"' + "上海落户" * 240 + '"'


def _config_of(output: Path) -> RunConfig:
    return RunConfig(output=output, inputs=("ids.txt",), endpoint=_ENDPOINT, tokens=(Secret("t"),))


def main() -> None:
    """Print a table of all steps; each is a process of its own, so that its peak is its own.

    With the name of a step and a folder, do that step and print its figures, then its peak.
    """
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        STEPS[sys.argv[2]](Path(sys.argv[3]), many)
        print(f"{peak() / 1024:.0f}")
        return
    rows = [("", "figure", "peak MB")]
    with tempfile.TemporaryDirectory() as folder:
        write_ids(Path(folder) / "ids.txt", many)
        for step in STEPS:
            command = [sys.executable, "-m", "tests.bench.scale", str(many), step, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            *figures, most = done.stdout.splitlines()
            for what, _, figure in (line.partition(": ") for line in figures):
                rows.append((what, figure, most))
    show("Large ledgers: enrolling, going on, mended", rows)


def enrol(room: Path, many: int) -> None:
    """Ids a second from a file into the ledger."""
    opened = _opened(room)
    began = settled = time.perf_counter()
    for page in pages_of(room / "ids.txt", InputOptions()):
        opened.ledger.enrol(page.ids, None)
        if time.perf_counter() - settled > 1:
            opened.ledger.settle(0)
            settled = time.perf_counter()
    read = time.perf_counter()
    opened.ledger.end_input()
    ended = time.perf_counter()
    opened.close()
    print(f"enrol {many:,}: {many / (ended - began):,.0f} ids/s, index {ended - read:.1f} s of it")


def go_on(room: Path, many: int) -> None:
    """Opening to go on, and the first claim; then what a claim and marking done cost."""
    began = time.perf_counter()
    opened = _opened(room)
    ledger = opened.ledger
    jobs = ledger.claim(_GROUP, 100).jobs
    print(f"open and claim at {many:,}: {(time.perf_counter() - began) * 1000:.0f} ms")
    began = time.perf_counter()
    rounds = 40
    for number in range(rounds):
        ledger.mark_sent(jobs, 100)
        outcomes = [Outcome(job, State.DONE, 0, "", line=b"x", fetched_at=began) for job in jobs]
        ends = [number * _GROUP + n for n in range(len(jobs))]
        ledger.record(outcomes, ends, Checkpoint())
        jobs = ledger.claim(_GROUP, 100).jobs
    took = time.perf_counter() - began
    print(f"claim, depart, record: {took / rounds / _GROUP * 1e6:.1f} us a note")
    opened.close()


def rebuild(room: Path, _many: int) -> None:
    """A missing ledger, made anew from OUTPUT; then a crash that left a thousand lines unseen."""
    output = room / "lines.jsonl"
    size = _write_lines(output, _LINES)
    began = time.perf_counter()
    open_output(_config_of(output), this_environment()).close()
    took = time.perf_counter() - began
    print(f"rebuild from {_LINES:,} lines: {size / took / 1e6:,.0f} MB/s")
    _write_lines(output, _TAIL, after=_LINES)
    began = time.perf_counter()
    opened = open_output(_config_of(output), this_environment())
    took = time.perf_counter() - began
    assert opened.recovery.adopted == _TAIL
    opened.close()
    print(f"adopt {_TAIL:,} unseen lines behind them: {took * 1000:.0f} ms")


def _write_lines(output: Path, many: int, after: int = 0) -> int:
    with output.open("a", encoding="utf-8") as file:
        for number in range(after, after + many):
            # Spread over all ids, as real ones are.
            note_id = f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}{number:08x}"
            file.write(
                f'{{"noteId":"{note_id}","fetchedAt":"2026-11-23T01:02:03.456Z","attempts":1,'
                f'"endpoint":"{_ENDPOINT}","recordTime":null,"requestId":null,"data":{_DATA}}}\n'
            )
        return file.tell()


def _opened(room: Path) -> OpenOutput:
    opened = open_output(_config_of(room / "notes.jsonl"), this_environment())
    begin(opened, _config_of(room / "notes.jsonl"), this_environment())
    return opened


def alone(room: Path, many: int) -> None:
    """The same ids straight into an indexed table, page by page: what bulk enrolling is held to."""
    many = min(many, 1_000_000)
    ledger = SqliteLedger(ledger_path(room / "alone"), time.time, bulk_after=many + 1)
    ledger.begin_run(1)
    began, left = time.perf_counter(), many
    for page in pages_of(room / "ids.txt", InputOptions()):
        ledger.enrol(page.ids[:left], None)
        left -= len(page.ids[:left])
    print(f"enrol {many:,} with the index all along: {many / (time.perf_counter() - began):,.0f}/s")
    ledger.close()


STEPS: dict[str, Callable[[Path, int], None]] = {
    "enrol": enrol,
    "alone": alone,
    "go_on": go_on,
    "rebuild": rebuild,
}

if __name__ == "__main__":
    main()
