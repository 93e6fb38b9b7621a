"""All that the page tells, read from a ledger in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from harvester.engine.opening import ledger_path
from harvester.ledger.history import Failures, History, Timeline
from harvester.ledger.reader import LedgerReader, reading
from harvester.model import State
from harvester.output.holder import is_held
from harvester.views.status import Question, kind_of, status_of

MOST_REASONS = 30
MOST_IDS = 1000


@dataclass(frozen=True, slots=True)
class Story:
    """What there is to tell; `status` is that of `status --json`, `latency` median and p95."""

    output: Path
    question: Question
    status: Mapping[str, Any]
    timeline: Timeline
    latency: tuple[float | None, float | None]
    charged: Mapping[date, int]
    attempts: Mapping[int, Mapping[State, int]]
    failures: Failures

    @property
    def ends_at(self) -> float | None:
        """When the rest will be done, in Unix seconds, if that can be told."""
        told = self.status["forecast"]["endsAt"]
        return None if told is None else datetime.fromisoformat(told).timestamp()


def story_of(output: Path, question: Question) -> Story:
    """The story of an OUTPUT, at one moment of a run that may be going on.

    Raises UsageError, LedgerError, LocalIOError.
    """
    place = output.resolve()
    with reading(ledger_path(place)) as reader:
        # In this order: a run that was on, whose lock is gone, and that still has no end, is dead.
        before = reader.open_run()
        held = None if before is None else is_held(place)
        with reader.snapshot():
            is_same = reader.open_run() == before
            known = replace(question, is_held=held if is_same else None)
            return _read(reader, output, known)


def _read(reader: LedgerReader, output: Path, question: Question) -> Story:
    history = History(reader)
    return Story(
        output,
        question,
        status_of(reader, question),
        history.timeline(question.zone),
        history.latency(),
        history.charged_by_day(question.zone),
        history.attempts(),
        history.failures(kind_of, MOST_REASONS, MOST_IDS),
    )
