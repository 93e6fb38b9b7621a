# mypy: ignore-errors
"""What people write first: one call after the other.

`python requests_loop.py IDS OUTPUT URL`, where `requests` is installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import requests


def main(ids: Path, output: Path, url: str) -> None:
    """Fetch each note."""
    with requests.Session() as session, output.open("w", encoding="utf-8") as file:
        for note_id in ids.read_text("ascii").split():
            query = {"token": "benchmark-token", "noteId": note_id}
            answer = session.get(url, params=query, timeout=60).json()
            line = {"noteId": note_id, "data": answer["data"]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
