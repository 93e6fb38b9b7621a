"""The words of the house as frozen parcels: job, answer, verdict, outcome, stop reason, summary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, IntEnum
from typing import Self

from msgspec import Struct, field

from harvester.money import Spending

# The simulator's answers carry request ids that begin so, to be told from real ones.
SIMULATED_PREFIX = "simulated-"

# Waits until a call may be sent, which it then is at once; False where it may not be.
# Given whether the connection is still fit for it; None back if it is not.
Start = Callable[[Callable[[], bool]], Awaitable[bool | None]]


class State(IntEnum):
    """What the ledger keeps of a job; claimed is not among them: a claim is a row of its own."""

    QUEUED = 0
    DONE = 1
    REJECTED = 2
    EXHAUSTED = 3


class Verdict(Enum):
    """What an answer means for its job."""

    SAVE = "save"
    RETRY = "retry"
    SLOW_DOWN = "slow down"
    REJECT = "reject"
    STOP = "stop"


class Cause(IntEnum):
    """Why a job is retried."""

    COLLECTION = 0
    SERVER = 1
    UNANSWERED = 2


class Fault(Enum):
    """What kept an answer from being read whole."""

    NO_CONNECTION = "no connection"
    NO_DESCRIPTOR = "no connection of our own to spare"
    CLOSED = "connection closed while idle"
    RESET = "connection reset while idle"
    TIMEOUT = "timeout"
    BROKEN = "connection broke"
    TOO_LARGE = "answer too large"
    MALFORMED = "malformed answer"


class StopReason(Enum):
    """Why a run ended; the value is the word shown, `exit_code` the contract's for it."""

    DONE = "done", 0
    FAILED = "some failed", 1
    INPUT = "input", 2
    QUOTA = "quota", 3
    BALANCE = "balance", 4
    REFUSED = "refused", 5
    UPSTREAM = "upstream", 6
    LIMIT = "limit", 7
    LOCAL_IO = "local I/O", 74
    SIGINT = "SIGINT", 130
    CANCELLED = "cancelled", 130
    SIGTERM = "SIGTERM", 143

    _value_: str
    exit_code: int

    def __new__(cls, word: str, exit_code: int = 0) -> Self:
        """Take the word alone for the value."""
        reason = object.__new__(cls)
        reason._value_, reason.exit_code = word, exit_code
        return reason


class Job(Struct, frozen=True):
    """One note id, claimed.

    `claim_id` names the claim; `attempts` counts all requests ever made for the job,
    `failures_by_cause` the failed ones of this run by `Cause` (collection, server, unanswered).
    `extra_fields` is the text of a JSON object with what came along from the input.
    """

    seq: int
    note_id: str
    claim_id: int = 0
    attempts: int = 0
    failures_by_cause: tuple[int, int, int] = (0, 0, 0)
    extra_fields: str | None = None


def _nothing() -> None:
    """Most answers are short, and have no room to give back."""


class Answer(Struct, frozen=True):
    """What came back for one request, uninterpreted.

    `status` and `body` are None where `fault` kept them from arriving; `retry_after`, `location`
    and `date` are headers as sent; `detail` is plain words about the fault, free of the token;
    `elapsed` is in seconds. `release` gives the room back that a long one has, for others to be
    read: it is to be called once nothing of this one is held in memory, and may be again.
    """

    status: int | None = None
    body: bytes | None = None
    retry_after: str | None = None
    fault: Fault | None = None
    detail: str = ""
    elapsed: float = 0.0
    location: str | None = None
    date: str | None = None
    release: Callable[[], None] = _nothing


class Judgement(Struct, frozen=True):
    """An answer's meaning.

    `code` is the business code (None where no answer arrived), `reason` one plain line for people.
    `unanswered` says that the call may have been charged although its answer cannot be used,
    `is_redirect` that the answer is not the API's but sends us elsewhere, `is_empty` that there is
    nothing in its data.
    `record_time`, `request_id` and `data` are JSON text as sent, ready to stand in a line; `raw` is
    the body as a JSON string where `data` cannot be written as JSON text. All four are for SAVE.
    """

    verdict: Verdict
    code: int | None
    reason: str
    cause: Cause | None = None
    stop: StopReason | None = None
    record_time: bytes = b"null"
    request_id: bytes = b"null"
    data: bytes = b"null"
    raw: bytes | None = None
    unanswered: bool = False
    is_redirect: bool = False
    is_empty: bool = False


class Outcome(Struct, frozen=True):
    """A job, its attempt and its verdict, ready to be recorded.

    `state` is the job's next state, `is_empty` tells a save with nothing in its data; `delay`
    (seconds) says when a requeued job is due again;
    `failures_by_cause` counts this run's by `Cause`, this one included; `attempted` is false for an
    answer that costs no attempt; `closed` tells that nobody took the call, on a connection that had
    ended while it was idle; `line` is the OUTPUT line of a save, newline and all; `fetched_at` is
    Unix seconds; `unread` is a line of its own for an answer that arrived, may be paid for, and
    cannot be read. `release` is the answer's, to be called once both are written.
    """

    job: Job
    state: State
    code: int | None
    reason: str
    failures_by_cause: tuple[int, int, int] = (0, 0, 0)
    attempted: bool = True
    unanswered: bool = False
    closed: bool = False
    delay: float = 0.0
    line: bytes | None = None
    fetched_at: float = 0.0
    elapsed: float = 0.0
    unread: bytes | None = None
    is_empty: bool = False
    release: Callable[[], None] = _nothing


class Counts(Struct, frozen=True):
    """Jobs by state; `waiting` and `claimed` are parts of `queued`, `gone` of `rejected`."""

    queued: int = 0
    waiting: int = 0
    claimed: int = 0
    done: int = 0
    rejected: int = 0
    exhausted: int = 0
    gone: int = 0

    @property
    def failed(self) -> int:
        """Jobs given up: rejected or exhausted."""
        return self.rejected + self.exhausted

    @property
    def total(self) -> int:
        """All jobs the ledger knows."""
        return self.queued + self.done + self.failed


class BadLine(Struct, frozen=True):
    """A line of INPUT that names no note: where it stands (1-based), why, and its text."""

    file: str
    line: int
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}: {self.text}"


class Page(Struct, frozen=True):
    """Some lines of INPUT: the note ids they name, in order, and the bad lines among them.

    `extra_fields` holds, by note id, the text of a JSON object with what travels along; `is_live`
    tells that the input may wait for somebody to write, and may never end. `differed` are notes
    that came before with other extra fields. `told` is worth a line, `warned` one that is always
    shown.
    """

    ids: list[str]
    bad: list[BadLine] = field(default_factory=list)
    extra_fields: dict[str, str] = field(default_factory=dict)
    is_live: bool = False
    differed: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


class Summary(Struct, frozen=True):
    """How a run ended, in counts.

    `done`, `queued` and `failed` are of the whole ledger; the others of this run. `unanswered`
    counts calls that may have been charged without an answer, `by_code` answers by business code
    ("none" where no answer arrived), `elapsed` is in seconds. `sustained_rate` is what
    the server sustains, in calls a second, where it refused the pace asked for. `closed` counts
    calls that nobody took, since the server had ended the idle connection: they are not charged.
    `differed` rows named a note again with other columns to carry, of which the last ones count.
    `empty` notes were saved, and paid for, with nothing in their data.
    `is_queue_lost` says that an earlier run's queue is not known, and that no INPUT was named.
    `gone` of those failed are notes that the vendor says are gone. `spending` is what the vendor's
    balance told of it, None where that was not asked for.
    """

    reason: str
    exit_code: int
    done: int
    queued: int
    failed: int
    charged: int
    unanswered: int
    calls: int
    by_code: Mapping[str, int]
    saved: int = 0
    waiting: int = 0
    rejected: int = 0
    exhausted: int = 0
    detail: str = ""
    elapsed: float = 0.0
    found_unanswered: int = 0
    adopted: int = 0
    sustained_rate: float | None = None
    bad_lines: int = 0
    bad_examples: tuple[BadLine, ...] = ()
    differed: int = 0
    closed: int = 0
    empty: int = 0
    is_queue_lost: bool = False
    spending: Spending | None = None
    gone: int = 0
