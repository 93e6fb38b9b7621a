"""The door to the fleet's ledger: its driver is an extra, loaded only where it is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from harvester.errors import UsageError, want_of_extra
from harvester.rules.budget import Limits

if TYPE_CHECKING:
    from harvester.ledger.postgres.ledger import PostgresLedger
    from harvester.ledger.postgres.membership import Membership

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


class FleetAddress(Struct, frozen=True):
    """Where the ledger of a fleet is, `postgresql://...`, and which of its harvests is meant.

    The URL may hold a password, so it is not shown.
    """

    url: str
    harvest: str = "default"

    def __repr__(self) -> str:
        return f"FleetAddress(harvest={self.harvest!r})"


class Outage(Protocol):
    """What to do while the database is away; called from the thread that uses the ledger."""

    def give_up(self) -> bool:
        """Whether to wait no longer."""

    def tell(self, text: str) -> None:
        """Hear why it is away."""

    def is_over(self) -> None:
        """Hear that it answers again."""


def need_driver() -> None:
    """Raise UsageError where the driver of the fleet's ledger is missing."""
    try:
        import harvester.ledger.postgres.connection  # noqa: F401, PLC0415 - of an extra
    except ImportError:
        raise UsageError(NO_DRIVER) from None


def open_ledger(
    address: FleetAddress,
    part: str,
    output: Path,
    limits: Limits,
    day_began: Callable[[], float],
    tokens: Sequence[str],
    outage: Outage,
) -> PostgresLedger:
    """The ledger of one part; `limits` hold for the fleet, `tokens` are fingerprints.

    Raises UsageError where the driver is missing, and what PostgresLedger raises.
    """
    need_driver()
    from harvester.ledger.postgres.claims import Caps  # noqa: PLC0415 - an extra
    from harvester.ledger.postgres.ledger import PostgresLedger  # noqa: PLC0415 - the same
    from harvester.ledger.postgres.resilient import (  # noqa: PLC0415 - the same
        PartIdentity,
        ReconnectPolicy,
    )

    return PostgresLedger(
        address.url,
        address.harvest,
        PartIdentity(part, os.uname().nodename, str(output), tuple(tokens)),
        caps=Caps(limits, day_began),
        policy=ReconnectPolicy(outage.give_up, outage.tell, outage.is_over),
    )


def open_membership(address: FleetAddress, part: str, clock: Callable[[], float]) -> Membership:
    """The membership of one part's run; raises UsageError where the driver is missing."""
    need_driver()
    from harvester.ledger.postgres.membership import Membership  # noqa: PLC0415 - an extra

    return Membership(address.url, address.harvest, part, clock)
