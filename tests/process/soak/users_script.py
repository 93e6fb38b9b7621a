"""A user's script, its types and two mistakes; mypy reads it, nobody runs it."""

from __future__ import annotations

import asyncio
from typing import assert_type

import harvester


def seen(event: harvester.Event) -> None:
    match event:
        case harvester.RunBegan(done=done, queued=queued):
            assert_type(done, int)
            assert_type(queued, int)
        case harvester.CallFinished(note_id=note_id, code=code, elapsed=elapsed):
            assert_type(note_id, str)
            assert_type(code, int | None)
            assert_type(elapsed, float)
        case harvester.Notice(text=text):
            assert_type(text, str)
        case harvester.Stopping(in_flight=in_flight):
            assert_type(in_flight, int)
        case harvester.RunEnded(summary=summary):
            assert_type(summary, harvester.Summary)


async def main() -> int:
    summary = await harvester.harvest(
        ["67f32a94000000001d02eb4a"], "notes.jsonl", rate="5/s", max_charged=10, on_event=seen
    )
    assert_type(summary.by_code["0"], int)
    return summary.exit_code


async def mistaken() -> None:
    await harvester.harvest([], "notes.jsonl", rate=5)  # type: ignore[arg-type]
    await harvester.harvest([], "notes.jsonl", max_charge=10)  # type: ignore[call-arg]


if __name__ == "__main__":
    code: int = asyncio.run(main())
