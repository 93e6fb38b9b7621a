"""What people write today when it has to be fast: fetch, parse, write, and keep nothing.

`python bare_pool.py IDS OUTPUT URL`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import orjson

_WORKERS = 64


async def main(ids: list[str], output: Path, url: str) -> None:
    """Fetch each note with a pool of workers."""
    left = iter(ids)
    with output.open("wb", buffering=0) as file:
        async with aiohttp.ClientSession() as session:

            async def work() -> None:
                for note_id in left:
                    query = {"token": "benchmark-token", "noteId": note_id}
                    async with session.get(url, params=query) as response:
                        answer = orjson.loads(await response.read())
                    line = {"noteId": note_id, "data": answer["data"]}
                    file.write(orjson.dumps(line) + b"\n")

            async with asyncio.TaskGroup() as group:
                for _ in range(_WORKERS):
                    group.create_task(work())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_text("ascii").split(), Path(sys.argv[2]), sys.argv[3]))
