"""What the line needs from outside, as small protocols: a fetcher, a sink, pages, events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harvester.ledger.protocol import Extent, Ledger
from harvester.model import Answer, Page


class Fetcher(Protocol):
    """Asks for one note."""

    async def fetch(self, note_id: str) -> Answer:
        """One request in, one Answer out; never raises for what the server said."""


class Sink(Protocol):
    """OUTPUT, for the recorder."""

    async def append(self, lines: Sequence[bytes]) -> tuple[list[int], Extent]:
        """Append whole lines; gives where each ends, and the extent. Raises LocalIOError."""

    async def sync(self) -> int:
        """Make OUTPUT durable; gives its length. Raises LocalIOError."""

    async def save(self, lines: Sequence[bytes]) -> bool:
        """Keep lines beside OUTPUT, since it takes none; gives whether that was possible."""


@dataclass(frozen=True, slots=True)
class CallFinished:
    """An event: a call's outcome; `verdict` is the verdict's word, `elapsed` in seconds."""

    note_id: str
    verdict: str
    code: int | None
    reason: str
    attempt: int
    elapsed: float


@dataclass(frozen=True, slots=True)
class Notice:
    """An event worth a line: `kind` is a fixed word, `text` plain words for people."""

    kind: str
    text: str


Event = CallFinished | Notice
Observer = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """All that one run is given: `clock` is Unix seconds, `jitter` even numbers from 0 up to 1."""

    ledger: Ledger
    fetcher: Fetcher
    sink: Sink
    pages: AsyncIterator[Page]
    clock: Callable[[], float]
    jitter: Callable[[], float]
    observers: tuple[Observer, ...] = ()

    def tell(self, event: Event) -> None:
        """Tell every observer."""
        for observer in self.observers:
            observer(event)
