"""What a ledger holds, as lines for people: as wide as their terminal, aligned in any script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TextIO
from zoneinfo import ZoneInfo

from harvester.console.layout import INDENT, Row, folded, table
from harvester.formatting import TELLING_SECONDS, amount, codes, count, duration, left_out, money
from harvester.ledger.hosts import HostPart
from harvester.money import Balance
from harvester.rules.spending import reach_text
from harvester.sanitize import sanitize
from harvester.status.model import STATES, Ahead, FleetRun, FleetStatus, RunStatus, Status

_MOST_GROUPS = 10
# What the vendor says is not there any more.
_GONE = "rejected", 404
_MOST_RUNS = 10
_MOST_HOSTS = 20
# Where nobody looks, lines are as long as they come.
_UNBROKEN = 10_000
_NARROWEST = 20
_SLOW, _HUNDRED = 1.0, 100.0
_MINUTE, _HOUR = 60, 3600
# Seconds between two drawings of a run that is on.
_EVERY = 2.0
_MAY_BE_ON = {"running", "unknown"}
_KILLED_IN_FLIGHT = "the next run counts them as unanswered"
_FROM = {
    "option": "as --rate says",
    "asked": "the rate asked for",
    "reached": "the rate that was reached",
}
# What the last run met, and no forecast can know.
_CAVEATS = {
    "balance": ("the balance, or a token's budget, was used up: top it up first",),
    "refused": ("the API refused the last run: see to that first",),
}


def status_lines(status: Status, width: int | None = None) -> Iterator[str]:
    """Returns lines of at most `width` cells; None breaks none."""
    zone = ZoneInfo(status.day_timezone)
    runs = status.runs
    page = max(_NARROWEST, width or _UNBROKEN)
    inner = page - len(INDENT)
    sections: dict[str, Iterator[str]] = {
        "Notes": table([*_notes(status, zone)], inner),
        "Failed": table([*_failures(status)], inner),
        "Calls": table([*_calls(status)], inner),
        "Account": _account(status),
        "Forecast": _forecast(status, zone),
    }
    if isinstance(status, FleetStatus):
        sections |= {
            "Hosts": _hosts(status, zone),
            "Disabled tokens": _stops(status, zone),
            "Paid for twice": _duplicates(status),
        }
    sections[_runs_title(runs)] = _runs(status, zone)
    for line in (status.verdict, "", *_head(status, zone)):
        yield from folded(line, page)
    for title, body in sections.items():
        yield from _section(title, body, page)


def watch(look: Callable[[], Status], stream: TextIO, wait: Callable[[float], bool]) -> None:
    """Draw what `look` finds until no run is on, or `wait` says that it is enough.

    Given seconds, `wait` lets them pass. What was drawn last stays.
    """
    from rich.console import Console  # noqa: PLC0415 - only here, and they take long to load
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status = look()
            lines = status_lines(status, console.width - 1)
            live.update(Text("\n".join(lines), no_wrap=True), refresh=True)
            if not any(run.state in _MAY_BE_ON for run in status.runs) or wait(_EVERY):
                return


def _section(title: str, body: Iterable[str], width: int) -> Iterator[str]:
    """A title and what stands under it; nothing where there is nothing."""
    inside = list(body)
    if inside:
        yield ""
        yield from folded(title, width)
        for line in inside:
            yield from folded(INDENT + line, width)


def _head(status: Status, zone: ZoneInfo) -> Iterator[str]:
    kind = " (simulated)" if status.simulated else ""
    yield f"{sanitize(str(status.endpoint or 'endpoint not known yet'))}{kind}"
    if isinstance(status, FleetStatus):
        alive = sum(part.alive for part in status.parts)
        parts = count(len(status.parts), "part")
        yield f"a fleet: {count(alive, 'host')} alive now, {parts}"
    yield f"{_when(status.as_of, zone)}, like all times here in {zone}"


def _notes(status: Status, zone: ZoneInfo) -> Iterator[Row]:
    yield "done", f"{status.done:,}", ""
    if status.empty:
        yield "· empty", f"{status.empty:,}", "nothing in their data"
    yield "queued", f"{status.queued:,}", ""
    if status.waiting:
        yield "· waiting", f"{status.waiting:,}", f"next due {_due(status, zone)}"
    if status.in_flight:
        is_killed = not isinstance(status, FleetStatus) and status.runs[-1].state == "killed"
        yield "· in flight", f"{status.in_flight:,}", _KILLED_IN_FLIGHT if is_killed else ""
    yield "rejected", f"{status.rejected - status.gone:,}", ""
    if status.gone:
        yield "gone", f"{status.gone:,}", "not called for again"
    tried = "tried again by the next run" if status.exhausted else ""
    yield "exhausted", f"{status.exhausted:,}", tried


def _due(status: Status, zone: ZoneInfo) -> str:
    """When the next waiting note is due: the hour alone if that is today."""
    due, now = _local(status.next_due or 0.0, zone), _local(status.as_of, zone)
    return f"{due:%H:%M:%S}" if due.date() == now.date() else f"{due:%Y-%m-%d %H:%M:%S}"


def _failures(status: Status) -> Iterator[Row]:
    groups = status.failures
    for group in groups[:_MOST_GROUPS]:
        code = "no code" if group.code is None else str(group.code)
        state = "gone" if (group.state, group.code) == _GONE else group.state
        yield f"{state} {code}", f"{group.notes:,}", group.reason or "other reasons"
    if rest := groups[_MOST_GROUPS:]:
        notes = sum(group.notes for group in rest)
        yield "and more", f"{notes:,}", f"and {count(len(rest), 'more reason')} (--json has all)"


def _calls(status: Status) -> Iterator[Row]:
    price, currency = status.price, status.currency or ""
    yield (
        "charged",
        f"{status.charged:,}",
        money(status.charged, price, currency, status.cost).strip(" ()"),
    )
    today = money(status.charged_today, price, currency, status.cost_today).strip(" ()")
    yield "· today", f"{status.charged_today:,}", today
    doubt = "may have been charged" if status.unanswered else ""
    yield "unanswered", f"{status.unanswered:,}", doubt
    if status.closed:
        yield "not taken", f"{status.closed:,}", "met a connection that had ended"


def _account(status: Status) -> Iterator[str]:
    """What the vendor's balance told."""
    if status.account is not None:
        yield status.account.text
    if status.balance is not None:
        held = Balance(status.balance, status.currency or "")
        yield f"when last asked, {reach_text(held, status.price)}"


def _forecast(status: Status, zone: ZoneInfo) -> Iterator[str]:
    ahead = status.forecast
    if not ahead.notes:
        yield "nothing is queued"
        return
    yield _cost(ahead, status)
    yield _end(status, zone)
    if ahead.rate is not None and ahead.rate_from is not None:
        yield f"at {_pace(ahead.rate)}, {_FROM[ahead.rate_from]}{_share(ahead)}"
    if ahead.daily_cap is not None:
        days = "" if ahead.days is None else f": calls on {count(ahead.days, 'day')}"
        yield (
            f"at most {ahead.daily_cap:,} charged a day, "
            f"{ahead.left_today:,} of them left today{days}"
        )
    if ahead.quota_met is not None:
        ended = "ended the last run" if status.resumes_at is None else "is used up"
        yield _quota(ahead, ahead.quota_met, zone, ended)
    if runs := status.runs:
        yield from _CAVEATS.get(runs[-1].reason or "", ())


def _quota(ahead: Ahead, met: int, zone: ZoneInfo, ended: str) -> str:
    charged = count(met, "charged call")
    told = f"the daily quota {ended}, with {charged} that day"
    if ahead.starts_at is None:
        return f"{told}; a new day has begun since"
    return f"{told}: the next day begins {_local(ahead.starts_at, zone):%a %Y-%m-%d %H:%M}"


def _cost(ahead: Ahead, status: Status) -> str:
    about = "at least" if ahead.save_share is None else "about"
    return (
        f"{count(ahead.notes, 'note')} left: {about} {count(ahead.calls, 'call')}, "
        f"{ahead.charged:,} charged{money(ahead.charged, status.price, status.currency or '')}"
    )


def _end(status: Status, zone: ZoneInfo) -> str:
    ahead = status.forecast
    if ahead.rate is None:
        return "when it is done cannot be told yet: no run made enough calls (name a --rate)"
    if ahead.ends_at is None or ahead.seconds is None:
        return "done in more than ten years"
    is_on = any(run.state == "running" for run in status.runs)
    when = "now" if ahead.starts_at is None else "when the next day begins"
    condition = "" if is_on else f", if it goes on {when}"
    end = _local(ahead.ends_at, zone)
    return f"done {end:%a %Y-%m-%d %H:%M} ({zone}), in {duration(ahead.seconds)}{condition}"


def _share(ahead: Ahead) -> str:
    if ahead.save_share is None:
        return ", if each call saves a note"
    return f"; {ahead.save_share:.1%} of the calls so far saved a note"


def _hosts(status: FleetStatus, zone: ZoneInfo) -> Iterator[str]:
    """The hosts of a fleet, those alive first."""
    parts = sorted(status.parts, key=lambda part: not part.alive)
    if not parts:
        yield "no host has joined yet"
    for part in parts[:_MOST_HOSTS]:
        yield f"{part.host}: {_life(part, zone)}"
        for text in (part.path, _deeds(part, status.price)):
            yield INDENT + text
    if rest := parts[_MOST_HOSTS:]:
        yield f"and {count(len(rest), 'more part')} (--json has all)"


def _life(part: HostPart, zone: ZoneInfo) -> str:
    if part.last_heartbeat is None:
        return "has not run yet"
    seen = _local(part.last_heartbeat, zone)
    if part.resumes_at is not None:
        return f"waits for the next day, until {_local(part.resumes_at, zone):%Y-%m-%d %H:%M:%S}"
    if part.alive:
        pace = f", lately {_pace(part.rate)}" if part.rate else ""
        return f"alive, heard of at {seen:%H:%M:%S}{pace}"
    return f"not running, last heard of {seen:%Y-%m-%d %H:%M:%S}"


def _deeds(part: HostPart, price: Decimal | None) -> str:
    cost = "" if price is None else f" ({amount(part.charged * price)})"
    lost = f", {part.unanswered:,} unanswered" if part.unanswered else ""
    twice = f", {part.duplicates:,} paid for twice" if part.duplicates else ""
    return (
        f"{count(part.calls, 'call')}, {part.charged:,} charged{cost}{lost}; "
        f"holds {count(part.notes, 'note')}{twice}"
    )


def _stops(status: FleetStatus, zone: ZoneInfo) -> Iterator[str]:
    for stop in status.stops:
        token = "all tokens" if stop.token is None else f"token {sanitize(stop.token)}"
        detail = f": {stop.detail}" if stop.detail else ""
        yield f"{token}, since {_when(stop.at, zone)}: {stop.reason}{detail}"


def _duplicates(status: FleetStatus) -> Iterator[str]:
    """Lines that were paid for though their notes were done; all of them are counted."""
    many = sum(part.duplicates for part in status.parts)
    if not many:
        return
    yield f"{count(many, 'line')} of notes that another call had saved: they stay in their parts"
    told = status.duplicates
    paths = {part.part: f"{part.host}:{part.path}" for part in status.parts}
    for row in told[:_MOST_GROUPS]:
        yield f"{sanitize(row.note_id)} in {paths.get(row.part, row.part)}"
    if many > _MOST_GROUPS:
        yield f"and {many - len(told[:_MOST_GROUPS]):,} more (--json has them)"


def _runs_title(runs: Sequence[RunStatus]) -> str:
    shown = f", the last {_MOST_RUNS} of them" if len(runs) > _MOST_RUNS else ""
    return f"{count(len(runs), 'run')}{shown}"


def _runs(status: Status, zone: ZoneInfo) -> Iterator[str]:
    runs = status.runs
    if earlier := runs[:-_MOST_RUNS]:
        calls, charged = sum(run.calls for run in earlier), sum(run.charged for run in earlier)
        yield (f"{count(len(earlier), 'run')} before: {count(calls, 'call')}, {charged:,} charged")
    for run in runs[-_MOST_RUNS:]:
        yield _run_title(run, zone)
        for text in _run_details(run, status.price):
            yield INDENT + text


def _run_title(run: RunStatus, zone: ZoneInfo) -> str:
    ended = STATES.get(run.state) or f"{run.reason} (exit {run.exit_code})"
    about = "about " if run.state in {"killed", "unknown"} else ""
    took = f"{about}{duration(run.seconds)}"
    host = f", {run.host}" if isinstance(run, FleetRun) else ""
    return f"{_when(run.started_at, zone)}{host}, {took}: {sanitize(ended)}"


def _run_details(run: RunStatus, price: Decimal | None) -> Iterator[str]:
    lost = f", {run.unanswered:,} unanswered" if run.unanswered else ""
    lost += f", {run.closed:,} not taken" if run.closed else ""
    price = (run.account.price if run.account else None) or price
    cost = "" if price is None else f" ({amount(run.charged * price)})"
    yield f"{count(run.calls, 'call')}, {run.charged:,} charged{cost}{lost}"
    if run.account is not None and run.calls:
        yield run.account.text
    if run.bad_lines:
        example = (
            "" if run.bad_example is None else f"; the first: {sanitize(run.bad_example, 600)}"
        )
        yield f"{left_out(run.bad_lines)}{example}"
    if run.calls:
        # Without a blank between them, a code and its number stay on one line.
        yield f"by code: {codes(run.by_code).replace(': ', ':')}"
    facts = []
    if run.rate is not None and run.seconds >= TELLING_SECONDS:
        asked = "rate to be found" if run.asked_rate is None else f"of {_pace(run.asked_rate)}"
        facts.append(f"{_pace(run.rate, run.asked_rate)} {asked}")
    if run.median_seconds is not None and run.p95_seconds is not None:
        facts.append(f"median {_latency(run.median_seconds)}, p95 {_latency(run.p95_seconds)}")
    if facts:
        yield "; ".join(facts)


def _latency(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= _SLOW else f"{seconds * 1000:.0f} ms"


def _pace(per_second: float, beside: float | None = None) -> str:
    """Calls a second, or a minute or an hour where those are few; told as what is `beside` it."""
    for unit, seconds in (("s", 1), ("m", _MINUTE)):
        if (beside or per_second) * seconds >= 1:
            return f"{_number(per_second * seconds)}/{unit}"
    return f"{_number(per_second * _HOUR)}/h"


def _number(value: float) -> str:
    """Three digits are enough."""
    return f"{value:,.0f}" if value >= _HUNDRED else f"{value:.3g}"


def _local(seconds: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(seconds, zone)


def _when(seconds: float, zone: ZoneInfo) -> str:
    return f"{_local(seconds, zone):%Y-%m-%d %H:%M}"
