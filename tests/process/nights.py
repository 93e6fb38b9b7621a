"""Nights for a report to tell of: some in vain, then one that failed in part and was stopped."""

from __future__ import annotations

import time
from pathlib import Path

from aiohttp import web

from harvester.api.endpoints import DEFAULT_ENDPOINT
from harvester.ledger.protocol import Checkpoint, Identity
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import ledger_path
from harvester.model import Job, Outcome, State
from tests.process.tool import Tool, Upstream

HOSTILE = "笔记不存在</script><script>document.title='taken'</script>\u202e\x1b[31m"
DAY = 86_400.0


async def answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
    """Most notes are good, some are gone in hostile words, some calls fail, one stops it all."""
    if nth == 300:
        return upstream.reply(303)
    if int(note_id, 16) % 20 == 0:
        return upstream.reply(404, message=HOSTILE)
    return upstream.reply(301 if nth % 7 == 0 else 0, {"title": "春日穿搭"})


def failure(job: Job, minute: int) -> Outcome:
    """A collection that failed, some sooner and some later."""
    return Outcome(job, State.QUEUED, 301, "failed", elapsed=0.3 + (job.seq + minute) % 17 / 10)


def earlier_nights(output: Path, ids: list[str]) -> None:
    """Nights in which the collection of all notes failed, as an earlier run would have kept them.

    Real runs of this length are nothing for a test to wait for.
    """
    now = time.time() - 2 * DAY
    ledger = SqliteLedger(ledger_path(output), lambda: now)
    ledger.identify(Identity(DEFAULT_ENDPOINT, simulated=False))
    ledger.enrol(ids, None)
    for _ in range(2):
        ledger.begin_run(120.0)
        for minute in range(40):
            jobs = ledger.claim(20 - minute % 7, 100.0).jobs
            ledger.record([failure(job, minute) for job in jobs], (), Checkpoint())
            now += 60
        ledger.finish_run("SIGTERM", 143)
        now += DAY - 40 * 60
    ledger.close()
    output.touch()


def harvest_nights(tool: Tool) -> None:
    """Nights in vain, then a harvest that failed in part and was stopped by its quota."""
    earlier_nights(tool.output, tool.note_ids(400))
    run = tool.harvest(tool.upstream(answer).url, tool.notes(400))
    assert run.code == 3, run.text
