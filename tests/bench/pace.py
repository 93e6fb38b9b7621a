"""How much of the allowed rate is used, and how many calls are too many, seen by the server."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.bench.notes import write_ids
from tests.bench.product import harvest, on_core
from tests.bench.table import show

_SECONDS = 15
# Start-up, the first connections and the last answers are no steady state.
_MARGIN = 2.0
_RATES = ((10, 0.02), (50, 0.2), (200, 2.0), (500, 0.1), (1000, 0.02))
# Limits that follow one another, and the seconds for all of them, at the pace asked for.
_HIDDEN = (((40,), 40), ((40, 80, 30), 120))
_ASKED = "100/s"
# After a change, the first seconds are for finding the new limit.
_FINDING = 5


@contextmanager
def serving(
    latency: float, jitter: float, limit: int = 0, core: int | None = None
) -> Iterator[str]:
    """The benchmark's API in a process of its own, on a core of its own if asked; gives its URL."""
    command = [sys.executable, "-m", "tests.bench.server", str(latency), str(jitter), str(limit)]
    with nullcontext() if core is None else on_core(core):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def ask(url: str) -> list[list[float]]:
    """One GET, read as JSON."""
    with urllib.request.urlopen(url) as response:  # noqa: S310 - our own server
        found: list[list[float]] = json.loads(response.read())
    return found


def worst_window(starts: Sequence[float], length: float) -> int:
    """The most calls in any half-open window of a length in seconds."""
    worst = first = 0
    for last, start in enumerate(starts):
        while starts[first] <= start - length:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def fidelity(room: Path, rate: int, latency: float, jitter: float) -> Sequence[str]:
    """The share of allowed calls that is made, and the worst window."""
    ids = write_ids(room / f"pace{rate}.txt", rate * _SECONDS)
    with serving(latency, jitter) as url:
        harvest(url, ids, room / f"pace{rate}-{latency}.jsonl", "--rate", f"{rate}/s")
        starts = [start for start, _ in ask(f"{url}/starts")]
    steady = [start for start in starts if start - starts[0] >= _MARGIN]
    used = (len(steady) - 1) / (steady[-1] - steady[0]) / rate
    return f"{rate}/s", f"{latency:g} s", f"{used:.1%}", f"{worst_window(starts, 1.0):,}"


def hidden(room: Path, rate: str, limits: Sequence[int], seconds: int) -> Iterator[Sequence[str]]:
    """The share of 302s, and of the true limit used, for each limit that is in force in turn."""
    ids = write_ids(room / "hidden.txt", 400 * seconds)
    with serving(0.05, 0.02, limits[0]) as url:
        timers = [
            threading.Timer(seconds * n / len(limits), ask, [f"{url}/limit?{limit}"])
            for n, limit in enumerate(limits)
        ]
        for timer in timers:
            timer.start()
        output = room / f"hidden-{rate.replace('/', '-')}-{len(limits)}.jsonl"
        harvest(url, ids, output, "--rate", rate, "--max-runtime", f"{seconds}s")
        starts = ask(f"{url}/starts")
    began = starts[0][0]
    part = seconds / len(limits)
    for n, limit in enumerate(limits):
        calls = [r for at, r in starts if n * part + _FINDING <= at - began < (n + 1) * part]
        refused = sum(map(bool, calls))
        good = (len(calls) - refused) / (part - _FINDING) / limit
        share = f"{refused / max(1, len(calls)):.2%}"
        yield rate, f"{limit}/s", f"{seconds / len(limits):g} s", share, f"{good:.1%}"


def main() -> None:
    """Print a table of both."""
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        show(
            "Pace, seen by the server",
            [
                ("--rate", "answers in", "of it used", "most in a second"),
                *(fidelity(room, rate, latency, latency / 2) for rate, latency in _RATES),
            ],
        )
        show(
            "A hidden limit of the server below --rate",
            [
                ("--rate", "true limit", "for", "refused (302)", "of the limit used"),
                *(
                    row
                    for limits, seconds in _HIDDEN
                    for row in hidden(room, _ASKED, limits, seconds)
                ),
            ],
            f"Without the first {_FINDING} s of each limit, which are for finding it.",
        )


if __name__ == "__main__":
    main()
