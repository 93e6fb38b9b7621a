"""What only a fleet has: several hosts on one ledger, that die, come back and lose the database."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from harvester.errors import HarvesterError, LedgerError, LocalIOError, UsageError
from harvester.ledger.fleet import FleetAddress, PartIdentity
from harvester.ledger.hosts import Hosts
from harvester.ledger.postgres import connection
from harvester.ledger.postgres.claims import _NEXT, Caps
from harvester.ledger.postgres.connection import Address, Connection, is_away, refusal
from harvester.ledger.postgres.ledger import PostgresLedger
from harvester.ledger.postgres.membership import Membership, Stop
from harvester.ledger.postgres.reading import reading_fleet
from harvester.ledger.postgres.retrying import lose_part_in_fleet
from harvester.ledger.postgres.schema import _MIGRATIONS, NEWEST
from harvester.ledger.postgres.transaction import _TURN, OutOfTurn, Transaction, lock
from harvester.ledger.protocol import Checkpoint, Claimed, Enrolled, FoundLine, Identity, RunRequest
from harvester.ledger.reader import ExpectedLines
from harvester.ledger.sql import LOST, OVERTAKEN
from harvester.model import Job, Outcome, State
from harvester.rules.budget import Limits
from harvester.rules.turns import Turns
from tests.contract.fleet import Database, Severed, Stage, Waited, drop_connection
from tests.contract.outcomes import LEASE, LINE, NOW, again, give_up, record, save, timed_out
from tests.cut import Cut, Mode
from tests.postgres import PASSWORD, Server
from tests.process.tool import until

# The connections to a database of this worker: others of the same names are on its server.
HERE = "pg_stat_activity WHERE datname = current_database()"


@pytest.fixture
def fleet(stage: Stage) -> Database:
    """A harvest as a new one is, in which time stands."""
    stage.clear(NOW)
    return stage.database


@pytest.fixture
def hosts(fleet: Database) -> Iterator[Callable[..., PostgresLedger]]:
    """Opens hosts' ledgers by name, with a run begun, and closes them."""
    opened: list[PostgresLedger] = []

    def open_host(part: str, **options: Any) -> PostgresLedger:  # noqa: ANN401 - the ledger's own
        ledger = fleet.open(part, **options)
        opened.append(ledger)
        ledger.begin_run(120)
        return ledger

    yield open_host
    for ledger in opened:
        ledger.close()


def ids(jobs: Sequence[Job]) -> list[str]:
    return [job.note_id for job in jobs]


# Claiming


def test_two_hosts_claim_different_jobs(hosts: Callable[..., PostgresLedger]) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1", "2", "3", "4"], None)
    first, second = a.claim(2, LEASE), b.claim(4, LEASE)
    assert (ids(first.jobs), ids(second.jobs)) == (["1", "2"], ["3", "4"])
    assert b.counts().claimed == 4


def test_hosts_that_claim_at_once_never_share_a_job(hosts: Callable[..., PostgresLedger]) -> None:
    ledgers = [hosts(part) for part in "abcd"]
    ledgers[0].enrol([f"n{n}" for n in range(1000)], None)

    def drain(ledger: PostgresLedger) -> list[str]:
        found: list[str] = []
        while jobs := ledger.claim(17, LEASE).jobs:
            found += ids(jobs)
        return found

    with ThreadPoolExecutor(4) as threads:
        taken = [note for found in threads.map(drain, ledgers) for note in found]
    assert len(taken) == len(set(taken)) == 1000


def test_claims_are_looked_up_by_their_key_though_there_were_none_of_late(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a")
    a.enrol(["1"], None)
    a.release(a.claim(1, LEASE).jobs)
    fleet.do("ANALYZE claim")
    with closing(Address.of(fleet.address).connect("harvester b")) as db:
        plan = db.execute(f"EXPLAIN {_NEXT}".encode(), (1,)).fetchall()
    assert "Join" not in str(plan)


def test_while_others_hold_claims_a_host_asks_again_soon(
    hosts: Callable[..., PostgresLedger],
) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1"], None)
    (job,) = a.claim(5, LEASE).jobs
    assert a.claim(5, LEASE) == Claimed([], None)
    assert b.claim(5, LEASE) == Claimed([], 1.0)
    record(a, save(job))
    assert b.claim(5, LEASE) == Claimed([], None)


def test_a_hole_that_a_dead_host_left_in_the_queue_is_found(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a")
    a.enrol(["1", "2", "3"], None)
    with closing(psycopg.connect(fleet.url)) as dying:
        dying.execute(f"SELECT FROM harvester_{fleet.harvest}.job WHERE note_id = '1' FOR UPDATE")
        claimed = a.claim(5, LEASE)
        assert ids(claimed.jobs) == ["2", "3"]
        assert claimed.next_due is not None
        assert 0 < claimed.next_due < 1
        # Closing alone, the server would let go of the row a moment later.
        dying.rollback()
    assert ids(a.claim(5, LEASE).jobs) == ["1"]


def test_a_beginning_host_leaves_the_claims_of_others_alone(
    hosts: Callable[..., PostgresLedger],
) -> None:
    a = hosts("a")
    a.enrol(["1", "2"], None)
    (job,) = a.claim(1, LEASE).jobs
    a.mark_sent([job], LEASE)
    b = hosts("b")
    assert ids(b.claim(5, LEASE).jobs) == ["2"]
    assert record(a, save(job)) == []


def test_a_host_that_begins_again_loses_only_its_own_dead_claims(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1", "2"], None)
    (mine,) = a.claim(1, LEASE).jobs
    (other,) = b.claim(1, LEASE).jobs
    a.mark_sent([mine], LEASE)
    b.mark_sent([other], LEASE)
    drop_connection(a)
    a.close()
    with closing(fleet.open("a")) as back:
        assert back.begin_run(120).found_unanswered == 1
        assert ids(back.claim(5, LEASE).jobs) == ["1"]
    assert record(b, save(other)) == []


# Leases that lapse, late answers, duplicates


def test_a_lapsed_job_goes_to_another_host_and_its_late_answer_is_a_listed_duplicate(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1"], None)
    (old,) = a.claim(1, LEASE).jobs
    a.mark_sent([old], LEASE)
    fleet.set_clock(NOW + LEASE)
    (new,) = b.claim(1, LEASE).jobs
    assert (new.note_id, new.attempts) == ("1", 1)
    b.mark_sent([new], LEASE)
    assert record(b, save(new, NOW + LEASE + 1)) == []
    assert b.charged_since(0) == 2
    late = save(old, NOW + LEASE + 2)
    assert record(a, late) == [late]
    # Were this host to die here, its line must still be news to whoever looks for lines to adopt.
    assert a.checkpoint() == Checkpoint()
    line = FoundLine("1", 1, late.fetched_at, 3)
    assert a.adopt([line], Checkpoint(3, LINE)) == 0
    found = "SELECT uuid, note_id, line.line_end FROM line JOIN job USING (seq)"
    found += " JOIN part ON part.id = line.part WHERE found_at IS NOT NULL"
    assert fleet.rows(found) == [("a", "1", 3)]
    current = "SELECT part.uuid, lines, line_end FROM job JOIN part ON part.id = job.part"
    assert fleet.rows(current) == [("a", 2, 3)]
    # Two calls were made and answered: both are charged, none is unanswered any more.
    assert fleet.one("SELECT count(*) FROM unanswered") == 0
    assert a.charged_since(0) == 2


def test_a_call_that_is_out_keeps_its_claim_though_another_host_adopts_a_line_of_its_note(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1", "2"], None)
    a.mark_sent(a.claim(2, LEASE).jobs, LEASE)
    fleet.set_clock(NOW + LEASE)
    one, two = b.claim(2, LEASE).jobs
    b.mark_sent([one, two], LEASE)
    lines = [FoundLine("1", 1, NOW + 1, 3), FoundLine("2", 1, NOW + 1, 6)]
    assert a.adopt(lines, Checkpoint(6, LINE)) == 2
    assert fleet.one("SELECT count(*) FROM unanswered") == 0
    late = save(one, NOW + LEASE)
    gone = Outcome(two, State.REJECTED, 404, "gone")
    assert b.record([late, gone], [3], Checkpoint(3, LINE)) == [late]
    # The save waits for its line; the other answer is counted, and the note stays done.
    found = "SELECT seq, how FROM unanswered"
    assert fleet.rows(found) == [(one.seq, OVERTAKEN)]
    assert (a.counts().done, a.counts().rejected) == (2, 0)
    assert fleet.one("SELECT sum(calls)::int FROM activity WHERE code = 404") == 1
    assert fleet.one("SELECT count(*) FROM claim") == 0
    b.adopt([FoundLine("1", 2, NOW + LEASE, 3)], Checkpoint(3, LINE))
    assert fleet.rows(found) == []
    assert a.charged_since(0) == 3


def test_a_late_answer_that_comes_first_makes_the_other_hosts_answer_the_duplicate(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1"], None)
    (old,) = a.claim(1, LEASE).jobs
    a.mark_sent([old], LEASE)
    fleet.set_clock(NOW + LEASE)
    (new,) = b.claim(1, LEASE).jobs
    b.mark_sent([new], LEASE)
    assert record(a, save(old)) == [save(old)]
    assert a.adopt([FoundLine("1", 1, NOW, 3)], Checkpoint(3, LINE)) == 1
    late = save(new, NOW + LEASE + 2)
    assert record(b, late) == [late]
    line = FoundLine("1", 2, late.fetched_at, 3)
    assert b.adopt([line], Checkpoint(3, LINE)) == 0
    found = "SELECT uuid FROM line JOIN part ON part.id = part WHERE found_at IS NOT NULL"
    assert fleet.rows(found) == [("b",)]
    assert a.charged_since(0) == 2


def test_an_older_late_line_does_not_take_the_newer_ones_place(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b")
    b.enrol(["1"], None)
    record(b, save(b.claim(1, LEASE).jobs[0], NOW + 50))
    a.adopt([FoundLine("1", 1, NOW, 3)], Checkpoint(3, LINE))
    assert fleet.rows("SELECT uuid, fetched_at, lines FROM job JOIN part ON part.id = part") == [
        ("b", round((NOW + 50) * 1000), 2)
    ]
    assert a.knows(FoundLine("1", 1, NOW, 0))
    assert not a.knows(FoundLine("1", 1, NOW + 1, 9))


def test_a_copied_part_is_not_charged_again(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a")
    a.enrol(["1"], None)
    record(a, save(a.claim(1, LEASE).jobs[0]))
    with closing(fleet.open("copy")) as copy:
        assert copy.adopt([FoundLine("1", 1, NOW, 3)], Checkpoint(3, LINE)) == 0
        assert copy.charged_since(0) == 1
    assert fleet.rows("SELECT uuid, lines FROM job JOIN part ON part.id = part") == [("copy", 1)]
    assert fleet.one("SELECT count(found_at) FROM line") == 0


def test_lines_read_anew_from_the_beginning_are_no_duplicates(fleet: Database) -> None:
    """The refreshed note of a part whose database is lost was not paid for by mistake."""
    lines = [FoundLine("1", 1, NOW, 3), FoundLine("1", 2, NOW + 9, 6)]
    with closing(fleet.open("a")) as a:
        assert a.adopt(lines, Checkpoint(6, LINE)) == 1
        assert a.charged_since(0) == 2
    assert fleet.one("SELECT count(found_at) FROM line") == 0
    assert fleet.one("SELECT lines FROM job") == 2


# Parts


def two_parts(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> tuple[PostgresLedger, PostgresLedger]:
    """Note 1 is in both parts, its current line in b; 2 is in a, 3 in b."""
    a, b = hosts("a"), hosts("b")
    a.enrol(["1", "2", "3"], None)
    one, two = a.claim(2, LEASE).jobs
    record(a, save(one), save(two))
    (three,) = b.claim(1, LEASE).jobs
    record(b, save(three))
    b.adopt([FoundLine("1", 1, NOW + 5, 6)], Checkpoint(6, LINE))
    return a, b


def test_forgetting_a_part_keeps_what_other_parts_hold(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    _, b = two_parts(fleet, hosts)
    b.forget_lines()
    assert b.is_rebuilding()
    assert b.checkpoint() == Checkpoint()
    lines = [FoundLine("3", 1, NOW, 3), FoundLine("1", 1, NOW + 5, 6)]
    assert b.adopt(lines, Checkpoint(6, LINE)) == 1
    b.end_reading()
    assert fleet.rows("SELECT note_id, lines FROM job ORDER BY 1") == [("1", 2), ("2", 1), ("3", 1)]
    assert fleet.one("SELECT count(found_at) FROM line") == 1


def test_nobody_calls_for_the_notes_of_a_part_before_all_of_it_was_read_anew(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = two_parts(fleet, hosts)
    a.enrol(["4"], None)
    record(b, save(b.claim(1, LEASE).jobs[0]), start=6)
    b.forget_lines()
    assert a.claim(9, LEASE).jobs == []
    assert b.adopt([FoundLine("4", 1, NOW, 3)], Checkpoint(3, LINE)) == 1
    assert a.claim(9, LEASE).jobs == []
    b.end_reading()
    assert ids(a.claim(9, LEASE).jobs) == ["3"]
    states = dict(fleet.rows("SELECT note_id, state FROM job"))
    assert states == dict.fromkeys("124", State.DONE) | {"3": State.QUEUED}
    assert fleet.one("SELECT uuid FROM job JOIN part ON part.id = part WHERE note_id = '1'") == "a"
    assert (b.counts().done, b.counts().queued) == (3, 1)
    assert not b.is_rebuilding()


def test_each_line_of_a_part_that_was_moved_is_known(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a")
    a.enrol(["1"], None)
    record(a, save(a.claim(1, LEASE).jobs[0]))
    a.refresh(NOW + 1)
    record(a, save(a.claim(1, LEASE).jobs[0], NOW + 9), start=3)
    with closing(fleet.open("moved")) as moved:
        lines = [FoundLine("1", 1, NOW, 3), FoundLine("1", 2, NOW + 9, 6)]
        assert moved.adopt(lines, Checkpoint(6, LINE)) == 0
        assert moved.charged_since(0) == 2
        assert all(map(moved.knows, lines))
    assert fleet.rows("SELECT DISTINCT uuid, lines FROM line JOIN part ON part.id = part, job") == [
        ("moved", 2)
    ]


def test_a_power_cut_takes_back_a_part_only_what_no_other_holds(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = two_parts(fleet, hosts)
    assert b.lose_lines(Checkpoint(0, b"")) == 1
    b.end_reading()
    assert dict(fleet.rows("SELECT note_id, lines FROM job")) == {"1": 1, "2": 1, "3": 0}
    assert (b.counts().done, b.counts().queued) == (2, 1)
    assert a.lose_lines(Checkpoint(0, b"")) == 2
    a.end_reading()
    assert a.counts().done == 0
    assert fleet.rows("SELECT DISTINCT lines FROM job") == [(0,)]
    assert fleet.one("SELECT count(*) FROM line") == 0


def test_only_what_a_newer_line_replaced_comes_back_as_paid_for_twice(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b")
    a.enrol(["1"], None)
    record(a, save(a.claim(1, LEASE).jobs[0]))
    a.refresh(NOW + 1)
    record(a, save(a.claim(1, LEASE).jobs[0], NOW + 9), start=3)
    lines = [FoundLine("1", 1, NOW, 3), FoundLine("1", 2, NOW + 9, 6)]
    again = "SELECT count(found_at) FROM line"
    a.lose_lines(Checkpoint())
    a.adopt(lines, Checkpoint(6, LINE))
    assert fleet.one(again) == 0
    a.finish_run("done", 0)
    fleet.set_clock(NOW + 3600)
    assert lose_part_in_fleet(fleet.address, "a") == 1
    record(b, save(b.claim(1, LEASE).jobs[0], NOW + 3600))
    with closing(fleet.open("a")) as back:
        back.adopt(lines, Checkpoint(6, LINE))
        assert back.charged_since(0) == 3
    assert fleet.one(again) == 2


def test_lines_that_a_power_cut_took_are_unanswered_calls_but_for_those_that_were_found(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    _, b = two_parts(fleet, hosts)
    assert b.lose_lines(Checkpoint(0, b"")) == 1
    assert b.adopt([FoundLine("1", 1, NOW + 5, 3)], Checkpoint(3, LINE)) == 0
    b.end_reading()
    told = "SELECT note_id, how FROM unanswered JOIN job USING (seq)"
    assert fleet.rows(told) == [("3", LOST)]
    assert b.charged_since(0) == 4
    b.forget_lines()
    b.end_reading()
    assert fleet.rows(told) == [("3", LOST)]


class Lines:
    """What two parts hold, in plain words: places and parts of lines by note and moment."""

    def __init__(self, fleet: Database, parts: dict[str, PostgresLedger], seed: int) -> None:
        self.fleet, self.parts, self.dice = fleet, parts, random.Random(seed)
        self.there: dict[tuple[str, int], tuple[str, int]] = {}
        self.paid: set[tuple[str, int]] = set()
        self.end = dict.fromkeys(parts, 0)

    def find(self, part: str, found: Sequence[tuple[str, int]]) -> None:
        """Have a part's next lines found."""
        lines = []
        for note_id, moment in found:
            self.end[part] += 3
            lines.append(FoundLine(note_id, 1, NOW + moment, self.end[part]))
            self.there[note_id, moment] = part, self.end[part]
        self.paid |= {*found}
        self.parts[part].adopt(lines, Checkpoint(self.end[part], LINE))

    def step(self) -> None:
        """New lines, lines that were moved, a part read anew, or a power cut."""
        part, dice = self.dice.choice("ab"), self.dice
        ours = [line for line, (name, _) in self.there.items() if name == part]
        moment = len(self.paid) * 2
        what = dice.randrange(5)
        if what < 3:
            new = [(dice.choice("1234"), moment + 2 * n) for n in range(dice.randrange(4))]
            self.find(part, new + dice.sample([*self.there], min(len(self.there), what)))
            return
        length = 0 if what == 3 else dice.randrange(self.end[part] + 1)
        gone = [line for line in ours if self.there[line][1] > length]
        self.end[part] = length
        for line in gone:
            del self.there[line]
        if what == 3:
            self.parts[part].forget_lines()
        else:
            self.parts[part].lose_lines(Checkpoint(length, LINE))
        self.find(part, dice.sample(gone, dice.randrange(len(gone) + 1)))
        self.parts[part].end_reading()

    def check(self) -> None:
        """Hold what the ledger says against them."""
        newest: dict[str, list[int]] = {}
        for note_id, moment in sorted(self.there):
            newest.setdefault(note_id, []).append(moment)
        said = {
            note_id: (lines, uuid, end, round(at / 1000 - NOW))
            for note_id, lines, uuid, end, at in self.fleet.rows(
                "SELECT note_id, lines, uuid, line_end, fetched_at"
                " FROM job LEFT JOIN part ON part.id = part WHERE state = 1"
            )
        }
        assert said == {
            note_id: (len(moments), *self.there[note_id, moments[-1]], moments[-1])
            for note_id, moments in newest.items()
        }
        states = dict(self.fleet.rows("SELECT state, count(*) FROM job GROUP BY state"))
        assert states == dict(self.fleet.rows("SELECT state, jobs FROM tally WHERE jobs <> 0"))
        assert self.parts["a"].charged_since(0) == len(self.paid)

    def check_readers(self) -> None:
        """Hold what each part should have against them."""
        for part in self.parts:
            with reading_fleet(self.fleet.address, part) as reader:
                expected = reader.expected_lines()
                held = sum(name == part for name, _ in self.there.values())
                assert expected.current + expected.older == held


@pytest.mark.parametrize("seed", range(3))
def test_lines_are_known_and_charged_once_wherever_they_are_found(
    fleet: Database, hosts: Callable[..., PostgresLedger], seed: int
) -> None:
    lines = Lines(fleet, {part: hosts(part) for part in "ab"}, seed)
    for _ in range(25):
        lines.step()
        lines.check()
    lines.check_readers()


def test_each_part_has_its_own_length_and_boot(hosts: Callable[..., PostgresLedger]) -> None:
    a, b = hosts("a"), hosts("b")
    a.mark_boot("one")
    a.settle(7)
    record(a, start=4)
    assert (a.boot(), a.synced(), a.checkpoint().length) == ("one", 7, 4)
    assert (b.boot(), b.synced(), b.checkpoint().length) == ("", 0, 0)


# Sessions, stops, caps


def test_runs_that_overlap_share_a_session(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    hosts("a")
    with closing(fleet.open("b")) as b:
        assert b.begin_run(120, RunRequest(5.0)).joined
    fleet.set_clock(NOW + 3600)
    with closing(fleet.open("c")) as c:
        assert not c.begin_run(120).joined
    sessions = [session for (session,) in fleet.rows("SELECT session FROM run ORDER BY id")]
    assert sessions[0] == sessions[1] != sessions[2]


def test_a_run_that_finished_is_nobody_to_join(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    hosts("a").finish_run("done", 0)
    with closing(fleet.open("b")) as b:
        assert not b.begin_run(120).joined


def turns(token: str) -> Turns:
    """What a host asks for that calls with a token."""
    return Turns(token, "5 calls/s", 5, 1.0, 0.2, 0.0, 1.0, 0.1, [])


@contextmanager
def stopped(fleet: Database, a: PostgresLedger, reason: str, detail: str) -> Iterator[Membership]:
    """The membership of a run that has told that its first token is disabled."""
    with closing(Membership(fleet.address, "a", ["t1"], "5 calls/s")) as told:
        told.tell_stop("t1", reason, detail)
        told.join(a.run)
        yield told


def test_after_a_stop_nothing_is_sent_anywhere(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a", tokens=["t1"]), hosts("b", tokens=["t1", "t2"])
    a.enrol(["1", "2"], None)
    (one,), (two,) = a.claim(1, LEASE).jobs, b.claim(1, LEASE).jobs
    with stopped(fleet, a, "quota", "daily quota used up") as told:
        assert a.mark_sent([one], LEASE, turns("t1")).jobs == []
        assert b.mark_sent([two], LEASE, turns("t1")).jobs == []
        # What a stop kept here went back; the other token is disabled only once it is stopped too.
        (two,) = b.claim(1, LEASE).jobs
        assert b.mark_sent([two], LEASE, turns("t2")).kept == [two]
        assert b.mark_sent([two], LEASE).jobs == [two]
        told.tell_stop("", "refused", "endpoint gone")
        told.beat()
        assert b.mark_sent([two], LEASE).jobs == []


def test_a_call_kept_back_after_a_try_whose_answer_was_lost_was_not_sent(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a")
    a.enrol(["1"], None)
    jobs = a.claim(1, LEASE).jobs
    a.mark_sent(jobs, LEASE)
    # No moments are given out for a token without a pace.
    assert a.mark_sent(jobs, LEASE, turns("t2")).kept == jobs
    a.finish_run("done", 0)
    assert a.begin_run(120).found_unanswered == 0
    assert fleet.one("SELECT count(*) FROM unanswered") == 0


def test_a_stop_is_over_with_its_session(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a", tokens=["t1"])
    a.enrol(["1"], None)
    with stopped(fleet, a, "quota", "") as told:
        told.leave()
    a.begin_run(120)
    assert len(a.mark_sent(a.claim(1, LEASE).jobs, LEASE, turns("t1")).jobs) == 1


def test_who_begins_while_others_drain_after_a_stop_asks_anew(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a", tokens=["t1"])
    a.enrol(["1"], None)
    with stopped(fleet, a, "balance", ""), closing(fleet.open("b", tokens=["t1"])) as b:
        assert not b.begin_run(120).joined
        assert len(b.mark_sent(b.claim(1, LEASE).jobs, LEASE, turns("t1")).jobs) == 1


def test_a_used_up_quota_is_over_with_the_vendors_day(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a = hosts("a", tokens=["t1"])
    a.enrol(["1"], None)
    with stopped(fleet, a, "quota", "used up") as told:
        assert told.beat().stops
        assert a.mark_sent(a.claim(1, LEASE).jobs, LEASE, turns("t1")).jobs == []
        fleet.set_clock(NOW + 86_400)
        assert not told.beat().stops
        assert len(a.mark_sent(a.claim(1, LEASE).jobs, LEASE, turns("t1")).jobs) == 1
        told.tell_stop("t1", "quota", "again")
        assert told.beat().stops == {"t1": Stop("quota", "again")}
        midnight = 1_700_064_000
        fleet.set_clock(midnight + 86_400 + 100)
        told.tell_stop("t1", "quota", "early", shared=True)
        told.beat()
        fleet.set_clock(midnight + 86_400 + 159)
        assert told.beat().stops == {"t1": Stop("quota", "early", shared=True)}
        # The server's day may begin a bit later.
        fleet.set_clock(midnight + 86_400 + 160)
        assert not told.beat().stops


@pytest.mark.parametrize(
    ("limits", "name", "most"),
    [
        (Limits(max_charged=20), "--max-charged", 20),
        (Limits(max_charged_daily=20), "--max-charged-daily", 20),
        (Limits(max_notes=20), "--max-notes", 20),
        (Limits(max_calls=20), "--max-calls", 20),
    ],
)
def test_a_cap_holds_for_all_hosts_together(
    fleet: Database, hosts: Callable[..., PostgresLedger], limits: Limits, name: str, most: int
) -> None:
    caps = Caps(limits, lambda: NOW - 3600)
    ledgers = [hosts(part, caps=caps) for part in "ab"]
    ledgers[0].enrol([f"n{n}" for n in range(100)], None)
    dice = random.Random(7)
    held: dict[int, list[Job]] = {0: [], 1: []}
    calls = charged = 0
    limit = None
    for _ in range(200):
        if limit is not None and not any(held.values()):
            break
        at = dice.randrange(2)
        host = ledgers[at]
        claimed = host.claim(dice.randint(1, 9), LEASE)
        limit = limit or claimed.limit
        held[at] += claimed.jobs
        sent = host.mark_sent(held[at][: dice.randint(0, 5)], LEASE).jobs
        held[at] = [job for job in held[at] if job not in sent]
        calls += len(sent)
        kinds = [dice.choice([save, save, timed_out, again, give_up]) for _ in sent]
        charged += kinds.count(save) + kinds.count(timed_out)
        record(host, *(kind(job) for kind, job in zip(kinds, sent, strict=True)))
    assert limit == name
    assert not [job for host in ledgers for job in host.claim(9, LEASE).jobs]
    used = calls if limits.max_calls else charged
    if limits.max_notes:
        used = ledgers[0].counts().done
    assert used == most


def test_with_the_cap_claimed_by_others_a_host_asks_again_soon(
    hosts: Callable[..., PostgresLedger],
) -> None:
    caps = Caps(Limits(max_charged=1))
    a, b = hosts("a", caps=caps), hosts("b", caps=caps)
    a.enrol(["1", "2"], None)
    (job,) = a.claim(5, LEASE).jobs
    assert b.claim(5, LEASE) == Claimed([], 1.0)
    record(a, again(job))
    assert len(b.claim(5, LEASE).jobs) == 1


# Enrolling and opening at once


def test_hosts_that_enrol_one_input_at_once_add_each_note_once(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    ledgers = [hosts(part) for part in "abc"]
    notes = [f"n{n}" for n in range(5000)]

    def enrol(ledger: PostgresLedger) -> int:
        pages = [notes[n : n + 500] for n in range(0, len(notes), 500)]
        carried = dict.fromkeys(notes[::7], '{"a":1}')
        return sum(ledger.enrol(page, NOW, carried).added for page in pages)

    with ThreadPoolExecutor(3) as threads:
        assert sum(threads.map(enrol, ledgers)) == 5000
    assert [note for (note,) in fleet.rows("SELECT note_id FROM job ORDER BY seq")] == notes
    assert fleet.one("SELECT max(seq) FROM job") == 5000
    assert ledgers[0].counts().queued == 5000


def test_hosts_that_make_the_schema_at_once_make_one(fleet_url: str) -> None:
    with closing(Database(fleet_url, "atonce")) as database:

        def join(part: str) -> int:
            with closing(database.open(part)) as ledger:
                return ledger.enrol([part], None).added

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(join, "abcd")) == [1, 1, 1, 1]
        assert database.one("SELECT count(*) FROM part") == 4
        assert database.one("SELECT count(*) FROM job") == 4


def test_hosts_that_tell_different_endpoints_do_not_mix(
    hosts: Callable[..., PostgresLedger],
) -> None:
    a, b = hosts("a"), hosts("b")
    assert a.identity() is None
    a.identify(Identity("notes/v1", simulated=True))
    a.identify(Identity("notes/v1", simulated=True))
    with pytest.raises(UsageError, match="simulated notes of the endpoint notes/v1"):
        b.identify(Identity("notes/v2", simulated=True))
    assert b.identity() == Identity("notes/v1", simulated=True)


# A database that goes away


def everything(ledger: PostgresLedger, sever: Callable[[], None]) -> None:
    """One of each call; before each, the connection is told when to break."""
    for call in (
        lambda: ledger.begin_run(120),
        lambda: ledger.enrol(["1", "2", "3", "4", "5", "6"], None, {"1": "{}"}),
    ):
        sever()
        call()
    sever()
    jobs = ledger.claim(5, LEASE).jobs
    assert ids(jobs) == ["1", "2", "3", "4", "5"]
    sever()
    assert ledger.mark_sent(jobs, LEASE).jobs == jobs
    sever()
    outcomes = [save(jobs[0]), again(jobs[1]), give_up(jobs[2])]
    assert record(ledger, *outcomes) == []
    sever()
    ledger.release([jobs[3]])
    sever()
    ledger.abandon([jobs[4]], "stopped at once")
    sever()
    assert ledger.adopt([FoundLine("6", 1, NOW, 6)], Checkpoint(6, LINE)) == 1
    sever()
    assert ledger.retry([State.REJECTED]) == 1
    sever()
    ledger.settle(6)
    sever()
    ledger.finish_run("done", 0)


def told(fleet: Database) -> dict[str, list[tuple[object, ...]]]:
    """All that a ledger holds, but for its own numbers."""
    tables = {
        "job": "SELECT to_jsonb(job) - 'run', run = (SELECT id FROM run) FROM job ORDER BY seq",
        "tally": "SELECT * FROM tally ORDER BY state",
        "claim": "SELECT * FROM claim",
        "activity": "SELECT code, calls FROM activity ORDER BY 1",
        "latency": "SELECT bucket, calls FROM latency ORDER BY 1",
        "unanswered": "SELECT seq, how FROM unanswered ORDER BY 1",
        "part": "SELECT uuid, length, synced FROM part WHERE uuid = 'a'",
        "run": "SELECT reason FROM run",
    }
    return {name: fleet.rows(query) for name, query in tables.items()}


def unbroken(stage: Stage) -> dict[str, list[tuple[object, ...]]]:
    """What comes of it where nothing breaks."""
    stage.clear(NOW)
    with closing(stage.database.open("a")) as ledger:
        everything(ledger, lambda: None)
    found = told(stage.database)
    stage.clear(NOW)
    return found


@pytest.mark.parametrize("at", [b"BEGIN", b"COMMIT"])
def test_each_call_is_done_once_whenever_its_connection_breaks(stage: Stage, at: bytes) -> None:
    """Whether it had come through by then or not, and nobody was told."""
    expected, fleet = unbroken(stage), stage.database
    outage = Waited(lambda _seconds: None)
    with Severed(fleet.url) as network:
        with closing(fleet.open("a", url=network.url, outage=outage)) as ledger:
            everything(ledger, lambda: network.sever(at))
        assert network.severed == len(outage.told) == outage.over >= 10
    assert told(fleet) == expected
    assert not any(PASSWORD in said for said in outage.told)


def test_calls_wait_for_a_server_that_was_killed_until_it_is_back(
    database_to_lose: str, server: Server
) -> None:
    stage = Stage(database_to_lose)
    expected, fleet = unbroken(stage), stage.database
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) % 3 == 0:
            server.start()

    with closing(fleet.open("a", outage=Waited(pause))) as ledger:
        killed = iter([False, True, False, True, False, False, True] + [False] * 9)
        everything(ledger, lambda: server.kill() if next(killed) else None)
    assert pauses[:3] == [0.1, 0.2, 0.4]
    fleet.reconnect()
    assert told(fleet) == expected
    stage.close()


def test_a_run_that_stops_waits_no_longer_for_the_database(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    waits: list[float] = []

    class Impatient(Waited):
        def give_up(self) -> bool:
            return len(waits) > 2

    outage = Impatient(waits.append)
    with (
        Cut(fleet.url) as network,
        closing(fleet.open("a", url=network.url, outage=outage)) as ledger,
    ):
        ledger.begin_run(120)
        ledger.enrol(["1"], None)
        (job,) = ledger.claim(1, LEASE).jobs
        network.cut(Mode.RESET)
        with pytest.raises(LocalIOError, match="what was paid for is in OUTPUT") as told_why:
            record(ledger, save(job))
        assert PASSWORD not in str(told_why.value)
        with pytest.raises(LocalIOError):
            ledger.counts()
        network.mend()
        waits.clear()
        assert record(ledger, save(job)) == []


def test_a_network_that_swallows_everything_is_noticed(fleet: Database) -> None:
    with Cut(fleet.url) as network:
        outage = Waited(lambda _: network.mend(), statement=1.0)
        with closing(fleet.open("a", url=network.url, outage=outage)) as ledger:
            ledger.begin_run(120)
            network.cut()
            assert ledger.enrol(["1", "2"], None) == Enrolled(2, 0)
            assert len(outage.told) == 1
            assert ledger.counts().queued == 2
    assert fleet.one("SELECT count(*) FROM job") == 2


def test_a_transaction_that_stands_in_anothers_way_is_done_again(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    # The ledger looks for a deadlock once the other waits too, and the other never does.
    with psycopg.connect(fleet.url, autocommit=True) as db:
        name = Identifier(db.info.dbname)
        db.execute(SQL("ALTER DATABASE {} SET deadlock_timeout = '1s'").format(name))
        a = hosts("a")
        db.execute(SQL("ALTER DATABASE {} RESET deadlock_timeout").format(name))
    a.enrol(["1", "2"], None)
    jobs = a.claim(2, LEASE).jobs
    locks = f"SELECT FROM harvester_{fleet.harvest}.claim WHERE seq = %s FOR UPDATE".encode()
    waits = (
        f"SELECT count(*) FROM {HERE} AND wait_event_type = 'Lock'"
        " AND application_name = 'harvester a'"
    )
    with ThreadPoolExecutor(1) as thread, closing(psycopg.connect(fleet.url)) as other:
        other.execute("SET deadlock_timeout = '60s'")
        other.execute(locks, (jobs[1].seq,))
        recording = thread.submit(record, a, *map(save, jobs))
        until(lambda: fleet.one(waits) == 1, "the ledger to wait for the other")
        # Now each waits for the other; the server ends the one that finds it out.
        other.execute(locks, (jobs[0].seq,))
        other.rollback()
        assert recording.result(30) == []
    assert a.counts().done == 2


def begin_to_send(db: Connection) -> object:
    """As a commit that is stopped before all of it was sent; what is given is to be kept."""
    pipeline = db.pipeline()
    pipeline.__enter__()
    db.execute("BEGIN")
    db.execute("SELECT FROM part FOR UPDATE")
    return pipeline


def begin_to_ask(db: Connection) -> object:
    return Transaction(db, 0, 0, 1).ask(lock("jobs"))


@pytest.mark.parametrize("begin", [begin_to_send, begin_to_ask])
def test_a_host_that_has_stopped_within_a_transaction_is_ended_by_who_waits_for_it(
    fleet: Database,
    hosts: Callable[..., PostgresLedger],
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[Connection], object],
) -> None:
    monkeypatch.setitem(connection._SETTINGS, "lock_timeout", "200ms")  # noqa: SLF001 - sooner
    a, name = hosts("a"), "harvester stopped"
    waits = (
        f"SELECT count(*) FROM {HERE} AND application_name = '{name}'"
        " AND state <> 'idle' AND wait_event = 'ClientRead'"
    )
    with closing(Address.of(fleet.address).connect(name)) as db:
        held = begin(db)
        until(lambda: fleet.one(waits) == 1, "the server to wait for more")
        assert a.enrol(["1"], None) == Enrolled(1)
        del held
    assert a.counts().queued == 1


def test_a_transaction_that_arrives_too_late_is_done_by_nobody(fleet: Database) -> None:
    """What a network held back while it was done again fails, as it is not in its turn."""
    with closing(fleet.open("a")) as ledger:
        ledger.begin_run(120)
        op = fleet.one("SELECT op FROM part WHERE uuid = 'a'")
        late = _TURN.replace("WHERE id", "WHERE uuid")
        with pytest.raises(OutOfTurn):
            fleet.do(late, op - 1, op, None, "a")


# What a user can do wrong


def refused(url: str, harvest: str = "wrong") -> HarvesterError:
    with pytest.raises(HarvesterError) as caught:
        PostgresLedger(FleetAddress(url, harvest), PartIdentity("a", "h", "p"))
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_an_unreachable_database_is_named_without_its_password(fleet_url: str) -> None:
    account = urlsplit(fleet_url).netloc.rpartition("@")[0]
    error = refused(f"postgresql://{account}@127.0.0.1:1/notes")
    assert isinstance(error, LocalIOError)
    assert "database notes at 127.0.0.1:1 cannot be reached" in str(error)


def test_a_wrong_password_says_where_to_put_the_right_one(fleet_url: str) -> None:
    if PASSWORD not in fleet_url:
        pytest.skip("a server that is not ours may let anybody in")
    error = refused(fleet_url.replace(PASSWORD, "wrong"))
    assert isinstance(error, UsageError)
    assert "PGPASSWORD" in str(error)


def test_a_missing_database_says_how_to_make_one(fleet_url: str) -> None:
    error = refused(urlsplit(fleet_url)._replace(path="/nowhere").geturl())
    assert isinstance(error, UsageError)
    assert "createdb" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:%(pw)s@h:x:y/d",
        "postgresql://u:%(pw)s@%(pw)s@h/d",
        "nothing at all %(pw)s",
        "a=b",
    ],
)
def test_an_address_that_is_none_is_not_repeated(url: str) -> None:
    error = refused(url % {"pw": PASSWORD} if "%" in url else url)
    assert isinstance(error, UsageError)
    assert "postgresql://USER@HOST" in str(error)


@pytest.mark.parametrize("name", ["", "A", "a-b", "x" * 41, 'a"; DROP', "日"])
def test_a_harvest_name_is_short_and_plain(fleet_url: str, name: str) -> None:
    assert isinstance(refused(fleet_url, name), UsageError)


def test_a_role_that_may_not_create_is_told_the_grant(fleet_url: str) -> None:
    with psycopg.connect(fleet_url, autocommit=True) as db:
        with suppress(psycopg.errors.DuplicateObject):
            db.execute("CREATE ROLE modest LOGIN PASSWORD 'modest'")
        url = urlsplit(fleet_url)
        place = url.netloc.rpartition("@")[2]
        modest = url._replace(netloc=f"modest:modest@{place}").geturl()
        error = refused(modest, "modest")
        assert isinstance(error, UsageError)
        statement = str(error).rpartition("for all harvests: ")[2]
        assert statement == f'GRANT CREATE ON DATABASE "{url.path[1:]}" TO "modest";'
        db.execute(statement.encode())
        PostgresLedger(FleetAddress(modest, "modest"), PartIdentity("a", "h", "p")).close()
        db.execute("DROP OWNED BY modest CASCADE")
        db.execute("DROP ROLE modest")


def test_a_schema_of_another_role_is_not_used(fleet_url: str) -> None:
    """It could hold functions that would run with our rights."""
    with psycopg.connect(fleet_url, autocommit=True) as db:
        db.execute("CREATE ROLE planter")
        db.execute("CREATE SCHEMA harvester_planted AUTHORIZATION planter")
        db.execute(f"COMMENT ON SCHEMA harvester_planted IS 'harvester schema {NEWEST}'")
        error = refused(fleet_url, "planted")
        assert isinstance(error, UsageError)
        assert "belongs to the role planter" in str(error)
        db.execute("DROP OWNED BY planter CASCADE")
        db.execute("DROP ROLE planter")


def test_a_database_of_another_encoding_is_not_used(fleet_url: str) -> None:
    with psycopg.connect(fleet_url, autocommit=True) as db:
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        latin = urlsplit(fleet_url)._replace(path="/latin").geturl()
        error = refused(latin, "any")
        db.execute("DROP DATABASE latin")
    assert isinstance(error, UsageError)
    assert "keeps text as LATIN1" in str(error)
    assert "createdb -E UTF8" in str(error)


def forget(fleet: Database, part: str) -> None:
    """Have the database as it was some commits ago, as a standby that was behind has."""
    fleet.do("UPDATE part SET op = op - 1 WHERE uuid = %s", part)


def test_a_database_that_forgets_stops_the_host_and_all_others(
    fleet: Database, hosts: Callable[..., PostgresLedger]
) -> None:
    a, b = hosts("a"), hosts("b", tokens=["t1"])
    a.enrol(["1", "2"], None)
    (job,) = b.claim(1, LEASE).jobs
    forget(fleet, "a")
    drop_connection(a)
    with pytest.raises(LocalIOError, match="has forgotten what was committed"):
        a.claim(1, LEASE)
    with pytest.raises(LocalIOError, match="has forgotten what was committed"):
        a.finish_run("done", 0)
    assert b.mark_sent([job], LEASE).jobs == []
    # Its next start takes what OUTPUT holds.
    with closing(fleet.open("a")) as again:
        again.begin_run(120)


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_part_on_two_machines_stops_the_one_that_is_overtaken(
    fleet: Database, hosts: Callable[..., PostgresLedger], *, is_cut: bool
) -> None:
    """Though it has left as many numbers there as it would have found without the other."""
    a = hosts("a")
    a.enrol(["1"], None)
    with closing(fleet.open("a")) as clone:
        clone.begin_run(120)
        if is_cut:
            drop_connection(a)
        with pytest.raises(LocalIOError, match="is on two machines"):
            a.claim(1, LEASE)
        assert len(clone.claim(1, LEASE).jobs) == 1


def test_a_host_whose_connection_is_ended_while_it_opens_opens_once_more(
    fleet: Database,
) -> None:
    """As a clone does that starts at the same moment."""
    with Severed(fleet.url) as way:
        way.sever(b"INSERT 0 1")
        with closing(fleet.open("a", way.url)) as ledger:
            assert ledger.is_new
            ledger.begin_run(120)
        assert way.severed == 1


def test_a_part_that_the_ledger_never_saw_is_told(fleet: Database) -> None:
    # However often its host was killed as it opened.
    for _ in range(2):
        with closing(fleet.open("new")) as ledger:
            assert ledger.is_new
    with closing(fleet.open("new")) as ledger:
        ledger.forget_part()
    with closing(fleet.open("new")) as ledger:
        assert ledger.is_new
        ledger.begin_run(120)
    with closing(fleet.open("new")) as ledger:
        assert not ledger.is_new


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  database "x" does not exist', "createdb -O"),
        ('FATAL:  role "x" does not exist', "createuser -P"),
        ("FATAL:  password authentication failed", "PGPASSWORD"),
        ('FATAL:  no pg_hba.conf entry for host "h", no encryption', "sslmode=verify-full"),
        ("server does not support SSL, but SSL was required", "speaks no SSL"),
        ('root certificate file "/r/root.crt" does not exist', "sslrootcert"),
        ("FATAL:  unsupported startup parameter: options", "pooler"),
        ("connection timeout expired", "cannot be reached"),
    ],
)
def test_each_first_failure_has_its_own_name(said: str, told: str) -> None:
    error = refusal(psycopg.OperationalError(said), Address.of(FleetAddress("postgresql://u@h/x")))
    assert told in str(error)


def test_a_full_disk_of_the_database_is_waited_for() -> None:
    assert is_away(psycopg.errors.DiskFull())


def test_a_foreign_schema_and_a_newer_one_are_left_alone(fleet_url: str) -> None:
    with psycopg.connect(fleet_url, autocommit=True) as db:
        db.execute("CREATE SCHEMA harvester_foreign CREATE TABLE theirs (id int)")
        db.execute("CREATE SCHEMA harvester_newer")
        db.execute(f"COMMENT ON SCHEMA harvester_newer IS 'harvester schema {NEWEST + 1}'")
    foreign, newer = refused(fleet_url, "foreign"), refused(fleet_url, "newer")
    assert isinstance(foreign, LedgerError)
    assert "not harvester's" in str(foreign)
    assert isinstance(newer, LedgerError)
    assert "upgrade harvester" in str(newer)


@contextmanager
def older_schema(fleet_url: str, version: int, rows: str) -> Iterator[Callable[[str], Any]]:
    """A harvest as a harvester of an earlier schema left it; opens parts of it by now."""
    with psycopg.connect(fleet_url, autocommit=True) as db:
        db.execute("CREATE SCHEMA harvester_older")
        db.execute("SET search_path = harvester_older")
        db.execute("".join(_MIGRATIONS[:version]).encode())
        db.execute(f"COMMENT ON SCHEMA harvester_older IS 'harvester schema {version}'".encode())
        db.execute(rows.encode())
        address = FleetAddress(fleet_url, "older")
        yield lambda part: closing(PostgresLedger(address, PartIdentity(part, "h", "p")))
        db.execute("DROP SCHEMA harvester_older CASCADE")


def test_a_rebuild_that_an_older_harvester_began_counts_no_call_twice(fleet_url: str) -> None:
    # The first of these a new schema never has.
    rows = f"""
    CREATE TABLE share (); CREATE TABLE freeing ();
    CREATE INDEX activity_charged ON activity (minute) WHERE code = 0;
    INSERT INTO part (uuid, host, path, rebuilding) VALUES ('a', 'h', 'p', true);
    INSERT INTO job (seq, note_id, due, fetched_at) VALUES (1, '1', 0, {NOW * 1000:.0f});
    UPDATE tally_of_run SET jobs = 1 WHERE state = 0
    """
    with older_schema(fleet_url, 2, rows) as opened, opened("a") as ledger:
        lines = [FoundLine("1", 1, NOW, 3), FoundLine("2", 1, NOW, 6)]
        assert ledger.adopt(lines, Checkpoint(6, LINE)) == 2
        assert ledger.charged_since(0) == 1
        ledger.end_reading()


def test_lines_that_an_older_harvester_counted_are_known_by_moments_or_by_their_number(
    fleet_url: str,
) -> None:
    """Of a part's older lines it knew how many there are, and the moments of some."""

    def at(seconds: int) -> str:
        return f"{(NOW + seconds) * 1000:.0f}"

    rows = f"""
    INSERT INTO part (uuid, host, path, length) VALUES ('a', 'h', 'p', 9), ('b', 'h', 'q', 9);
    INSERT INTO job (seq, note_id, state, part, fetched_at, line_end, lines)
    VALUES (1, '1', 1, 1, {at(9)}, 30, 5), (2, '2', 0, NULL, {at(0)}, NULL, 0);
    INSERT INTO older (part, seq, lines, fetched_at, line_end)
    VALUES (1, 1, 3, {at(5)}, 20), (2, 1, 1, {at(7)}, 3);
    INSERT INTO duplicate (part, seq, line_end, fetched_at, found_at)
    VALUES (1, 1, 20, {at(5)}, 1), (1, 1, 30, {at(9)}, 2);
    INSERT INTO forgotten (part, seq, lines) VALUES (1, 2, 1);
    UPDATE tally_of_run SET jobs = 1 WHERE state < 2
    """
    with older_schema(fleet_url, 14, rows) as opened, opened("a") as ledger:
        address = FleetAddress(fleet_url, "older")
        with reading_fleet(address, "a") as a, reading_fleet(address, "b") as b:
            assert (a.expected_lines(), b.expected_lines()) == (
                ExpectedLines(1, 3, 3, 2),
                ExpectedLines(0, 1, 1, 2),
            )
            told = [(part.notes, part.duplicates) for part in Hosts(a).parts()]
            assert told == [(1, 2), (0, 0)]
        ledger.forget_lines()
        found = [FoundLine("1", 1, NOW + n, 3 * n) for n in (1, 2, 5, 9)]
        assert ledger.adopt([*found, FoundLine("2", 1, NOW, 30)], Checkpoint(30, LINE)) == 1
        ledger.end_reading()
        assert ledger.charged_since(0) == 0
        assert all(map(ledger.knows, found))
        assert ledger.adopt([FoundLine("2", 1, NOW + 1, 33)], Checkpoint(33, LINE)) == 0
        assert ledger.charged_since(0) == 1


def test_a_harvest_that_is_removed_under_a_run_is_told(fleet_url: str) -> None:
    with closing(Database(fleet_url)) as fleet, closing(fleet.open("a")) as a:
        a.begin_run(120)
        fleet.do(f"DROP SCHEMA harvester_{fleet.harvest} CASCADE")
        with pytest.raises(LedgerError, match="gone or damaged"):
            a.counts()


def test_the_password_shows_in_nothing_that_can_be_printed(fleet: Database) -> None:
    with closing(fleet.open("a")) as ledger:
        assert PASSWORD not in repr(vars(ledger)) + repr(vars(ledger._connection))  # noqa: SLF001 - all of it
