"""Plays a story: runs that crash and resume until all is done, then the promises, one by one."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from harvester.config import RunConfig
from harvester.engine.alone import Alone
from harvester.engine.clients import TokenClient
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.open_output import begin, open_output
from harvester.engine.ports import Ports
from harvester.engine.run import PriorState, Run
from harvester.errors import LocalIOError, OutputMismatchError
from harvester.ledger.keys import from_key
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.model import Page, StopReason, Summary
from harvester.output.sink import Sink
from harvester.output.verify import Checked, Remedy, verify
from harvester.pace import Throttle
from harvester.parsing import Rate
from harvester.rules.backoff import RetryLimits
from harvester.secret import Secret
from tests.crashes.edits import COPY, OUTPUT, doubled_in, notes_in, obey, take_out
from tests.crashes.server import MAY_BE_CHARGED, Call, Server, note_id
from tests.crashes.story import RARE_STORES, STORES, Fate, Kind, Story
from tests.crashes.unread import UnreadLog
from tests.crashes.world import KEPT, LEDGER, SPOOL, WAL, CrashError, World
from tests.virtual import InlineExecutor, VirtualLoop

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
START = 1_795_363_200.0
RETRY_LIMITS = RetryLimits(3, 1, 1.0, 30.0)
# Longer than any answer takes to come.
TIMEOUT = 10.0
# A power cut takes no more than what was done since the ledger was last settled.
_LAST_SECOND = 1.3


@dataclass
class Played:
    """A story being played, and what was found wrong."""

    story: Story
    folder: Path
    server: Server
    clock: float = START
    boot: int = 1
    run: int = 0
    problems: list[str] = field(default_factory=list)
    power_cuts: list[float] = field(default_factory=list)
    deaths: int = 0
    lost_ledger: bool = False
    kept: bytes = b""
    is_edited: bool = False
    removed: set[str] = field(default_factory=set)
    bought_again: set[str] = field(default_factory=set)
    rebuilds: bool = False

    @property
    def place(self) -> Path:
        return self.folder / str(self.run)

    @property
    def output(self) -> Path:
        return self.place / OUTPUT


def play(story: Story, folder: Path) -> list[str]:
    """Everything that went against the promises."""
    played = Played(story, folder, Server(story))
    played.place.mkdir()
    for fate in story.fates:
        _run_once(played, fate)
        if played.problems:
            return played.problems
    for _ in range(3 * len(story.notes) * 6 + 10):
        summary = _run_once(played, Fate())
        if played.problems:
            return played.problems
        is_over = summary is not None and summary.exit_code in (0, 1) and not summary.exhausted
        if is_over and not _mend_doubled(played):
            return played.problems or list(_broken_promises(played))
    return ["it never ends"]


def _run_once(played: Played, fate: Fate) -> Summary | None:
    played.clock += fate.rest + fate.clock_step
    if fate.loses_ledger and not played.power_cuts:
        _lose_ledger(played)
    if fate.stores and played.output.exists():
        played.output.write_bytes((STORES | RARE_STORES)[fate.stores](played.output.read_bytes()))
        played.kept = b""
    summary, said = None, ""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _loop, _context: None)
    world = World(played.place, fate.fault, loop.elapse)
    # Doubled lines stay until the end; what stores them anew needs to be told that it may be read.
    played.is_edited |= world.may_be_edited or doubled_in(played.output) > 0
    server = played.server
    server.world, server.run, server.now = world, played.run, played.clock
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            summary = runner.run(_live(played, fate, world))
            said = summary.detail if summary.reason == StopReason.LOCAL_IO.value else ""
        except* CrashError:
            pass
        except* (LocalIOError, OutputMismatchError) as errors:
            said = _first(errors)
            if not played.is_edited and (fate.fault is None or fate.fault.kind is not Kind.FULL):
                played.problems.append(f"run {played.run + 1} raised {said}")
        except* Exception as errors:  # noqa: BLE001 - told as what it is
            played.problems.append(f"run {played.run + 1} raised {errors.exceptions}")
    played.clock += loop.time()
    if played.is_edited:
        _heed(played, world, said)
        # Only a run that came to its end has looked at OUTPUT as it is.
        if summary is not None and not (said or world.may_be_edited):
            played.is_edited = False
            played.output.with_name(COPY).unlink(missing_ok=True)
    _next_start(played, world)
    return summary


def _first(errors: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _heed(played: Played, world: World, said: str) -> None:
    """After an edit do as the program says, until it has nothing to say."""
    output = played.output
    played.kept = b""
    played.removed |= world.removed
    played.rebuilds = "--rebuild" in obey(output, said)
    if played.rebuilds:
        beside = (output.with_name(name) for name in (KEPT, SPOOL))
        played.bought_again |= played.removed - notes_in(output, *beside)


def _mend_doubled(played: Played) -> bool:
    """Take out the lines that are there twice, as `verify` says; gives whether there were any."""
    with reading(ledger_path(played.output)) as reader:
        damages = list(verify(played.output, reader, Checked()))
    doubled = {d.line for d in damages if (d.name, d.remedy) == ("duplicate", Remedy.TAKE_OUT)}
    many = doubled_in(played.output)
    if len(doubled) != many or (many and not played.story.doubles):
        played.problems.append(f"{many} lines are doubled, verify says {damages}")
    played.rebuilds = bool(doubled)
    if doubled:
        take_out(played.output, doubled)
        played.kept = b""
    return bool(doubled)


def _lose_ledger(played: Played) -> None:
    played.lost_ledger = True
    for name in (LEDGER, WAL):
        (played.place / name).unlink(missing_ok=True)


def _next_start(played: Played, world: World) -> None:
    """Put what is left of the files where the next start finds them."""
    files = world.remains()
    world.bury()
    played.deaths += world.is_dead
    if world.died_of is Kind.POWER:
        played.boot += 1
        played.power_cuts.append(played.clock)
        played.kept = b""
    else:
        _check_kept(played, files.get(OUTPUT, b""))
    played.run += 1
    played.place.mkdir()
    for name, data in files.items():
        (played.place / name).write_bytes(data)


def _check_kept(played: Played, output: bytes) -> None:
    # Holes are taken out, sooner or later.
    output = output.replace(b"\0", b"")
    if not output.startswith(played.kept):
        played.problems.append(f"run {played.run + 1} lost lines that were there before it")
    played.kept = output[: output.rfind(b"\n") + 1]


async def _live(played: Played, fate: Fate, world: World) -> Summary:
    loop = asyncio.get_running_loop()
    clock = played.clock
    host = Environment(
        lambda: clock + loop.time(),
        world.disk,
        world.connection(),
        str(played.boot),
        played.story.bulk_after,
        world.look,
    )
    story = played.story
    config = RunConfig(
        output=played.output,
        inputs=("ids.txt",),
        rate=Rate(story.per_second, 1.0),
        workers=story.workers,
        timeout=TIMEOUT,
        sync=story.sync,
        rebuild=played.rebuilds,
        tokens=(Secret("t"),),
        endpoint=ENDPOINT,
        max_attempts=RETRY_LIMITS.max_attempts,
        max_unanswered=RETRY_LIMITS.max_unanswered,
        backoff_base=RETRY_LIMITS.base,
        backoff_cap=RETRY_LIMITS.cap,
    )
    waiting = _waiting(played, host.clock())
    opened = open_output(config, host)
    begin(opened, config, host)
    client = TokenClient("token", played.server, Throttle(config.top_rate))
    log = UnreadLog(world.stall) if fate.is_unread else None
    run = Run(_ports(played, config, opened, host, log), [client], PriorState())
    try:
        summary = await _harvested(played, fate, run)
    finally:
        if log is not None:
            played.problems += (f"run {played.run + 1} {problem}" for problem in log.end())
    opened.ledger.finish_run(summary.reason, summary.exit_code)
    opened.close()
    _check_run(played, waiting, summary, is_aborted=run.state.is_aborted)
    return summary


async def _harvested(played: Played, fate: Fate, run: Run) -> Summary:
    async with played.server.reached(TIMEOUT), asyncio.TaskGroup() as group:
        for at, act in ((fate.stop_at, _stop), (fate.abort_at, Run.abort)):
            if at is not None:
                group.create_task(_later(at, act, run))
        return await run.run()


def _stop(run: Run) -> None:
    run.stop(StopReason.SIGTERM)


async def _later(seconds: float, act: Callable[[Run], None], run: Run) -> None:
    await asyncio.sleep(seconds)
    act(run)


def _ports(
    played: Played,
    config: RunConfig,
    opened: OpenOutput,
    host: Environment,
    log: UnreadLog | None,
) -> Ports:
    inline = InlineExecutor()
    return Ports(
        config,
        opened.ledger,
        inline,
        inline,
        Sink(opened.output, opened.spool, inline),
        pages_of(len(played.story.notes)),
        host.clock,
        lambda: 0.5,
        Alone(),
        () if log is None else (log.tell,),
    )


async def pages_of(many: int) -> AsyncIterator[Page]:
    """Two pages, the second with duplicates of the first."""
    ids = [note_id(n) for n in range(many)]
    yield Page(ids[: many // 2 + 1])
    yield Page(ids)


def _rows(played: Played, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(ledger_path(played.output))) as db:
        return db.execute(query).fetchall()


def _waiting(played: Played, now: float) -> dict[int, float]:
    """The notes that wait for their next try before a run begins, with when they are due.

    Read from a copy: opening the ledger itself would mend it. No wait is longer than the cap.
    """
    copied = [
        Path(shutil.copy(played.place / name, played.folder / f"copy{name}"))
        for name in (LEDGER, WAL)
        if (played.place / name).exists()
    ]
    query = (
        "SELECT note_id, due FROM job WHERE state = 0 AND due > 0"
        " AND seq NOT IN (SELECT seq FROM claim)"
    )
    try:
        with closing(sqlite3.connect(played.folder / f"copy{LEDGER}")) as db:
            rows = db.execute(query).fetchall()
    except sqlite3.OperationalError:  # no ledger yet
        return {}
    finally:
        for path in copied:
            path.unlink(missing_ok=True)
    return {
        int(from_key(key)[8:], 16): min(due / 1000, now + RETRY_LIMITS.cap)
        for key, due in rows
        if due / 1000 > now
    }


# The promises


def _check_run(
    played: Played, waiting: dict[int, float], summary: Summary, *, is_aborted: bool
) -> None:
    """What holds for each run that ended by itself."""
    server, run = played.server, played.run
    for note in range(len(played.story.notes)):
        calls = server.of(note, run)
        tries = Counter(call.answer for call in calls)
        if tries["301"] > RETRY_LIMITS.max_attempts or len(calls) - tries["302"] > 3 * 3:
            played.problems.append(f"note {note} was tried {dict(tries)} in one run")
        if tries["lost"] + tries["broken"] > RETRY_LIMITS.max_unanswered + 1:
            played.problems.append(f"note {note} was unanswered too often: {dict(tries)}")
        if calls and note in waiting and calls[0].at < waiting[note] - 0.01:
            played.problems.append(f"note {note} was sent {waiting[note] - calls[0].at} s early")
        played.problems += _hasty(note, calls)
    were = len(server.unanswered(run))
    if summary.unanswered != were and not is_aborted:
        said = f"{summary.unanswered} calls are said to be unanswered, {were} were"
        played.problems.append(f"run {run + 1}: {said}")
    if not summary.detail and summary.exit_code in (0, 1) and summary.queued:
        played.problems.append(f"{summary.queued} left queued by {summary.reason}")


def _hasty(note: int, calls: list[Call]) -> Iterator[str]:
    for before, after in pairwise(calls):
        if before.answer in ("301", "500", "garbage") and after.at - before.at < 0.5:
            yield f"note {note} was tried again after {after.at - before.at} s"


def _broken_promises(played: Played) -> Iterator[str]:
    """What must hold once all is done, whatever went wrong on the way."""
    yield from _of_output(played)
    if not played.lost_ledger:
        yield from _of_charges(played)
        yield from _of_attempts(played)
    (claims,) = _rows(played, "SELECT count(*) FROM claim")[0]
    if claims:
        yield f"{claims} jobs are claimed for ever"
    tally = dict(_rows(played, "SELECT state, jobs FROM tally WHERE jobs <> 0"))
    found = dict(_rows(played, "SELECT state, count(*) FROM job GROUP BY state"))
    if tally != found:
        yield f"the tally says {tally}, the jobs are {found}"


def _of_output(played: Played) -> Iterator[str]:
    text = played.output.read_bytes() if played.output.exists() else b""
    lines = Counter(json.loads(line)["noteId"] for line in text.splitlines() if line)
    for note, answers in enumerate(played.story.notes):
        rejected = any(call.answer == "202" for call in played.server.of(note))
        most = 1
        if lines[note_id(note)] > most or (not lines[note_id(note)] and not rejected):
            yield f"note {note} ({answers}) is on {lines[note_id(note)]} lines"
    with reading(ledger_path(played.output)) as reader:
        for damage in verify(played.output, reader, Checked()):
            yield f"verify: {damage}"


def _of_charges(played: Played) -> Iterator[str]:
    """Each charge is a line, or an unanswered call that is known."""
    unanswered = Counter(
        int(from_key(key)[8:], 16)
        for (key,) in _rows(
            played, "SELECT note_id FROM unanswered JOIN job ON job.seq = unanswered.seq"
        )
    )
    text = played.output.read_bytes()
    lines = Counter(int(json.loads(line)["noteId"][8:], 16) for line in text.splitlines() if line)
    for note in range(len(played.story.notes)):
        garbage = [call for call in played.server.of(note) if call.answer == "garbage"]
        # What cannot be read counts as what was charged: no less, and below, no more.
        owed = [*played.server.charges(note), *(call for call in garbage if call.landed)]
        lost = sum(_in_last_second(played, call) for call in owed)
        missing = len(owed) - lines[note] - unanswered[note]
        missing -= note_id(note) in played.bought_again
        if missing > (0 if played.story.sync else lost):
            yield f"note {note}: {missing} of {len(owed)} charges are not known of"
        cut_short = sum(not call.landed for call in played.server.of(note))
        told = cut_short + sum(c.answer in MAY_BE_CHARGED for c in played.server.of(note))
        if unanswered[note] > told + _cuts(played):
            yield f"note {note}: {unanswered[note]} calls said to be unanswered, {told} were"
    ((charged,),) = _rows(played, "SELECT coalesce(sum(calls), 0) FROM activity WHERE code = 0")
    if not (played.power_cuts or played.bought_again) and charged != lines.total():
        yield f"{charged} calls counted as charged, {lines.total()} lines"


def _in_last_second(played: Played, call: Call) -> bool:
    """Whether a power cut may have taken all that was known of a call."""
    return any(0 <= cut - call.at <= _LAST_SECOND + 1.1 for cut in played.power_cuts)


def _cuts(played: Played) -> int:
    """How often a run could not record all it knew: it died or was aborted, or OUTPUT took none."""
    fates = played.story.fates
    took_none = (Kind.FULL, Kind.EDIT)
    full = sum(fate.fault is not None and fate.fault.kind in took_none for fate in fates)
    return played.deaths + full + sum(fate.abort_at is not None for fate in fates)


def _of_attempts(played: Played) -> Iterator[str]:
    for line in filter(None, played.output.read_bytes().splitlines()):
        told = json.loads(line)
        calls = played.server.of(int(told["noteId"][8:], 16))
        made = sum(call.answer not in ("302", "303") for call in calls)
        if told["attempts"] > made + _cuts(played):
            yield f"{told['noteId']} says {told['attempts']} attempts, there were {made}"
        if not _cuts(played) and told["attempts"] < made:
            yield f"{told['noteId']} says {told['attempts']} attempts, there were {made}"
