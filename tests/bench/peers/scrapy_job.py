# mypy: ignore-errors
"""A Scrapy spider that can go on after a stop (JOBDIR), with nothing that slows it down.

`python scrapy_job.py IDS OUTPUT URL`, where `scrapy` is installed; its state is OUTPUT.job.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.http import JsonResponse


class Notes(scrapy.Spider):
    """Fetches each note."""

    name = "notes"

    def __init__(self, ids: Path, url: str) -> None:
        super().__init__()
        self._ids = ids
        self._url = url

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """One request a note."""
        for note_id in self._ids.read_text("ascii").split():
            url = f"{self._url}?token=benchmark-token&noteId={note_id}"
            yield scrapy.Request(url, cb_kwargs={"note_id": note_id})

    def parse(self, response: JsonResponse, note_id: str) -> Iterator[dict[str, object]]:
        """One line an answer."""
        yield {"noteId": note_id, "data": response.json()["data"]}


def main(ids: Path, output: Path, url: str) -> None:
    """Crawl until all is done."""
    settings = {
        "JOBDIR": f"{output}.job",
        "FEEDS": {str(output): {"format": "jsonlines", "encoding": "utf-8"}},
        "CONCURRENT_REQUESTS": 64,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 64,
        "CONCURRENT_ITEMS": 1,
        "DOWNLOAD_DELAY": 0,
        "AUTOTHROTTLE_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
    }
    process = CrawlerProcess(settings)
    process.crawl(Notes, ids=ids, url=url)
    process.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
