"""All that the page tells, read from a ledger in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from msgspec import Struct

from harvester.ledger.history import Failures, History, Timeline
from harvester.ledger.hosts import Hosts
from harvester.ledger.reader import LedgerReader
from harvester.model import State
from harvester.report.notes import Notes, read_notes
from harvester.status.model import Status, StatusQuery
from harvester.status.reading import kind_of, snapshot, status_of

MOST_REASONS = 30
MOST_IDS = 1000


class ReportData(Struct, frozen=True):
    """What there is to tell; `latency` is median and p95.

    `name` is what people know the harvest by. `notes` are None for a fleet, whose parts are
    elsewhere.
    """

    name: str
    query: StatusQuery
    status: Status
    timeline: Timeline
    latency: tuple[float | None, float | None]
    charged: Mapping[date, int]
    attempts: Mapping[int, Mapping[State, int]]
    failures: Failures
    notes: Notes | None = None


def read_report(
    reader: LedgerReader,
    output: Path | None,
    name: str,
    query: StatusQuery,
    hosts: Hosts | None = None,
) -> ReportData:
    """The data that a ledger tells, at one moment of runs that may be going on.

    `output` has its links followed, None for a fleet's `hosts`; people know it by `name`. Raises
    LedgerError, LocalIOError.
    """
    with snapshot(reader, output, query) as known:
        history = History(reader)
        return ReportData(
            name,
            known,
            status_of(reader, known, hosts),
            history.timeline(known.zone),
            history.latency(),
            history.charged_by_day(known.zone),
            history.attempts(),
            history.failures(kind_of, MOST_REASONS, MOST_IDS),
            None if output is None else read_notes(output),
        )
