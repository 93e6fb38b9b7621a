"""What a ledger holds, as lines for people: as wide as their terminal, aligned in any script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from harvester.console.layout import INDENT, Row, folded, table
from harvester.formatting import codes, count, duration, money
from harvester.sanitize import sanitize

_MOST_GROUPS = 10
_MOST_RUNS = 10
_MOST_HOSTS = 20
# Where nobody looks, lines are as long as they come.
_UNBROKEN = 10_000
_NARROWEST = 20
_SLOW, _HUNDRED = 1.0, 100.0
_MINUTE, _HOUR = 60, 3600
_STATES = {"running": "going on", "killed": "killed", "unknown": "going on, or killed"}
_IN_FLIGHT = {
    "finished": "",
    "running": "",
    "killed": "the next run counts them as unanswered",
    "unknown": "",
}
_FROM = {
    "option": "as --rate says",
    "asked": "the rate asked for",
    "reached": "the rate that was reached",
}
# What the last run met, and no forecast can know.
_CAVEATS = {
    "balance": ("the balance was used up: top it up first",),
    "refused": ("the API refused the last run: see to that first",),
}

Status = Mapping[str, Any]


def status_lines(status: Status, price: float | None, width: int | None = None) -> Iterator[str]:
    """Lines of what `status_of` gave, of at most `width` cells; None breaks none."""
    zone = ZoneInfo(status["dayTimezone"])
    runs = status["runs"]
    page = max(_NARROWEST, width or _UNBROKEN)
    inner = page - len(INDENT)
    sections = {
        "Notes": table([*_notes(status, zone)], inner),
        "Failed": table([*_failures(status)], inner),
        "Calls": table([*_calls(status, price)], inner),
        "Forecast": _forecast(status, price, zone),
        "Hosts": _hosts(status, price, zone) if "parts" in status else (),
        "Resting tokens": _stops(status, zone),
        "Paid for twice": _duplicates(status),
        _runs_title(runs): _runs(runs, price, zone),
    }
    for line in _head(status, zone):
        yield from folded(line, page)
    for title, body in sections.items():
        yield from _section(title, body, page)


def _section(title: str, body: Iterable[str], width: int) -> Iterator[str]:
    """A title and what stands under it; nothing where there is nothing."""
    inside = list(body)
    if inside:
        yield ""
        yield from folded(title, width)
        for line in inside:
            yield from folded(INDENT + line, width)


def _head(status: Status, zone: ZoneInfo) -> Iterator[str]:
    kind = " (simulated)" if status["simulated"] else ""
    yield f"{sanitize(str(status['endpoint'] or 'endpoint not known yet'))}{kind}"
    if "parts" in status:
        alive = sum(part["alive"] for part in status["parts"])
        parts = count(len(status["parts"]), "part")
        yield f"a fleet: {count(alive, 'host')} alive now, {parts}"
    yield f"{_when(status['asOf'], zone)}, like all times here in {zone}"


def _notes(status: Status, zone: ZoneInfo) -> Iterator[Row]:
    yield "done", f"{status['done']:,}", ""
    yield "queued", f"{status['queued']:,}", ""
    if status["waiting"]:
        yield "· waiting", f"{status['waiting']:,}", f"next due {_due(status, zone)}"
    if status["inFlight"]:
        last = "running" if "parts" in status else status["runs"][-1]["state"]
        yield "· in flight", f"{status['inFlight']:,}", _IN_FLIGHT[last]
    yield "rejected", f"{status['rejected']:,}", ""
    tried = "tried again by the next run" if status["exhausted"] else ""
    yield "exhausted", f"{status['exhausted']:,}", tried


def _due(status: Status, zone: ZoneInfo) -> str:
    """When the next waiting note is due: the hour alone if that is today."""
    due, now = (_local(status[key], zone) for key in ("nextDue", "asOf"))
    return f"{due:%H:%M:%S}" if due.date() == now.date() else f"{due:%Y-%m-%d %H:%M:%S}"


def _failures(status: Status) -> Iterator[Row]:
    groups = status["failures"]
    for group in groups[:_MOST_GROUPS]:
        code = "no code" if group["code"] is None else str(group["code"])
        yield f"{group['state']} {code}", f"{group['notes']:,}", group["reason"] or "other reasons"
    if rest := groups[_MOST_GROUPS:]:
        notes = sum(group["notes"] for group in rest)
        yield "and more", f"{notes:,}", f"and {count(len(rest), 'more reason')} (--json has all)"


def _calls(status: Status, price: float | None) -> Iterator[Row]:
    yield "charged", f"{status['charged']:,}", money(status["charged"], price).strip(" ()")
    today = money(status["chargedToday"], price).strip(" ()")
    yield "· today", f"{status['chargedToday']:,}", today
    doubt = "may have been charged" if status["unanswered"] else ""
    yield "unanswered", f"{status['unanswered']:,}", doubt
    if status["closed"]:
        yield "not taken", f"{status['closed']:,}", "met a connection that had ended"


def _forecast(status: Status, price: float | None, zone: ZoneInfo) -> Iterator[str]:
    ahead = status["forecast"]
    if not ahead["notes"]:
        yield "nothing is queued"
        return
    yield _cost(ahead, price)
    yield _end(status, zone)
    if ahead["rate"] is not None:
        yield f"at {_pace(ahead['rate'])}, {_FROM[ahead['rateFrom']]}{_share(ahead)}"
    if ahead["dailyCap"] is not None:
        days = "" if ahead["days"] is None else f": calls on {count(ahead['days'], 'day')}"
        yield (
            f"at most {ahead['dailyCap']:,} charged a day, "
            f"{ahead['leftToday']:,} of them left today{days}"
        )
    if ahead["quotaMet"] is not None:
        yield _quota(ahead, zone)
    if runs := status["runs"]:
        yield from _CAVEATS.get(runs[-1]["reason"], ())


def _quota(ahead: Status, zone: ZoneInfo) -> str:
    charged = count(ahead["quotaMet"], "charged call")
    met = f"the API's daily quota ended the last run, with {charged} that day"
    if ahead["startsAt"] is None:
        return f"{met}; a new day has begun since"
    return f"{met}: the next day begins {_local(ahead['startsAt'], zone):%a %Y-%m-%d %H:%M}"


def _cost(ahead: Status, price: float | None) -> str:
    about = "at least" if ahead["saveShare"] is None else "about"
    return (
        f"{count(ahead['notes'], 'note')} left: {about} {count(ahead['calls'], 'call')}, "
        f"{ahead['charged']:,} charged{money(ahead['charged'], price)}"
    )


def _end(status: Status, zone: ZoneInfo) -> str:
    ahead = status["forecast"]
    if ahead["rate"] is None:
        return "when it is done cannot be told yet: no run made enough calls (name a --rate)"
    if ahead["endsAt"] is None:
        return "done in more than ten years"
    is_on = any(run["state"] == "running" for run in status["runs"])
    when = "now" if ahead["startsAt"] is None else "when the next day begins"
    condition = "" if is_on else f", if it goes on {when}"
    end = _local(ahead["endsAt"], zone)
    return f"done {end:%a %Y-%m-%d %H:%M} ({zone}), in {duration(ahead['seconds'])}{condition}"


def _share(ahead: Status) -> str:
    if ahead["saveShare"] is None:
        return ", if each call saves a note"
    return f"; {ahead['saveShare']:.1%} of the calls so far saved a note"


def _hosts(status: Status, price: float | None, zone: ZoneInfo) -> Iterator[str]:
    """The hosts of a fleet, those alive first."""
    parts = sorted(status["parts"], key=lambda part: not part["alive"])
    if not parts:
        yield "no host has joined yet"
    for part in parts[:_MOST_HOSTS]:
        yield f"{part['host']}: {_life(part, zone)}"
        for text in (part["path"], _deeds(part, price)):
            yield INDENT + text
    if rest := parts[_MOST_HOSTS:]:
        yield f"and {count(len(rest), 'more part')} (--json has all)"


def _life(part: Status, zone: ZoneInfo) -> str:
    if part["lastHeartbeat"] is None:
        return "has not run yet"
    seen = _local(part["lastHeartbeat"], zone)
    if part["alive"]:
        share = f", its share is {_pace(part['rate'])}" if part["rate"] else ""
        return f"alive, heard of at {seen:%H:%M:%S}{share}"
    return f"not running, last heard of {seen:%Y-%m-%d %H:%M:%S}"


def _deeds(part: Status, price: float | None) -> str:
    cost = "" if price is None else f" ({part['charged'] * price:,.2f})"
    lost = f", {part['unanswered']:,} unanswered" if part["unanswered"] else ""
    twice = f", {part['duplicates']:,} paid for twice" if part["duplicates"] else ""
    return (
        f"{count(part['calls'], 'call')}, {part['charged']:,} charged{cost}{lost}; "
        f"holds {count(part['notes'], 'note')}{twice}"
    )


def _stops(status: Status, zone: ZoneInfo) -> Iterator[str]:
    for stop in status.get("stops", ()):
        token = "all tokens" if stop["token"] is None else f"token {sanitize(stop['token'])}"
        detail = f": {stop['detail']}" if stop["detail"] else ""
        yield f"{token}, since {_when(stop['at'], zone)}: {stop['reason']}{detail}"


def _duplicates(status: Status) -> Iterator[str]:
    """Lines that were paid for though their notes were done; all of them are counted."""
    many = sum(part["duplicates"] for part in status.get("parts", ()))
    if not many:
        return
    yield f"{count(many, 'line')} of notes that another call had saved: they stay in their parts"
    told = status["duplicates"]
    paths = {part["part"]: f"{part['host']}:{part['path']}" for part in status["parts"]}
    for row in told[:_MOST_GROUPS]:
        yield f"{sanitize(row['noteId'])} in {paths.get(row['part'], row['part'])}"
    if many > _MOST_GROUPS:
        yield f"and {many - len(told[:_MOST_GROUPS]):,} more (--json has them)"


def _runs_title(runs: Sequence[Status]) -> str:
    shown = f", the last {_MOST_RUNS} of them" if len(runs) > _MOST_RUNS else ""
    return f"{count(len(runs), 'run')}{shown}"


def _runs(runs: Sequence[Status], price: float | None, zone: ZoneInfo) -> Iterator[str]:
    if earlier := runs[:-_MOST_RUNS]:
        calls, charged = (sum(run[key] for run in earlier) for key in ("calls", "charged"))
        yield (f"{count(len(earlier), 'run')} before: {count(calls, 'call')}, {charged:,} charged")
    for run in runs[-_MOST_RUNS:]:
        yield _run_title(run, zone)
        for text in _run_details(run, price):
            yield INDENT + text


def _run_title(run: Status, zone: ZoneInfo) -> str:
    ended = _STATES.get(run["state"]) or f"{run['reason']} (exit {run['exitCode']})"
    about = "about " if run["state"] in {"killed", "unknown"} else ""
    took = f"{about}{duration(run['seconds'])}"
    host = f", {run['host']}" if "host" in run else ""
    return f"{_when(run['startedAt'], zone)}{host}, {took}: {sanitize(ended)}"


def _run_details(run: Status, price: float | None) -> Iterator[str]:
    lost = f", {run['unanswered']:,} unanswered" if run["unanswered"] else ""
    lost += f", {run['closed']:,} not taken" if run["closed"] else ""
    cost = "" if price is None else f" ({run['charged'] * price:,.2f})"
    yield f"{count(run['calls'], 'call')}, {run['charged']:,} charged{cost}{lost}"
    if run["badLines"]:
        yield f"{count(run['badLines'], 'line')} of input named no note and were left out"
    if run["calls"]:
        # Without a blank between them, a code and its number stay on one line.
        yield f"by code: {codes(run['byCode']).replace(': ', ':')}"
    asked = "rate to be found" if run["askedRate"] is None else f"of {_pace(run['askedRate'])}"
    facts = [] if run["rate"] is None else [f"{_pace(run['rate'])} {asked}"]
    if run["medianSeconds"] is not None:
        facts.append(f"median {_latency(run['medianSeconds'])}, p95 {_latency(run['p95Seconds'])}")
    if facts:
        yield "; ".join(facts)


def _latency(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= _SLOW else f"{seconds * 1000:.0f} ms"


def _pace(per_second: float) -> str:
    """Calls a second, or a minute or an hour where those are few."""
    for unit, seconds in (("s", 1), ("m", _MINUTE)):
        if per_second * seconds >= 1:
            return f"{_number(per_second * seconds)}/{unit}"
    return f"{_number(per_second * _HOUR)}/h"


def _number(value: float) -> str:
    """Three digits are enough."""
    return f"{value:,.0f}" if value >= _HUNDRED else f"{value:.3g}"


def _local(moment: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(moment).astimezone(zone)


def _when(moment: str, zone: ZoneInfo) -> str:
    return f"{_local(moment, zone):%Y-%m-%d %H:%M}"
