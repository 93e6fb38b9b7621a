"""The door to the fleet's ledger: its driver is an extra, loaded only where it is asked for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from harvester.errors import UsageError, want_of_extra

NO_DRIVER = (
    f"--ledger needs the PostgreSQL driver, which is not installed: {want_of_extra('fleet')}."
)
# Where a password may stand: after the user in a URL, as its parameter, or in "key=value ...".
_PASSWORDS = (
    (re.compile(r"^(\w+://[^:/@]*):[^/]*(?=@)"), r"\1"),
    (re.compile(r"([?&])(?:ssl)?password=[^&]*&?"), r"\1"),
    (re.compile(r"\b(?:ssl)?password\s*=\s*(?:'(?:\\.|[^'])*'?|(?:\\.|\S)*)\s*"), ""),
)


def without_password(url: str) -> str:
    """The address of a ledger, fit to be shown."""
    for pattern, left in _PASSWORDS:
        url = pattern.sub(left, url)
    return url.rstrip("?& ")


def need_driver() -> None:
    """Raise UsageError where the driver of the fleet's ledger is missing."""
    try:
        import_module("psycopg")
    except ImportError:
        raise UsageError(NO_DRIVER) from None


class FleetAddress(Struct, frozen=True):
    """Where the ledger of a fleet is, `postgresql://...`, and which of its harvests is meant.

    The URL may hold a password, so it is not shown.
    """

    url: str
    harvest: str = "default"

    @classmethod
    def named(cls, url: str | None, harvest: str | None) -> FleetAddress | None:
        """The harvest that is named, None where no ledger is."""
        return cls(url, harvest or "default") if url and url.strip() else None

    def __repr__(self) -> str:
        return f"FleetAddress(harvest={self.harvest!r})"


class PartIdentity(Struct, frozen=True):
    """One host's OUTPUT: `uuid` stands beside the file, `host` and `path` are for people.

    `tokens` are fingerprints of the API tokens that this host calls with.
    """

    uuid: str
    host: str
    path: str
    tokens: tuple[str, ...] = ()

    @classmethod
    def here(cls, uuid: str, output: Path, tokens: Sequence[str] = ()) -> PartIdentity:
        """A part on this machine."""
        return cls(uuid, os.uname().nodename, str(output), tuple(tokens))


class Outage:
    """A database that is away, waited for in the thread that uses the ledger.

    It is away if it does not answer a statement for `statement` seconds. For how many more it is
    waited for, `patience` gives, counted from when it first gave any; None is without end. The
    `clock` is monotonic seconds; `tell` hears why it is away, and that it is back.
    """

    statement = 15.0

    def __init__(
        self,
        patience: Callable[[], float | None] = lambda: None,
        tell: Callable[[str], object] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.tell = tell
        self.pause = pause
        self._patience = patience
        self._clock = clock
        self._since: float | None = None

    def give_up(self) -> bool:
        """Whether to wait no longer."""
        patience, now = self._patience(), self._clock()
        if patience is None:
            self._since = None
            return False
        self._since = now if self._since is None else self._since
        return now - self._since >= patience

    def is_over(self) -> None:
        """The database answers again: the next time it goes is another one."""
        self._since = None
        self.tell("the database is back: going on")
