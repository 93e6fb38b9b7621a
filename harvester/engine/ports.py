"""What the line needs from outside, as small protocols: a fetcher, pages, events.

The tag of an event is what the log calls it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from msgspec import Struct

from harvester.config import RunConfig
from harvester.ledger.protocol import Ledger
from harvester.model import Answer, BadLine, Page, Start, StopReason, Summary
from harvester.money import Word
from harvester.output.sink import Sink
from harvester.threads import Runner


class Fetcher(Protocol):
    """Asks for one note."""

    async def fetch(self, note_id: str, start: Start) -> Answer | None:
        """One request in, one Answer out; never raises for what the server said.

        `start` is awaited once there is a connection. None where it gave False: nothing was sent.
        """


class BalanceSource(Protocol):
    """Tells the balance of an account."""

    async def balance(self, seconds: float) -> Word:
        """Ask for the balance, for so many seconds at most; never raises for what came of it."""


class RunBegan(Struct, frozen=True, tag="begin"):
    """An event: OUTPUT and its ledger are open; `done`, `queued` and `failed` are of the ledger."""

    output: str
    endpoint: str
    simulated: bool
    done: int
    queued: int
    failed: int


class CallFinished(Struct, frozen=True, tag="call"):
    """An event: a call's outcome.

    `verdict` is the verdict's word, `code` the business code (None where no answer arrived),
    `attempt` counts all requests ever made for the note, `elapsed` is in seconds. `charged` says
    that it was paid for, `unanswered` that it may have been.
    """

    note_id: str
    verdict: str
    code: int | None
    reason: str
    attempt: int
    elapsed: float
    charged: bool = False
    unanswered: bool = False


class LineLeftOut(Struct, frozen=True, tag="left out"):
    """An event: a line of input names no note."""

    bad: BadLine


# The kind of a notice that something of INPUT may be missing: it is shown whatever is not.
INPUT = "input"
# And of one that the run waits for the next day.
NEXT_DAY = "next day"


class Notice(Struct, frozen=True, tag="notice"):
    """An event worth a line: `kind` is a fixed word, `text` plain words for people."""

    kind: str
    text: str


class Stopping(Struct, frozen=True, tag="stopping"):
    """An event: nothing new is sent; `in_flight` calls are awaited. `reason` is a stop's word."""

    reason: str
    detail: str
    in_flight: int


class RunEnded(Struct, frozen=True, tag="end"):
    """An event, the last one: how the run ended."""

    summary: Summary


Event = RunBegan | CallFinished | LineLeftOut | Notice | Stopping | RunEnded
Observer = Callable[[Event], None]


class Coordinator:
    """How this host gets on with the others of its harvest; as it stands here, there are none.

    A lease outlives the longest call by `lease_margin`, and what can be sent in `ahead_seconds` is
    claimed ahead. What is written is committed together each `commit_every` seconds, if there is
    that much. A `client` goes by its name.
    """

    lease_margin = 60.0
    commit_every = 0.05

    @property
    def ahead_seconds(self) -> float:
        """Seconds, as above."""
        return 10.0

    def disabled(
        self, client: str, reason: StopReason, detail: str, *, is_shared: bool = False
    ) -> None:
        """Hear that nothing more is sent by a client, or "" by any.

        If it `is_shared`, neither by others of its account.
        """

    def slowed_down(self, client: str, wait: float | None) -> None:
        """Hear that the server asked for a slower pace, after `wait` seconds if it said so."""

    async def keep(self) -> None:
        """Stay in touch while a run is on, until cancelled."""


class Ports(Struct, frozen=True):
    """All that one run is given.

    `ledger` is called on `thread`, and long answers are read on `reading`, so that neither blocks
    the event loop. `clock` is Unix seconds, `jitter` even numbers from 0 up to 1. `accounts` are
    one for each token, or none where the vendor is not to be asked.
    """

    config: RunConfig
    ledger: Ledger
    thread: Runner
    reading: Runner
    sink: Sink
    pages: AsyncIterator[Page]
    clock: Callable[[], float]
    jitter: Callable[[], float]
    coordinator: Coordinator
    observers: tuple[Observer, ...] = ()
    accounts: tuple[BalanceSource, ...] = ()
