"""What the system refuses in the middle of a run, memory or room: nothing that came is lost."""

from __future__ import annotations

import re
import resource
import signal
from collections import Counter
from pathlib import Path

from aiohttp import web

from harvester.sides import Side
from tests.process.tool import Tool, Upstream

LONG = "x" * 400_000


def test_a_run_that_gets_no_more_memory_ends_with_its_reason(tool: Tool) -> None:
    async def long_answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        if nth <= 10:
            return upstream.reply(0, {"noteId": note_id})
        await upstream.opened()
        # One alone wants more than short answers have left free, where threads keep none for
        # themselves.
        return upstream.reply(0, {"noteId": note_id, "text": LONG * 5})

    upstream = tool.upstream(long_answer)
    notes = tool.notes(40)
    env = {**tool.env, "JUSTONEAPI_TOKEN": tool.token, "MALLOC_ARENA_MAX": "1"}
    run = tool.start_harvest(upstream.url, notes, "--workers", "20", env=env, cold=True)
    tool.until(lambda: upstream.calls >= 30, "calls in flight")
    pages = int(Path(f"/proc/{run.pid}/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.prlimit(run.pid, resource.RLIMIT_AS, (now, now))
    upstream.open()
    ended = run.finish()
    assert ended.code == 74, ended.text
    assert "the system gives no more memory" in ended.text
    assert "Traceback" not in ended.text
    before = upstream.calls
    again = tool.harvest(upstream.url, notes)
    assert again.code == 0, again.text
    assert sorted(tool.saved()) == sorted(tool.note_ids(40))
    # Paid again is only what was said to have no answer, or not to be written.
    told = re.search(r"(\d+) answers that were paid for could not be written", ended.out)
    doubtful = tool.status()["unanswered"] + (int(told[1]) if told else 0)
    assert before < upstream.calls <= 40 + doubtful


def test_what_came_while_the_disk_was_full_outlives_a_kill_in_the_drain(tool: Tool) -> None:
    answered: list[str] = []
    left: set[str] = set()

    async def answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
        # Some calls keep the run in its drain.
        if not nth % 8:
            left.add(note_id)
            await upstream.opened()
        answered.append(note_id)
        return upstream.reply(0, {"noteId": note_id, "text": LONG[:16_000]})

    upstream = tool.upstream(answer)
    notes = tool.notes(300)
    # Room for 125 notes in OUTPUT, and as much in the file beside it.
    limited = 'ulimit -f 4000; exec "$@"'
    run = tool.start_harvest(upstream.url, notes, "--workers", "40", shell=limited)
    kept = Side.SPOOL.of(tool.output)
    come: list[str] = []

    def is_all_kept() -> bool:
        written, beside = (
            path.read_bytes().count(b"\n") if path.exists() else 0 for path in (tool.output, kept)
        )
        come[:] = answered
        return bool(beside) and written + beside == len(come)

    tool.until(lambda: is_all_kept() or not run.is_running, "all that came to be kept")
    assert run.is_running, run.err
    run.signal(signal.SIGKILL)
    run.finish()
    waiting = set(left)
    upstream.open()
    again = tool.harvest(upstream.url, notes)
    assert again.code == 0, again.text
    assert sorted(tool.saved()) == sorted(tool.note_ids(300))
    assert tool.verify().code == 0
    # Called for twice is what had no answer when it was killed, and nothing that had been kept.
    calls = Counter(note_id for _, note_id in upstream.starts)
    twice = {note_id for note_id, many in calls.items() if many > 1}
    assert waiting <= twice
    assert twice.isdisjoint(come)
