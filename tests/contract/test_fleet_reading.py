"""One reader for both ledgers: the same history is told the same way, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from harvester.errors import UsageError
from harvester.ledger.fleet import FleetAddress
from harvester.ledger.history import History
from harvester.ledger.hosts import Hosts
from harvester.ledger.postgres.reading import reading_fleet
from harvester.ledger.protocol import Checkpoint, FoundLine, Identity, Ledger, RunRequest
from harvester.ledger.reader import LedgerReader
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.model import Outcome, State
from harvester.money import Balance, Balances
from tests.contract.fleet import Database, Stage

NOW = 1_795_395_720.0
LEASE = 100.0
SHANGHAI = ZoneInfo("Asia/Shanghai")
BALANCES = Balances(Balance(Decimal("9.9500"), "CNY"), None, 1, Decimal("0.05"))
NOTES = [f"{n:024x}" for n in range(40)] + ["other", "日本", "100%", "a?b"]


def tell(ledger: Ledger, set_clock: Callable[[float], None]) -> None:
    """Two runs with all that can happen in them."""
    ledger.identify(Identity("notes/v1", simulated=True))
    ledger.mark_boot("boot")
    ledger.begin_run(120, RunRequest(5.0, 100))
    ledger.enrol(NOTES, None, {NOTES[3]: '{"a":"?"}'})
    end = 0
    for minute in range(6):
        now = NOW + minute * 61.5
        set_clock(now)
        jobs = ledger.claim(5, LEASE).jobs
        ledger.mark_sent(jobs, LEASE)
        outcomes = [
            Outcome(jobs[0], State.DONE, 0, "saved", line=b"{}\n", fetched_at=now, elapsed=0.2),
            Outcome(jobs[1], State.QUEUED, 301, "collection failed", (1, 0, 0), delay=500),
            Outcome(jobs[2], State.REJECTED, 404, f"not found {minute % 2}", elapsed=0.1),
            Outcome(jobs[3], State.EXHAUSTED, None, "timeout", unanswered=True, elapsed=90),
        ]
        end += 3
        assert ledger.record(outcomes, [end], Checkpoint(end, b"{}\n")) == []
    ledger.keep_balances(BALANCES)
    ledger.finish_run("quota", 3)
    ledger.begin_run(120)
    ledger.adopt([FoundLine(NOTES[0], 2, NOW + 999, end + 3)], Checkpoint(end + 3))
    jobs = ledger.claim(3, LEASE).jobs
    ledger.mark_sent(jobs[:2], LEASE)


def everything(reader: LedgerReader) -> dict[str, object]:
    """Every query of the reader and of the story, by name."""
    now = NOW + 400
    with reader.snapshot():
        history = History(reader)
        return {
            "meta": {key: reader.meta()[key] for key in ("endpoint", "simulated")},
            "counts": reader.counts(now),
            "next due": reader.next_due(now),
            "charged": (reader.charged(), reader.charged(NOW + 120)),
            "unanswered": reader.unanswered(),
            "used": (reader.used(0, now), reader.used(NOW + 120, now)),
            "sent": reader.sent(),
            "leased": (reader.is_leased(now), reader.is_leased(now + 10_000)),
            "open run": reader.open_run(),
            "runs": reader.runs(),
            "groups": sorted(map(str, reader.failed_groups(str.upper, 100))),
            "few groups": sum(group.jobs for group in reader.failed_groups(str.upper, 1)),
            "failures": list(reader.failures()),
            "jobs": reader.jobs_of([*NOTES, "unknown"]),
            "checkpoint": reader.checkpoint(),
            "newest length": reader.newest_length(),
            "expected": reader.expected_lines(),
            "placed": list(reader.placed_lines()),
            "timeline": history.timeline(SHANGHAI),
            "attempts": history.attempts(),
            "by day": history.charged_by_day(SHANGHAI),
            "failed for": history.failures(str.lower, 5, 3),
            "latency": history.latency(),
        }


@pytest.fixture
def harvest(stage: Stage) -> Database:
    stage.clear(NOW)
    return stage.database


def embedded(path: Path) -> dict[str, object]:
    clock = [NOW]

    def set_clock(now: float) -> None:
        clock[0] = now

    with closing(SqliteLedger(path, lambda: clock[0])) as ledger:
        tell(ledger, set_clock)
        with reading(path) as reader:
            return everything(reader)


def test_both_ledgers_tell_the_same_history_the_same_way(harvest: Database, tmp_path: Path) -> None:
    expected = embedded(tmp_path / "ledger")
    with closing(harvest.open("a")) as ledger:
        tell(ledger, harvest.set_clock)
        with reading_fleet(harvest.address, "a") as reader:
            found = everything(reader)
    for name, told in expected.items():
        assert found[name] == told, name
    assert "Decimal" not in repr(found).replace(repr(BALANCES), "")


def test_a_snapshot_sees_one_moment_and_the_next_a_newer_one(harvest: Database) -> None:
    with closing(harvest.open("a")) as ledger:
        ledger.begin_run(120)
        with reading_fleet(harvest.address) as reader:
            with reader.snapshot():
                assert reader.counts(NOW).queued == 0
                ledger.enrol(["1"], None)
                assert reader.counts(NOW).queued == 0
            assert reader.counts(NOW).queued == 1


def test_failures_are_read_in_pieces_beside_other_queries(harvest: Database) -> None:
    with closing(harvest.open("a")) as ledger:
        ledger.begin_run(120)
        ledger.enrol([f"n{n:06}" for n in range(12_000)], None)
    harvest.do("UPDATE job SET state = 2, reason = 'not found'")
    with reading_fleet(harvest.address) as reader:
        seen = 0
        for job in reader.failures():
            seen += 1
            if seen % 4000 == 0:
                assert reader.jobs_of([job.note_id])
        assert seen == 12_000
        next(iter(reader.failures()))


def test_parts_and_what_was_paid_for_twice_are_told(harvest: Database) -> None:
    with closing(harvest.open("a")) as a, closing(harvest.open("b")) as b:
        a.begin_run(120)
        b.begin_run(120)
        a.adopt([FoundLine("1", 1, NOW, 3)], Checkpoint(3, b"{}\n"))
        b.adopt([FoundLine("1", 1, NOW + 1, 3)], Checkpoint(3, b"{}\n"))

        with reading_fleet(harvest.address) as reader:
            hosts = Hosts(reader)
            told = [(row.part, row.path, row.notes, row.duplicates) for row in hosts.parts()]
            assert told == [("a", "/out/a.jsonl", 0, 0), ("b", "/out/b.jsonl", 1, 1)]
            (again,) = hosts.duplicates(9)
            assert (again.note_id, again.part) == ("1", "b")
            assert reader.checkpoint() == Checkpoint()


def test_a_role_that_may_only_read_can_look(harvest: Database, fleet_url: str) -> None:
    schema = f"harvester_{harvest.harvest}"
    harvest.do("DROP ROLE IF EXISTS looker")
    harvest.do("CREATE ROLE looker LOGIN PASSWORD 'looks'")
    harvest.do(f"GRANT USAGE ON SCHEMA {schema} TO looker")
    harvest.do(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO looker")
    place = urlsplit(fleet_url)
    url = place._replace(netloc=f"looker:looks@{place.hostname}:{place.port}").geturl()
    with reading_fleet(FleetAddress(url, harvest.harvest)) as reader:
        assert reader.counts(NOW).total == 0
    harvest.do(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM looker")
    with (
        pytest.raises(UsageError, match="permission denied"),
        reading_fleet(FleetAddress(url, harvest.harvest)) as reader,
    ):
        reader.counts(NOW)
    harvest.do(f"REVOKE ALL ON SCHEMA {schema} FROM looker")
    harvest.do("DROP ROLE looker")


def test_a_harvest_that_is_not_there_is_told_with_those_there_are(
    harvest: Database, fleet_url: str
) -> None:
    told = rf"holds no harvest nothing, but (.*, )?{harvest.harvest}"
    missing = pytest.raises(UsageError, match=told)
    with missing, reading_fleet(FleetAddress(fleet_url, "nothing")):
        pass
