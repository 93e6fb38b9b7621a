"""The door to the fleet's ledger: its driver is an extra, loaded only where it is asked for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
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
    """What to do while the database is away; called from the thread that uses the ledger.

    It is away if it does not answer a statement for `statement` seconds. As it is here, it is
    waited for without an end and without a word.
    """

    statement = 15.0

    def give_up(self) -> bool:
        """Whether to wait no longer."""
        return False

    def pause(self, seconds: float) -> None:
        """Wait before it is tried again."""
        time.sleep(seconds)

    def tell(self, text: str) -> None:
        """Hear once why it is away."""

    def is_over(self) -> None:
        """Hear that it answers again."""
