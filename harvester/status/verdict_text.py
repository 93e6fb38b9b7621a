"""The verdict: what ended the last run, how much is done, what it cost, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from harvester.api.endpoints import DEFAULT_ENDPOINT
from harvester.formatting import amount, count
from harvester.model import StopReason
from harvester.status.model import RunStatus, Status

# Why a run ended; what the API or the system said of it stands beside.
WHY = {
    StopReason.DONE: "all done",
    StopReason.FAILED: "finished, but some notes failed",
    StopReason.QUOTA: "stopped by the daily quota",
    StopReason.BALANCE: "stopped since the balance, or the token's budget, is used up",
    StopReason.REFUSED: "stopped since the API refused",
    StopReason.UPSTREAM: "stopped since the API did not answer as it should",
    StopReason.LIMIT: "stopped by its own limit",
    StopReason.INPUT: "stopped since the input could not be read",
    StopReason.LOCAL_IO: "stopped since OUTPUT or its ledger could not be used",
    StopReason.SIGINT: "stopped by Ctrl-C (SIGINT)",
    StopReason.SIGTERM: "stopped by SIGTERM",
    StopReason.CANCELLED: "cancelled",
}
WHY_GONE = "finished, but some notes are gone"
_FIRST = {
    StopReason.BALANCE.value: "Top up, then",
    StopReason.INPUT.value: "Mend the input, then",
    StopReason.LOCAL_IO.value: "Mend that, then",
    StopReason.UPSTREAM.value: "Later",
}


def with_verdict(status: Status, target: str, go_on: str) -> Status:
    """The same with its verdict; `target` names OUTPUT, or a fleet's ledger, in a shell command.

    `go_on` is the command that goes on with it.
    """
    zone = ZoneInfo(status.day_timezone)
    last = status.runs[-1] if status.runs else None
    if last is None:
        return replace(status, verdict="No run yet.")
    command, at = _next(status, last, target, go_on)
    when = "" if command is None else f" {_when(status, last, at)}: `{command}`"
    said = f"{_ended(status, last, zone)}: {_done(status)}, {_cost(status)}.{when}"
    return replace(status, verdict=said, next_command=command, next_at=at)


def _ended(status: Status, last: RunStatus, zone: ZoneInfo) -> str:
    if status.resumes_at is not None:
        until = _clock(status.resumes_at, status, zone)
        return f"Waiting for the next day, until {until}, to go on"
    if any(run.state == "running" for run in status.runs):
        return f"Going on since {_clock(last.started_at, status, zone)}"
    at = _clock(last.finished_at or last.started_at + last.seconds, status, zone)
    if last.state == "finished" and last.reason is not None:
        return f"{_why(status, StopReason(last.reason))} at {at}"
    return f"Killed at about {at}" if last.state == "killed" else f"Last heard of at {at}"


def _why(status: Status, reason: StopReason) -> str:
    if reason is StopReason.FAILED and 0 < status.rejected + status.exhausted == status.gone:
        return _sentence(WHY_GONE)
    return _sentence(WHY[reason])


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _clock(seconds: float, status: Status, zone: ZoneInfo) -> str:
    moment, now = (datetime.fromtimestamp(each, zone) for each in (seconds, status.as_of))
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%a %Y-%m-%d %H:%M}"


def _done(status: Status) -> str:
    total = status.done + status.queued + status.rejected + status.exhausted
    gone = f" ({status.gone:,} gone)" if status.gone else ""
    return f"{status.done:,} of {count(total, 'note')}{gone}"


def _cost(status: Status) -> str:
    """By the vendor's word, where that is known; else by what was counted."""
    told = status.account
    is_known = told is not None and told.agreement in {"same", "more", "fewer"}
    spent = told.spent if told is not None and is_known and _is_whole(status) else status.cost
    if spent is None:
        return f"{count(status.charged, 'call')} charged"
    return amount(spent, status.currency)


def _is_whole(status: Status) -> bool:
    """Whether the balance was known around all runs that called."""
    known = (run.account is not None and run.account.spent is not None for run in status.runs)
    return all(is_known or not run.calls for is_known, run in zip(known, status.runs, strict=True))


def _next(
    status: Status, last: RunStatus, target: str, go_on: str
) -> tuple[str | None, float | None]:
    """The command to type next, None where there is none, and when, if it is not now."""
    if any(run.state == "running" for run in status.runs):
        return None, None
    if last.reason == StopReason.REFUSED.value:
        return f"harvester doctor {target}", None
    if status.queued or status.exhausted or last.state != "finished":
        at = status.forecast.starts_at
        cap, left = status.forecast.daily_cap, status.forecast.left_today
        if at is None and cap is not None and left == 0:
            at = status.day_ends_at
        return go_on, at
    if status.rejected > status.gone:
        return f"harvester failures {target}", None
    return None, None


def _when(status: Status, last: RunStatus, at: float | None) -> str:
    if at is not None:
        zone = ZoneInfo(status.day_timezone)
        place = status.day_timezone.rpartition("/")[2].replace("_", " ")
        return f"After {datetime.fromtimestamp(at, zone):%H:%M} {place}"
    return _FIRST.get(last.reason or "", "Now")


def command_to_go_on(target: str, meta: Mapping[str, str | int]) -> str:
    """Returns a shell command.

    `target` names OUTPUT, or a ledger of a fleet, as a shell takes it; `meta` is what the ledger
    was told of itself.
    """
    part = "PART " if target.startswith("-") else ""
    words = [f"harvester run -o {part}{target}"]
    endpoint = str(meta.get("endpoint") or DEFAULT_ENDPOINT)
    if endpoint != DEFAULT_ENDPOINT:
        words.append(f"--endpoint {shlex.quote(endpoint)}")
    if token_file := meta.get("token_file"):
        words.append(f"--token-file {shlex.quote(_from_here(Path(str(token_file))))}")
    elif meta.get("simulated"):
        words.append("--simulate")
    return " ".join(words)


def _from_here(path: Path) -> str:
    """A path, short where it lies in the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
