"""No frame of ours shows a secret, whatever prints its locals: rich, Sentry, a debugger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import harvester
from harvester.sides import Side

HOUSE = str(Path(harvester.__file__).parent)
TOKEN = "s3cret-token-of-mine"  # noqa: S105 - the one that must not be shown
ID = "67f32a94000000001d02eb4a"
ANSWER = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{"code":0,"data":{}}'


def errors_in(error: BaseException | None) -> Iterator[BaseException]:
    """An error with all that it came from, and all that it is a group of."""
    if error is not None:
        yield error
        yield from errors_in(error.__cause__)
        yield from errors_in(error.__context__)
        for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            yield from errors_in(one)


def frames_of(error: BaseException) -> Iterator[FrameType]:
    for one in errors_in(error):
        trace = one.__traceback__
        while trace is not None:
            yield trace.tb_frame
            trace = trace.tb_next


def frames_at_work() -> Iterator[FrameType]:
    """The frames of all coroutines that wait in this loop."""
    for task in asyncio.all_tasks():
        waiting: Any = task.get_coro()
        while waiting is not None:
            for kind in ("cr", "ag", "gi"):
                if (frame := getattr(waiting, f"{kind}_frame", None)) is not None:
                    yield frame
            waiting = getattr(waiting, "cr_await", getattr(waiting, "ag_await", None))


def shown(frames: Iterator[FrameType]) -> dict[str, str]:
    """What the locals of our frames look like, by where they are."""
    ours = [frame for frame in frames if frame.f_code.co_filename.startswith(HOUSE)]
    return {f"{f.f_code.co_qualname}:{f.f_lineno}": repr(dict(f.f_locals)) for f in ours}


def harvest(output: Path, **options: Any) -> harvester.Summary:  # noqa: ANN401 - options by name
    return asyncio.run(harvester.harvest([ID], output, **options))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokn": TOKEN},
        {"token": TOKEN, "rate": "fast"},
        {"token": TOKEN, "rates": "5/s"},
        {"token": f"{TOKEN} x"},
        {"token": [TOKEN, None]},
        {"token": [TOKEN, "b c"]},
        {"token": "t", "proxy": f"http://me:{TOKEN}@"},
        {"token": "t", "ledger": f"postgresql://me:{TOKEN}@h/d", "rate": "fast"},
    ],
)
def test_no_frame_of_a_refusal_shows_a_secret(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises((harvester.HarvesterError, TypeError)) as caught:
        harvest(tmp_path / "out.jsonl", **wrong)
    assert TOKEN not in str(caught.value)
    found = shown(frames_of(caught.value))
    assert any(name.startswith("harvest:") for name in found)
    assert not [name for name, text in found.items() if TOKEN in text]


def test_no_frame_of_a_file_that_is_not_text_shows_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(TOKEN.encode() + b"\xff")
    with pytest.raises(harvester.HarvesterError) as caught:
        harvest(tmp_path / "out.jsonl", token_file=file)
    assert not [text for text in shown(frames_of(caught.value)).values() if TOKEN in text]


def test_no_frame_of_a_run_shows_its_token_neither_at_work_nor_when_it_fails(
    tmp_path: Path,
) -> None:
    at_work: dict[str, str] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert TOKEN.encode() in asked
        at_work.update(shown(frames_at_work()))
        writer.write(ANSWER)
        writer.close()
        await writer.wait_closed()

    def see(event: harvester.Event) -> None:
        if isinstance(event, harvester.CallFinished):
            raise ZeroDivisionError

    async def main() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await harvester.harvest(
                [ID],
                tmp_path / "out.jsonl",
                token=TOKEN,
                base_url=f"http://127.0.0.1:{port}",
                on_event=see,
            )

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(main())
    assert {"Client._ask", "_drained", "Run.run", "harvest"} <= {
        name.partition(":")[0] for name in at_work
    }
    found = {**at_work, **shown(frames_of(caught.value))}
    assert not [name for name, text in found.items() if TOKEN in text]


def test_what_a_person_harvests_in_a_checkout_and_with_what_is_never_committed() -> None:
    ignored = (Path(harvester.__file__).parents[1] / ".gitignore").read_text().splitlines()
    names = ["token.txt", ".env", "notes.jsonl", *(f"notes.jsonl{side}" for side in Side)]
    for name in names:
        assert any(fnmatch(name, pattern) for pattern in ignored), name
