"""A run that finds OUTPUT held waits for it, if told to, and can be stopped while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3

import pytest

import harvester
from harvester.output.holder import is_held
from tests.process.tool import Started, Tool, Upstream

WAITS = "another run holds OUTPUT"


def holding(tool: Tool, upstream: Upstream) -> Started:
    """A run that holds OUTPUT until the upstream answers."""
    holder = tool.start_harvest(upstream.url, tool.notes(3), "--workers", "1")
    tool.until(lambda: upstream.calls == 1, "a call")
    return holder


def test_a_run_waits_until_the_other_one_has_ended(tool: Tool) -> None:
    upstream = tool.upstream()
    holder = holding(tool, upstream)
    log = tool.folder / "log"
    more = tool.notes(5)
    waiting = tool.start_harvest(upstream.url, more, "--wait-for-lock", "10m", "--log-file", log)
    waiting.says(f"{WAITS}: trying again for 10 min 0 s")
    tool.until(lambda: WAITS in log.read_text(), "a line of the log")
    upstream.open()
    assert holder.finish().code == 0
    ended = waiting.finish()
    assert ended.code == 0, ended.text
    assert ended.err.count(WAITS) == 1
    assert upstream.calls == 5
    assert sorted(tool.saved()) == sorted(tool.note_ids(5))


def test_a_wait_that_is_over_is_told_and_exits_with_75(tool: Tool) -> None:
    upstream = tool.upstream()
    holder = holding(tool, upstream)
    ended = tool.harvest(upstream.url, "--wait-for-lock", "600ms")
    assert ended.code == 75
    assert "It was waited for 1 s" in ended.err
    assert f"`harvester status {tool.output}` tells how far it is" in ended.err
    assert tool.harvest(upstream.url, "--wait-for-lock", "soon").code == 2
    assert holder.is_running


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 143, "")],
)
def test_a_signal_ends_the_waiting_at_once(tool: Tool, number: int, code: int, name: str) -> None:
    upstream = tool.upstream()
    holder = holding(tool, upstream)
    waiting = tool.start_harvest(upstream.url, "--wait-for-lock", "10m")
    waiting.says(WAITS)
    waiting.signal(number)
    ended = waiting.finish()
    assert ended.code == code, ended.text
    assert name in ended.err
    assert "Traceback" not in ended.err
    upstream.open()
    assert holder.finish().code == 0
    assert tool.verify().code == 0


def test_an_interrupt_ends_the_waiting_of_a_run_that_a_shell_started_in_the_background(
    tool: Tool,
) -> None:
    upstream = tool.upstream()
    holder = holding(tool, upstream)
    waiting = tool.start_harvest(
        upstream.url, "--wait-for-lock", "10m", shell="trap '' INT; exec \"$@\""
    )
    waiting.says(WAITS)
    waiting.signal(signal.SIGINT)
    assert waiting.finish().code == 130
    upstream.open()
    assert holder.finish().code == 0


def test_a_signal_ends_the_opening_of_a_ledger_that_another_program_holds(tool: Tool) -> None:
    upstream = tool.upstream()
    upstream.open()
    assert tool.harvest(upstream.url, tool.notes(1)).code == 0
    with contextlib.closing(sqlite3.connect(f"{tool.output}.ledger")) as ledger:
        ledger.execute("PRAGMA locking_mode = EXCLUSIVE")
        ledger.execute("BEGIN EXCLUSIVE")
        opening = tool.start_harvest(upstream.url)
        tool.until(lambda: is_held(tool.output) is not False, "the lock of OUTPUT")
        opening.signal(signal.SIGTERM)
        ended = opening.finish()
    assert ended.code == 143, ended.text
    assert "stopped by SIGTERM before the first call" in ended.err
    assert tool.verify().code == 0


def test_a_signal_ends_the_waiting_for_a_token_that_nobody_writes(tool: Tool) -> None:
    pipe = tool.folder / "token"
    os.mkfifo(pipe)
    log = tool.folder / "log"
    waiting = tool.start(
        *("run", tool.notes(1), "-o", tool.output, "--token-file", pipe, "--log-file", log),
        env=tool.env,
    )
    tool.until(log.exists, "the log file")
    waiting.signal(signal.SIGTERM)
    ended = waiting.finish()
    assert ended.code == 143, ended.text
    assert ended.err == "harvester: stopped by SIGTERM before the first call.\n"
    assert not tool.output.exists()


def test_the_time_of_a_run_goes_on_while_it_waits(tool: Tool) -> None:
    upstream = tool.upstream()
    holder = holding(tool, upstream)
    more = tool.notes(200)
    limits = ("--wait-for-lock", "10m", "--max-runtime", "1ms", "--rate", "5/s")
    waiting = tool.start_harvest(upstream.url, more, *limits)
    waiting.says(WAITS)
    upstream.open()
    assert holder.finish().code == 0
    ended = waiting.finish()
    assert ended.code == 7, ended.text
    assert "--max-runtime is reached" in ended.closing_line


def test_from_python_a_harvest_waits_too_and_can_be_cancelled(tool: Tool) -> None:
    upstream = tool.upstream()

    async def both() -> tuple[int, int]:
        holds, waits = asyncio.Event(), asyncio.Event()

        def hear(event: harvester.Event) -> None:
            if isinstance(event, harvester.RunBegan):
                holds.set()
            if isinstance(event, harvester.Notice) and event.kind == "waiting":
                waits.set()

        def harvest(ids: list[str], patience: str) -> asyncio.Task[harvester.Summary]:
            return asyncio.create_task(
                harvester.harvest(
                    ids,
                    tool.output,
                    token=tool.token,
                    base_url=upstream.url,
                    wait_for_lock=patience,
                    on_event=hear,
                )
            )

        async with asyncio.timeout(30):
            holder = harvest(tool.note_ids(1), "0s")
            await holds.wait()
            waiting = harvest(tool.note_ids(2), "10m")
            await waits.wait()
            cancelled = harvest(tool.note_ids(3), "10m")
            await asyncio.sleep(0)
            cancelled.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await cancelled
            assert cancelled.cancelled()
            upstream.open()
            return (await holder).done, (await waiting).done

    assert asyncio.run(both()) == (1, 2)
