"""OUTPUT and its ledger as a run holds them, and the machine under both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, field

from harvester.disk import Disk
from harvester.halt import Look, go_on
from harvester.ledger.protocol import Ledger
from harvester.ledger.sqlite.bulk import BULK_AFTER
from harvester.ledger.sqlite.reading import ledger_path
from harvester.ledger.sqlite.store import Connection, set_aside
from harvester.output.file import OutputFile
from harvester.output.spool import EmergencySpool


class Environment(Struct, frozen=True):
    """The machine under a harvest: `clock` is Unix seconds, `boot` names this start of it.

    After `bulk_after` new ids of an input, the ledger takes the rest in bulk. `look` is called
    between the pieces of what is read.
    """

    clock: Callable[[], float]
    disk: Disk = field(default_factory=Disk)
    connection: type[Connection] = Connection
    boot: str = ""
    bulk_after: int = BULK_AFTER
    look: Look = go_on


class Recovery(Struct, frozen=True):
    """What opening had to do.

    `adopted` lines were paid for and not yet known, `cut` bytes were a torn last line, `lost` notes
    were taken by a power cut, `is_rebuilt` tells that the ledger was made anew from OUTPUT,
    `is_read_anew` that OUTPUT was only stored in another way, and `set_aside` where a damaged
    ledger went. `warning` is what to say of the disk.
    """

    adopted: int = 0
    cut: int = 0
    lost: int = 0
    is_rebuilt: bool = False
    is_queue_lost: bool = False
    is_read_anew: bool = False
    set_aside: Path | None = None
    warning: str = ""


class OpenOutput(Struct, frozen=True):
    """OUTPUT, its ledger and its spool, held; `part` names it in a fleet's harvest."""

    output: OutputFile
    ledger: Ledger
    spool: EmergencySpool
    recovery: Recovery = Recovery()
    part: str = ""

    def close(self) -> None:
        """Let go of all; a ledger found damaged is set aside."""
        self.ledger.close()
        if self.ledger.is_damaged:
            set_aside(ledger_path(self.output.path), "damaged")
        self.spool.close()
        self.output.close()
