"""`make bench`: ratios, measured side by side in one run; absolute times mean little here."""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aiohttp
import orjson

from .notes import write_ids

_NOTES = 3_000
_ROUNDS = 3
_POOL = 64
_PATH = "/api/xiaohongshu-pgy/get-note-detail/v1"


def main() -> None:
    """Print a table of figures."""
    subprocess.run([sys.executable, "-m", "tests.bench.scale"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        with simulator() as url:
            bench_calls(room, url)
        bench_pace(room)


class simulator:  # noqa: N801 - reads as a verb in `with`
    """`harvester simulate` in a process of its own."""

    def __init__(self, *options: str) -> None:
        self._command = [sys.executable, "-m", "harvester", "simulate", "--port", "0"]
        self._command += ["--latency", "20ms", "--jitter", "10ms", *options]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()[4]

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def bench_calls(room: Path, url: str) -> None:
    """The whole product against a bare pool that keeps nothing: same server, same notes."""
    ids = write_ids(room / "ids.txt", _NOTES)
    bare, whole = [], []
    for number in range(_ROUNDS):
        pool = bare_pool(ids, room / f"bare{number}", url)
        bare.append(measured(partial(asyncio.run, pool)))
        whole.append(measured(partial(product, ids, room / f"whole{number}", url)))
    for name, rows in (("bare pool", bare), ("harvester", whole)):
        wall, cpu = (statistics.median(row[i] for row in rows) for i in (0, 1))
        print(f"{name}: {_NOTES / wall:,.0f} calls/s, {cpu / _NOTES * 1e6:.0f} us CPU a call")
    ratios = [b[0] / w[0] for b, w in zip(bare, whole, strict=True)]
    print(f"harvester / bare pool, calls a second: {statistics.median(ratios):.2f}")


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, children's included."""
    before, began = cpu_seconds(), time.perf_counter()
    work()
    return time.perf_counter() - began, cpu_seconds() - before


def cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def note_ids(ids: Path) -> list[str]:
    """The ids of a file."""
    return ids.read_text().split()


def reread(body: bytes) -> bytes:
    """A body read and written again; what orjson is too strict for is kept as it is."""
    try:
        return orjson.dumps(orjson.loads(body))
    except orjson.JSONDecodeError:
        return body


async def bare_pool(ids: Path, output: Path, url: str) -> None:
    """What people write today: fetch, parse, write."""
    left = iter(note_ids(ids))
    with output.open("wb", buffering=0) as file:
        async with aiohttp.ClientSession() as session:

            async def work() -> None:
                for note_id in left:
                    query = {"token": "t", "noteId": note_id}
                    async with session.get(url + _PATH, params=query) as response:
                        file.write(reread(await response.read()) + b"\n")

            async with asyncio.TaskGroup() as group:
                for _ in range(_POOL):
                    group.create_task(work())


def product(ids: Path, output: Path, url: str, *options: str) -> None:
    """The whole product, as it is run."""
    command = [sys.executable, "-m", "harvester", "run", str(ids), "-o", str(output), "-q"]
    command += ["--rate", "100000/s", "--workers", str(_POOL), *options]
    environment = {"JUSTONEAPI_TOKEN": "benchmark-token", "JUSTONEAPI_BASE_URL": url}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def bench_pace(room: Path) -> None:
    """The share of the allowed calls that is used, and the worst second, at the server."""
    for rate in (10, 50, 200, 1000):
        ids = write_ids(room / f"pace{rate}.txt", rate * 8)
        with simulator() as url:
            began = time.perf_counter()
            product(ids, room / f"pace{rate}.jsonl", url, "--rate", f"{rate}/s")
            elapsed = time.perf_counter() - began
            page = orjson.loads(asyncio.run(fetch(f"{url}/_simulator/charges")))
        print(
            f"pace {rate}/s: worst second {page['maxPerSecond']}, "
            f"{rate * 8 / elapsed:.1f} calls/s with start and end"
        )


async def fetch(url: str) -> bytes:
    """One GET."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.read()


if __name__ == "__main__":
    main()
