"""Hosts that share one harvest: real processes on a real PostgreSQL, killed, stopped, cut off."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web

from tests.cut import Mode
from tests.postgres import PASSWORD, Postgres, Server
from tests.process.hosts import Hosts
from tests.process.tool import Started, Tool, Upstream, held, until
from tests.process.warm import LEASE_MARGIN, OUTAGE_PATIENCE

# At the rate of the whole fleet. A host claims ahead what it can send in a time: more, the busier
# the machine is. Where each of several is to have some, the rate is lower.
FAST = ("--rate", "90/s", "--backoff-base", "0.01", "--backoff-cap", "0.05", "--progress", "none")
# What a host may take to fall silent, in seconds.
SILENT = 1.0
# A lease is this and its margin.
SHORT = ("--timeout", "1", "--allow-short-timeout")


@pytest.fixture
def hosts_to_strand(database_to_lose: str, tool: Tool) -> Iterator[Hosts]:
    """Hosts on a server that a test may stop."""
    with closing(Hosts(tool, database_to_lose, *FAST)) as hosts:
        yield hosts


@pytest.fixture
def hosts(database: str, tool: Tool) -> Iterator[Hosts]:
    with closing(Hosts(tool, database, *FAST)) as hosts:
        yield hosts


async def prompt(upstream: Upstream, note_id: str, _nth: int) -> web.StreamResponse:
    """An answer at once."""
    return upstream.reply(0, {"noteId": note_id})


def goes_on(upstream: Upstream, many: int = 1) -> None:
    """Wait for so many more calls."""
    before = upstream.calls
    until(lambda: upstream.calls >= before + many, "more calls")


def wait_until(moment: float) -> None:
    """Let time go by in which nothing is to happen."""
    until(lambda: time.monotonic() > moment, "a while")


def two_tokens(tool: Tool) -> Path:
    """A file of the usual token and another."""
    tokens = tool.write("tokens", [tool.token, "tok-another"])
    tokens.chmod(0o600)
    return tokens


def finish_well(*runs: Started) -> None:
    for run in runs:
        ended = run.finish()
        assert ended.code == 0, ended.text


def test_hosts_share_the_notes(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--fail", "301=0.1")
    notes = tool.notes(60)
    runs = [hosts.start(name, simulator.url, notes) for name in "abc"]
    finish_well(*runs)
    page = simulator.charges()
    assert (page["charged"], page["chargedTwice"]) == (60, [])
    hosts.has_each_once(tool.note_ids(60))
    assert set(hosts.lines.values()) == {1}
    assert len(hosts.parts) == 3
    assert (hosts.unanswered, hosts.duplicates) == ([], [])
    assert not any("ms away" in run.err for run in runs)


def test_more_hosts_than_calls_a_period_share_the_work_to_its_end(hosts: Hosts) -> None:
    tool, upstream = hosts.tool, hosts.tool.upstream(prompt)
    notes = tool.notes(5)
    begun = time.monotonic()
    finish_well(*(hosts.start(name, upstream.url, notes, rate=2) for name in "abc"))
    assert time.monotonic() - begun > 4 / 2
    starts = [start for start, _ in upstream.starts]
    # One, and one that a busy machine was late with; hosts that shared nothing would make five.
    assert max(sum(begin <= start < begin + 0.4 for start in starts) for begin in starts) <= 2
    hosts.has_each_once(tool.note_ids(5))


def test_a_host_that_cannot_reach_the_api_leaves_notes_and_rate_to_the_others(hosts: Hosts) -> None:
    tool, upstream = hosts.tool, hosts.tool.upstream(prompt)
    nobody = f"http://127.0.0.1:{tool.free_port()}"
    notes = tool.notes(40)
    cut_off = hosts.start("a", nobody, notes, "--max-attempts", "50", "--backoff-cap", "60")
    cut_off.says("probe: call")
    finish_well(hosts.start("b", upstream.url, notes, "--max-attempts", "50"))
    cut_off.signal(signal.SIGTERM)
    cut_off.finish()
    hosts.has_each_once(tool.note_ids(40))
    assert hosts.unanswered == []


def test_who_is_killed_goes_on_at_once_when_started_again_and_who_goes_gives_back(
    hosts: Hosts,
) -> None:
    async def first_five(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        return await (prompt if nth <= 5 else held)(upstream, note_id, nth)

    tool = hosts.tool
    here, elsewhere, there = map(tool.upstream, (first_five, first_five, prompt))
    notes, few = tool.notes(120), ("--workers", "10")
    killed = hosts.start("a", here.url, notes, *few, rate=40)
    goes = hosts.start("c", elsewhere.url, notes, *few, rate=40)
    tool.until(lambda: here.calls == elsewhere.calls == 15, "as many calls as there may be")
    tool.until(lambda: hosts.written("a") == hosts.written("c") == 5, "the lines of the others")
    second = hosts.start("b", there.url, notes, rate=40)
    killed.signal(signal.SIGKILL)
    killed.finish()
    goes.signal(signal.SIGTERM)
    here.open()
    elsewhere.open()
    assert goes.finish().code == 143, goes.err
    # Whoever waited for a lease would wait for minutes.
    finish_well(hosts.start("a", here.url, notes, rate=40), second)
    called = Counter(note for _, note in [*here.starts, *there.starts, *elsewhere.starts])
    lost = hosts.unanswered
    assert len(lost) == 10
    assert called == {note: 1 + (note in lost) for note in tool.note_ids(120)}
    hosts.has_each_once(tool.note_ids(120))


def test_hosts_that_are_killed_stopped_or_cut_off_are_outlived(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--latency", "300ms")
    notes = tool.notes(140)
    cuts = {name: hosts.cut() for name in "ad"}
    ways = {name: cut.url for name, cut in cuts.items()}
    soon = {OUTAGE_PATIENCE: "1", LEASE_MARGIN: "2"}
    runs = {
        name: hosts.start(
            *(name, simulator.url, notes, *SHORT), rate=30, env=hosts.env(ways.get(name)) | soon
        )
        for name in "abcd"
    }
    tool.until(lambda: all(hosts.written(name) >= 5 for name in runs), "lines")
    cuts["a"].cut(Mode.BLACK_HOLE)
    cuts["d"].cut(Mode.RESET)
    runs["c"].signal(signal.SIGSTOP)
    runs["d"].signal(signal.SIGTERM)
    known = "SELECT count(*) FROM job JOIN part ON part.id = job.part WHERE part.path = %s"

    def unseen() -> int:
        ((seen,),) = hosts.ask(known, str(hosts.part("a")))
        return hosts.written("a") - int(seen)

    tool.until(lambda: unseen() > 0, "lines that the ledger has not seen")
    runs["a"].signal(signal.SIGKILL)
    ended = runs["d"].finish()
    assert ended.code == 74, ended.text
    assert "is away" in ended.err.splitlines()[-1]
    assert "run the same command again" in ended.err.splitlines()[-1]
    finish_well(runs["b"])
    calls = simulator.calls
    runs["c"].signal(signal.SIGCONT)
    back = hosts.start("a", simulator.url, *SHORT, rate=30)
    finish_well(runs["c"], back, hosts.start("d", simulator.url, *SHORT, rate=30))
    page, lost, again = simulator.charges(), hosts.unanswered, hosts.duplicates
    # What was claimed before is not sent after the lease, and nothing of it is sent by two.
    assert page["calls"] == page["charged"] == calls
    hosts.has_each_once(tool.note_ids(140))
    assert again
    assert "were paid for twice" in back.err
    assert set(page["chargedTwice"]) <= {*lost, *again}
    # Calls may have been recorded that were not sent any more.
    assert calls <= hosts.lines.total() + len(lost)


def test_all_wait_while_the_database_is_away_and_tell_its_password_nowhere(
    hosts_to_strand: Hosts, server: Server
) -> None:
    hosts = hosts_to_strand
    tool = hosts.tool
    upstream = tool.upstream(prompt)
    notes = tool.notes(130)
    typed = hosts.env(without="HARVESTER_LEDGER")
    watched = ("-v", "--log-file", tool.folder / "log", "--metrics-file", tool.folder / "metrics")
    runs = [
        hosts.start("a", upstream.url, notes, *watched, rate=50),
        hosts.start("b", upstream.url, notes, "--ledger", hosts.database, rate=50, env=typed),
    ]
    tool.until(lambda: upstream.calls >= 20, "calls")
    server.restart()
    goes_on(upstream, 20)
    server.kill()
    silent = time.monotonic() + SILENT
    wait_until(silent + 0.3)
    assert not [start for start, _ in upstream.starts if start > silent]
    server.start()
    finish_well(*runs)
    for run in runs:
        assert run.err.count("is away") == run.err.count("is back") in (1, 2), run.err
    assert sorted(note for _, note in upstream.starts) == tool.note_ids(130)
    assert set(hosts.lines.values()) == {1}
    hosts.has_each_once(tool.note_ids(130))
    assert "a password in the command shows in the list of processes" in runs[1].err
    assert tool.holding(PASSWORD) == []
    # Read by whoever looks in the database.
    told = hosts.ask("SELECT query FROM pg_stat_activity UNION SELECT path FROM part")
    assert PASSWORD not in str(told)


def test_a_database_that_is_too_far_for_the_rate_is_told(hosts: Hosts) -> None:
    upstream, cut = hosts.tool.upstream(), hosts.cut()
    cut.delay = 0.02
    far = hosts.start("a", upstream.url, hosts.tool.notes(5), rate=600, ledger=cut.url)
    far.says("ms away, there and back: no more than about")
    upstream.open()
    finish_well(far)


def test_a_host_that_is_cut_off_falls_silent_and_comes_back(hosts: Hosts) -> None:
    tool = hosts.tool
    cut = hosts.cut()
    here, there = tool.upstream(prompt), tool.upstream(prompt)
    notes = tool.notes(250)
    runs = [
        hosts.start("a", here.url, notes, rate=40, ledger=cut.url),
        hosts.start("b", there.url, notes, rate=40),
    ]
    goes_on(here)
    goes_on(there)
    cut.cut(Mode.BLACK_HOLE)
    silent = time.monotonic() + SILENT
    wait_until(silent + 0.3)
    assert not [start for start, _ in here.starts if start > silent]
    goes_on(there, 10)
    cut.mend()
    goes_on(here)
    for run in runs:
        run.signal(signal.SIGTERM)
        assert run.finish().code == 143
    finish_well(hosts.start("a", here.url, rate=1000), hosts.start("b", there.url, rate=1000))
    called = Counter(note for _, note in [*here.starts, *there.starts])
    assert called == dict.fromkeys(tool.note_ids(250), 1)
    assert hosts.lines == called
    hosts.has_each_once(tool.note_ids(250))


@pytest.mark.parametrize(("code", "exit_code"), [(303, 3), (100, 5)])
def test_a_stop_that_one_host_is_told_is_for_all(hosts: Hosts, code: int, exit_code: int) -> None:
    told = []

    async def refusing(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth < 10:
            return await prompt(upstream, note_id, nth)
        told.append(time.monotonic())
        return upstream.reply(code)

    tool = hosts.tool
    here, there = tool.upstream(refusing), tool.upstream(prompt)
    notes = tool.notes(1000)
    other = hosts.start("b", there.url, notes)
    tool.until(lambda: there.calls >= 1, "a call")
    for run in (hosts.start("a", here.url, notes), other):
        ended = run.finish()
        assert ended.code == exit_code, ended.text
    assert max(start for start, _ in [*here.starts, *there.starts]) < told[0] + SILENT
    assert hosts.lines.total() == here.calls + there.calls - len(told)


def test_a_token_that_is_used_up_rests_on_all_hosts(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--token-budget", "30")
    notes = tool.notes(20, seed=2)
    assert tool.harvest(simulator.url, notes).code == 0
    tokens = two_tokens(tool)
    notes = tool.notes(40)
    env = hosts.env(without="JUSTONEAPI_TOKEN")
    given = (notes, "--token-file", tokens)
    runs = [hosts.start(name, simulator.url, *given, env=env) for name in "ab"]
    finish_well(*runs)
    for run in runs:
        assert "token 1 of 2 is disabled (balance" in run.err, run.err
    page = simulator.charges()
    assert page["charged"] == 60
    # Those in flight when the first was told.
    assert page["byCode"]["602"] <= 6
    hosts.has_each_once(tool.note_ids(40))


def test_a_stop_of_an_account_has_each_of_its_tokens_asked_once_on_all_hosts(
    hosts: Hosts,
) -> None:
    tool, told = hosts.tool, []

    async def slow(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth < 40:
            return await prompt(upstream, note_id, nth)
        told.append(time.monotonic())
        # Who waits for its own to be told would send on meanwhile.
        await asyncio.sleep(0 if upstream is here else 1.5)
        return upstream.reply(601)

    here, there = tool.upstream(slow), tool.upstream(slow)
    notes = tool.notes(1000)
    other = hosts.start(
        "b", there.url, notes, env={**hosts.env(), "JUSTONEAPI_TOKEN": "tok-another"}
    )
    tool.until(lambda: there.calls > 20, "calls")
    for run in (hosts.start("a", here.url, notes), other):
        ended = run.finish()
        assert ended.code == 4, ended.text
    stopped = min(start for start, _ in here.starts[39:])
    assert sum(start > stopped + SILENT for start, _ in there.starts) <= 1


def test_who_waits_for_the_next_day_leaves_its_notes_to_who_can_send_them(hosts: Hosts) -> None:
    async def used_up(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        return await prompt(upstream, note_id, nth) if nth < 10 else upstream.reply(303)

    tool = hosts.tool
    here, there = tool.upstream(used_up), tool.upstream(prompt)
    waits = hosts.start("a", here.url, "--wait-quota", tool.notes(100))
    waits.says("waiting until")
    rests = "SELECT count(*) FROM member WHERE resumes_at > 0"
    tool.until(lambda: hosts.ask(rests) == [(1,)], "the ledger to be told")
    told = tool.run("status", env=hosts.env())
    assert "waits for the next day, until" in told.out, told.text
    another = {**hosts.env(), "JUSTONEAPI_TOKEN": "tok-another"}
    finish_well(hosts.start("b", there.url, env=another), waits)
    hosts.has_each_once(tool.note_ids(100))


def test_a_token_is_asked_again_on_the_vendors_next_day_while_hosts_live(hosts: Hosts) -> None:
    tool, is_next_day = hosts.tool, threading.Event()

    async def refusing(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if upstream.tokens[nth - 1] == tool.token and not is_next_day.is_set():
            return upstream.reply(303)
        await asyncio.sleep(0.05)
        return upstream.reply(0, {"noteId": note_id})

    upstream = tool.upstream(refusing)
    tokens = two_tokens(tool)
    env = hosts.env(without="JUSTONEAPI_TOKEN")
    given = (tool.notes(3000), "--token-file", tokens)
    run = hosts.start("a", upstream.url, *given, "--harvest", "days", env=env)
    tool.until(lambda: len(upstream.tokens) > 40, "calls")
    run.says("token 1 of 2 is disabled")
    is_next_day.set()
    rested = upstream.tokens.count(tool.token)
    # As the database's clock has it.
    with psycopg.connect(hosts.database, autocommit=True) as db:
        db.execute(
            "CREATE OR REPLACE FUNCTION harvester_days.now_ms() RETURNS bigint LANGUAGE sql"
            " VOLATILE AS 'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            " + 86400000'"
        )
    tool.until(lambda: upstream.tokens.count(tool.token) > rested + 5, "calls with the token")
    run.signal(signal.SIGINT)
    assert run.finish().code == 130


def test_what_the_account_paid_is_told_of_all_hosts_once_they_have_ended(hosts: Hosts) -> None:
    tool = hosts.tool
    simulator = tool.simulate("--price", "0.05", "--balance", "100")
    # So many that there are notes left for the second, however late it comes.
    runs = [hosts.start(name, simulator.url, tool.notes(1000)) for name in "ab"]
    tool.until(lambda: all(hosts.written(name) > 0 for name in "ab"), "a call of each")
    on = json.loads(tool.run("status", "--json", env=hosts.env()).out)
    assert (on["account"], on["balance"] is None) == (None, False)
    for run in runs:
        run.signal(signal.SIGTERM)
    for run in runs:
        ended = run.finish()
        assert ended.code == 143, ended.text
        assert "hosts share the account: `harvester status` tells" in ended.out
    told = json.loads(tool.run("status", "--json", env=hosts.env()).out)
    assert (told["account"]["spent"], told["price"]) == (round(told["charged"] * 0.05, 2), 0.05)
    assert (told["account"]["agreement"], told["account"]["difference"]) == ("same", 0)
    assert [run["account"] for run in told["runs"]] == [None, None]


def test_caps_hold_for_the_fleet(hosts: Hosts) -> None:
    """Each in a harvest of its own, on two hosts."""

    async def failing(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        return upstream.reply(301) if nth % 5 == 0 else await prompt(upstream, note_id, nth)

    tool = hosts.tool
    notes = tool.notes(200)
    caps = ("charged-daily", "calls")
    upstreams = {cap: tool.upstream(failing) for cap in caps}
    runs = {
        (cap, name): hosts.start(
            f"{cap}-{name}",
            upstreams[cap].url,
            *(notes, f"--max-{cap}", "42", "--harvest", cap.replace("-", "_")),
        )
        for cap in caps
        for name in "ab"
    }
    for (cap, _), run in runs.items():
        ended = run.finish()
        assert ended.code == 7, ended.text
        assert f"--max-{cap} is reached" in ended.out
    saved = {cap: one.calls - one.calls // 5 for cap, one in upstreams.items()}
    assert (saved["charged-daily"], upstreams["calls"].calls) == (42, 42)
    assert hosts.lines.total() == sum(saved.values())


def test_one_host_that_is_refused_slows_all(hosts: Hosts) -> None:
    has_heard = threading.Event()

    async def refusing(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth <= 10 or has_heard.is_set():
            return await prompt(upstream, note_id, nth)
        return upstream.reply(302)

    async def late(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        """Who is to hear of it is not done before."""
        await asyncio.to_thread(has_heard.wait, 60)
        return await prompt(upstream, note_id, nth)

    tool = hosts.tool
    here, there = tool.upstream(refusing), tool.upstream(late)
    # So many that the second, which comes to an end with none, leaves enough to the first.
    notes = tool.notes(1000)
    one = hosts.start("a", here.url, notes)
    other = hosts.start("b", there.url, notes, "--workers", "8")
    other.says("rate limit, met by another host")
    has_heard.set()
    for host in (one, other):
        host.signal(signal.SIGTERM)
        ended = host.finish()
        assert ended.code == 143, ended.text
    assert set(hosts.lines.values()) == {1}


def refused(run: Started, code: int, *words: str) -> None:
    """A host says at its start, in one line, what is wrong and what to do."""
    ended = run.finish()
    assert ended.code == code, ended.text
    (line,) = ended.text.strip().splitlines()
    assert line.startswith("harvester: error: "), line
    for word in words:
        assert word in line
    assert PASSWORD not in line


def test_what_cannot_be_shared_is_refused_before_the_first_call(hosts: Hosts) -> None:
    tool, upstream = hosts.tool, hosts.tool.upstream(prompt)
    notes = tool.notes(3)
    alone = hosts.env(without="HARVESTER_LEDGER")
    single = tool.start_harvest(upstream.url, notes)
    finish_well(hosts.start("a", upstream.url, notes), single)
    calls = upstream.calls

    def run(output: Path, *args: str | Path, env: Mapping[str, str] | None = None) -> Started:
        api = ("--base-url", upstream.url)
        return tool.start("run", "-o", output, notes, *api, *args, env=env or hosts.env())

    fresh = [tool.folder / f"fresh-{n}.jsonl" for n in range(4)]
    both = run(tool.output, "--harvest", "default")
    own = run(tool.output)
    named = run(fresh[0], "--harvest", "No!")
    elsewhere = run(fresh[1], "--endpoint", "xiaohongshu/note-detail/v1")
    simulated = run(fresh[2], "--simulate", "--harvest", "default")
    homeless = run(fresh[3], "--harvest", "x", env=alone)
    lonely = run(hosts.part("a"), env=alone)
    # One that is only exported is for others.
    finish_well(own)
    assert "the ledger is the one beside" in own.err
    refused(both, 2, f"{tool.output.name}.ledger", "another --output")
    refused(named, 2, "harvest name", "a-z, 0-9 and _")
    refused(elsewhere, 2, "the harvest default holds real notes", "another --harvest")
    refused(simulated, 2, "the harvest default holds real notes", "another --harvest")
    refused(homeless, 2, "--ledger, or HARVESTER_LEDGER")
    refused(lonely, 2, "--ledger or HARVESTER_LEDGER", "--harvest default")
    other = run(hosts.part("a"), "--harvest", "other")
    refused(other, 2, "the harvest default, not of other", "--harvest default")
    assert not list(tool.folder.glob("fresh*"))
    assert upstream.calls == calls


def test_a_database_that_never_saw_a_part_with_notes_pays_for_none_again(
    hosts: Hosts, postgres: Postgres
) -> None:
    tool, upstream = hosts.tool, hosts.tool.upstream(prompt)
    notes = tool.notes(6)
    finish_well(hosts.start("a", upstream.url, notes))
    other = postgres.new_database()
    refused(hosts.start("a", upstream.url, notes, ledger=other), 2, "does not know", "--rebuild")
    assert upstream.calls == 6
    finish_well(hosts.start("a", upstream.url, notes, "--rebuild", ledger=other))
    assert upstream.calls == 6
    postgres.drop_database(other)


def test_a_database_that_cannot_be_used_is_named_without_its_password(hosts: Hosts) -> None:
    tool = hosts.tool
    place = urlsplit(hosts.database)
    user = f"postgres:{PASSWORD}"
    closed = f"127.0.0.1:{tool.free_port()}"

    def run(name: str, ledger: str) -> Started:
        run = ("run", tool.notes(3), "-o", hosts.part(name), "--base-url", "http://127.0.0.1:9")
        return tool.start(*run, env=hosts.env(ledger))

    wrong = (
        (f"mysql://{user}@{place.hostname}/x", 2, "postgresql://USER@HOST:5432/DATABASE"),
        (f"postgresql://postgres:{PASSWORD}/x@h/d", 2, "postgresql://USER@HOST:5432/DATABASE"),
        (hosts.database.replace(PASSWORD, "wrong"), 2, "PGPASSWORD or ~/.pgpass"),
        (hosts.database + "_gone", 2, "createdb"),
        (place._replace(netloc=f"{user}@{closed}").geturl(), 74, "PostgreSQL runs"),
    )
    runs = [run(str(n), ledger) for n, (ledger, _, _) in enumerate(wrong)]
    for started, (_, code, word) in zip(runs, wrong, strict=True):
        refused(started, code, word)
    assert hosts.parts == []


def test_a_schedule_says_whether_its_line_will_reach_the_ledger(hosts: Hosts) -> None:
    tool, home = hosts.tool, hosts.tool.folder
    tokens = tool.write("tokens", [tool.token])
    words = ("schedule", hosts.part("a"), tool.notes(1), "--token-file", tokens, "--at", "1:30")
    place = urlsplit(hosts.database)
    env = {**tool.env, "HOME": str(home), "PGPASSWORD": PASSWORD}
    refused = tool.run(*words, env={**env, "HARVESTER_LEDGER": hosts.database})
    assert refused.code == 0
    assert "the printed line will not work" in refused.err
    assert "~/.pgpass" in refused.err
    kept = tool.write(".pgpass", [f"{place.hostname}:{place.port}:*:{place.username}:{PASSWORD}"])
    kept.chmod(0o600)
    works = tool.run(*words, "--ledger", hosts.database, env=env)
    assert (works.code, "will not work" in works.err) == (0, False), works.err
    assert PASSWORD not in refused.text + works.text


def test_all_hosts_keep_to_one_rate(hosts: Hosts) -> None:
    tool, upstream = hosts.tool, hosts.tool.upstream()
    notes = tool.notes(3)
    first = hosts.start("a", upstream.url, notes)
    tool.until(lambda: upstream.calls == 3, "calls")
    refused(hosts.start("b", upstream.url, notes, rate=5), 2, "the same --rate")
    first.signal(signal.SIGSTOP)
    tool.until(lambda: hosts.alive == 0, "the first to be taken for dead")
    second = hosts.start("b", upstream.url, rate=5)
    tool.until(lambda: hosts.ask("SELECT rate FROM pace") == [("5 calls/s",)], "the second to join")
    first.signal(signal.SIGCONT)
    first.says("nothing is sent from here: another host of this harvest")
    upstream.open()
    finish_well(first, second)
    assert first.err.count("nothing is sent") == 1
