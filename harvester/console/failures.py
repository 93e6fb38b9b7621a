"""The notes that failed as a table: whole lines for a pipe, folded ones for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from rich.cells import cell_len

from harvester.console.layout import INDENT, folded
from harvester.ledger.reader import FailedJob
from harvester.sanitize import sanitize

_ID, _STATE, _CODE, _ATTEMPTS = 24, 9, 4, 8
_BEFORE_REASON = _ID + _STATE + _CODE + _ATTEMPTS + 4 * len(INDENT)
# With less room than this for the reason, it goes below.
_LEAST_REASON = 20


def failure_lines(jobs: Iterable[FailedJob], width: int | None) -> Iterator[str]:
    """Lines for people, at most `width` cells each; None folds nothing and cuts nothing."""
    rest = iter(jobs)
    if (one := next(rest, None)) is None:
        yield "no note failed"
        return
    jobs = chain((one,), rest)
    if width is not None and width - _BEFORE_REASON < _LEAST_REASON:
        for job in jobs:
            yield from _block(job, width)
        return
    yield _row("note id", "state", "code", "attempts", "reason")
    for job in jobs:
        reason = sanitize(job.reason)
        first, *more = (reason,) if width is None else folded(reason, width - _BEFORE_REASON)
        told = job.state.name.lower(), _code(job), f"{job.attempts:,}"
        yield _row(sanitize(job.note_id), *told, first)
        yield from (" " * _BEFORE_REASON + line for line in more)


def _row(note_id: str, state: str, code: str, attempts: str, reason: str) -> str:
    pad = " " * max(0, _ID - cell_len(note_id))
    row = f"{note_id}{pad}  {state:<{_STATE}}  {code:>{_CODE}}  {attempts:>{_ATTEMPTS}}  {reason}"
    return row.rstrip()


def _block(job: FailedJob, width: int) -> Iterator[str]:
    """A job on a narrow terminal: its id, then the rest below."""
    yield sanitize(job.note_id)
    told = f"{job.state.name.lower()}, code {_code(job)}, attempts {job.attempts:,}"
    for text in (told, sanitize(job.reason)):
        yield from folded(INDENT + text, width)


def _code(job: FailedJob) -> str:
    return "-" if job.code is None else str(job.code)
