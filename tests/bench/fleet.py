"""`make bench-fleet`: 1, 2, 4, 8 hosts on one database, and how soon a stop has reached all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.bench import fleet_ledger
from tests.bench.notes import write_ids
from tests.bench.pace import ask, serving, worst_window
from tests.bench.table import show
from tests.postgres import Server

_HOSTS = (1, 2, 4, 8)
_RATE = 200
_SECONDS = 20
# Until all hosts have joined, it is no steady state.
_MARGIN = 4.0
# As a real server is set: what was confirmed outlives the machine.
_DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_preload_libraries": "pg_stat_statements",
}


@dataclass(frozen=True, slots=True)
class Load:
    """What the database had done at a moment: statements, and bytes of write-ahead log."""

    statements: int
    wal: int

    def per(self, before: Load, calls: int) -> tuple[float, float]:
        """Since then, for each of so many calls."""
        return (self.statements - before.statements) / calls, (self.wal - before.wal) / calls


def load(url: str) -> Load:
    with psycopg.connect(url, autocommit=True) as db:
        row = db.execute(
            "SELECT (SELECT sum(calls) FROM pg_stat_statements)::bigint,"
            " (pg_current_wal_lsn() - '0/0')::bigint"
        ).fetchone()
    assert row is not None
    return Load(row[0] or 0, row[1])


def hosts_on(
    ledger: str, api: str, ids: Path, room: Path, many: int, *options: str
) -> list[subprocess.Popen[str]]:
    """So many hosts, each as it is run, started at once."""
    env = {
        **os.environ,
        "JUSTONEAPI_TOKEN": "benchmark-token",
        "JUSTONEAPI_BASE_URL": api,
        "HARVESTER_LEDGER": ledger,
    }
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "harvester", "run", str(ids), "-o"),
                *(str(room / f"part{many}-{host}.jsonl"), "--rate", f"{_RATE}/s"),
                *("--progress", "none", *options),
            ],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for host in range(many)
    ]


def ended(hosts: Sequence[subprocess.Popen[str]], codes: Sequence[int]) -> None:
    for host in hosts:
        told, _ = host.communicate(timeout=300)
        assert host.returncode in codes, told


def shared(server: Server, room: Path, many: int) -> Sequence[str]:
    """How much of the rate so many hosts use together, and what it costs the database."""
    ids = write_ids(room / f"ids{many}.txt", _RATE * _SECONDS)
    url = server.new_database()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION pg_stat_statements")
    before = load(url)
    with serving(0.1, 0.05) as api:
        ended(hosts_on(url, api, ids, room, many), (0,))
        starts = [start for start, _ in ask(f"{api}/starts")]
    statements, wal = load(url).per(before, len(starts))
    steady = [s for s in starts if _MARGIN <= s - starts[0] <= starts[-1] - starts[0] - 1]
    used = (len(steady) - 1) / (steady[-1] - steady[0])
    return (
        f"{many} hosts",
        f"{used:,.0f}/s",
        f"{used / _RATE:.1%}",
        f"{worst_window(starts, 1.0):,}",
        f"{statements:.1f}",
        f"{wal:,.0f} B",
    )


def stopped(server: Server, room: Path, many: int) -> Sequence[str]:
    """How long calls still start after the first answer that stops the harvest."""
    ids = write_ids(room / "stop.txt", 100_000)
    url = server.new_database()
    with serving(0.1, 0.05) as api:
        hosts = hosts_on(url, api, ids, room, many, "--max-runtime", "60s")
        while len(ask(f"{api}/starts")) < 4 * _RATE:
            assert hosts[0].poll() is None, hosts[0].communicate()[0]
        ask(f"{api}/quota")
        ended(hosts, (3,))
        starts = ask(f"{api}/starts")
    refused = [at for at, is_refused in starts if is_refused]
    return f"{many} hosts", f"{refused[-1] - refused[0]:.2f} s", f"{len(refused)}"


def rows(server: Server, room: Path) -> Iterator[Sequence[str]]:
    for many in _HOSTS:
        yield shared(server, room, many)


def main() -> None:
    """Print a table for each part."""
    server = Server(_DURABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            room = Path(folder)
            head = ("", "calls", "of --rate", "most in 1 s", "statements a call", "WAL a call")
            show(f"Hosts on one database, --rate {_RATE}/s", [head, *rows(server, room)])
            after = ("", "calls started after it for", "so many")
            room = Path(tempfile.mkdtemp(dir=folder))
            show("A quota stop met by one host", [after, stopped(server, room, 4)])
    finally:
        server.end()
    fleet_ledger.main()


if __name__ == "__main__":
    main()
