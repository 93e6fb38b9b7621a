"""How fast the fleet's ledger is: `python -m tests.bench.fleet_ledger`, on a server of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing

import psycopg

from harvester.ledger.fleet import FleetAddress, PartIdentity
from harvester.ledger.protocol import Checkpoint
from harvester.model import Job, Outcome, State
from tests.contract.fleet import EagerLedger
from tests.postgres import Server
from tests.process.tool import note_ids

# All that is claimed is held at once, which no run does: of more, each claim takes ever longer,
# until leases lapse before all are claimed.
_NOTES = 20_000
_PAGE = 10_000
_LEASE = 150.0
# As a real server is set: what was confirmed outlives the machine.
_DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "shared_preload_libraries": "pg_stat_statements",
}


def opened(url: str, harvest: str, part: str) -> EagerLedger:
    ledger = EagerLedger(
        FleetAddress(url, harvest), PartIdentity(f"{harvest}-{part}", "bench", part)
    )
    ledger.begin_run(120)
    return ledger


def claim_all(url: str, harvest: str, part: str, batch: int) -> tuple[int, float, float]:
    """Claim until nothing is left; gives how many, from when to when."""
    with closing(opened(url, harvest, part)) as ledger:
        began, many = time.time(), 0
        while jobs := ledger.claim(batch, _LEASE).jobs:
            many += len(jobs)
        return many, began, time.time()


def call_all(url: str, harvest: str, part: str, batch: int) -> tuple[int, float, float]:
    """Claim, depart and record until nothing is left."""
    with closing(opened(url, harvest, part)) as ledger:
        began, many = time.time(), 0
        while jobs := ledger.claim(batch, _LEASE).jobs:
            ledger.mark_sent(jobs, _LEASE)
            record(ledger, jobs, many)
            many += len(jobs)
        return many, began, time.time()


def record(ledger: EagerLedger, jobs: list[Job], before: int) -> None:
    now = time.time()
    saves = [
        Outcome(job, State.DONE, 0, "saved", line=b"{}\n", fetched_at=now, elapsed=0.4)
        for job in jobs
    ]
    ends = [3 * (before + n + 1) for n in range(len(saves))]
    ledger.record(saves, ends, Checkpoint(ends[-1], b"{}\n"))


Work = Callable[[str, str, str, int], tuple[int, float, float]]


def together(work: Work, url: str, harvest: str, processes: int, batch: int) -> float:
    """Notes a second by so many processes at once."""
    with ProcessPoolExecutor(processes) as pool:
        doing = [pool.submit(work, url, harvest, f"p{n}", batch) for n in range(processes)]
        done = [future.result() for future in doing]
    return sum(d[0] for d in done) / (max(d[2] for d in done) - min(d[1] for d in done))


def enrol(url: str, harvest: str, notes: list[str]) -> float:
    """Note ids enrolled a second."""
    with closing(opened(url, harvest, "enrol")) as ledger:
        began = time.perf_counter()
        for n in range(0, len(notes), _PAGE):
            ledger.enrol(notes[n : n + _PAGE], None)
        return len(notes) / (time.perf_counter() - began)


def cost(db: psycopg.Connection, work: Callable[[], None], calls: int) -> tuple[float, float]:
    """Statements and WAL bytes a call."""
    db.execute("SELECT pg_stat_statements_reset()")
    (before,) = db.execute("SELECT pg_current_wal_insert_lsn()").fetchall()[0]
    work()
    (wal,) = db.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::float8", (before,)
    ).fetchall()[0]
    (statements,) = db.execute(
        "SELECT sum(calls)::float8 FROM pg_stat_statements WHERE toplevel"
    ).fetchall()[0]
    return statements / calls, wal / calls


def main() -> None:
    notes = note_ids(_NOTES)
    server = Server(_DURABLE)
    try:
        url = server.new_database()
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            for name, work in (("claim", claim_all), ("claim, depart, record", call_all)):
                for processes in (1, 4):
                    for batch in (100, 1000):
                        harvest = f"h{abs(hash((name, processes, batch))) % 10**9}"
                        fast = enrol(url, harvest, notes)
                        db.execute("CHECKPOINT")
                        rate = together(work, url, harvest, processes, batch)
                        print(
                            f"{name:24} {processes} processes, {batch:4} at once: {rate:8,.0f}/s"
                            f"   (enrolled at {fast:,.0f}/s)",
                            flush=True,
                        )
            for batch, times in ((1, 2000), (10, 400), (100, 100)):
                harvest = f"cost{batch}"
                enrol(url, harvest, notes[: times * batch])
                with closing(opened(url, harvest, "cost")) as ledger:
                    jobs = ledger.claim(times * batch, _LEASE).jobs

                    def call(jobs: list[Job] = jobs, batch: int = batch) -> None:
                        for n in range(0, len(jobs), batch):
                            ledger.mark_sent(jobs[n : n + batch], _LEASE)
                            record(ledger, jobs[n : n + batch], n)

                    statements, wal = cost(db, call, len(jobs))
                    print(
                        f"depart and record, {batch:3} at once: {statements:.2f} statements and "
                        f"{wal:,.0f} WAL bytes a call"
                    )
    finally:
        server.end()


if __name__ == "__main__":
    main()
