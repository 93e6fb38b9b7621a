"""Writes a data as one HTML page that asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from harvester.formatting import count, duration
from harvester.ledger.history import FailedFor
from harvester.ledger.reader import FailedGroup
from harvester.model import State
from harvester.report.charts import figures_of
from harvester.report.data import ReportData
from harvester.sanitize import sanitize
from harvester.status.model import FleetRun, RunStatus

_LONGEST_REASON = 200
_MOST_CODES = 6
_FIRST_RUNS, _MOST_RUNS = 10, 100
_NONE = "\N{EN DASH}"
_CHARTS = (
    ("calls", "Calls per minute", "By what became of them; each bar is {step}."),
    ("latency", "Latency", "How long half and 95 % of the answers took at most."),
    ("backlog", "What is left", "Notes in the queue{forecast}."),
    ("attempts", "Attempts per note", "How often a note was asked for so far."),
    ("spend", "Spend by day", "{charged}; days begin in {zone}."),
)
_EMPTY = "Nothing to show yet: no call was recorded."
_PAIRED = ("attempts", "spend")
_FATES = {
    State.REJECTED: ("rejected", "bad", "not sent again unless put back"),
    State.EXHAUSTED: ("exhausted", "odd", "tried again by the next run"),
}


def page_of(data: ReportData) -> str:
    """The whole page, some 5 MB of which are the charts' library."""
    figures = figures_of(data)
    library, script = _newlines(get_plotlyjs()), _asset("page.js")
    return Template(_asset("page.html")).substitute(
        policy=escape(_policy(library, script)),
        title=escape(f"{_name(data)}: harvest report"),
        subtitle=_subtitle(data),
        style=_asset("page.css"),
        bar=_bar(data),
        bar_text=escape(_bar_text(data)),
        bar_colours=_colours((colour, name) for name, colour, many in _parts(data) if many),
        tiles="".join(_tiles(data)),
        charts="\n".join(_charts(data, figures)),
        failures="\n".join(_failures(data)),
        runs="\n".join(_runs(data)),
        footer=_footer(data),
        figures=_json(figures),
        library=library,
        script=script,
    )


# Parts that must be as they are


def _asset(name: str) -> str:
    return (files("harvester.report") / name).read_text("utf-8")


def _newlines(text: str) -> str:
    """As a browser reads it, which is what a policy's hash is of."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _policy(*scripts: str) -> str:
    """Only these very scripts run, and nothing is loaded: the browser itself holds the promise."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(figures: Mapping[str, go.Figure]) -> str:
    """JSON that cannot end the script element it stands in."""
    pairs = (f'"{name}":{figure.to_json()}' for name, figure in figures.items())
    text = "{" + ",".join(pairs) + "}"
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _text(text: str) -> str:
    """Text from outside, fit to stand in HTML."""
    return escape(sanitize(text, _LONGEST_REASON))


# The head


def _name(data: ReportData) -> str:
    return sanitize(data.name, _LONGEST_REASON)


def _subtitle(data: ReportData) -> str:
    status = data.status
    kind = " (simulated)" if status.simulated else ""
    made = _clock(data, data.query.now)
    return f"{_text(str(status.endpoint))}{kind} · as of {made}"


def _clock(data: ReportData, seconds: float, form: str = "%Y-%m-%d %H:%M") -> str:
    local = datetime.fromtimestamp(seconds, data.query.zone)
    exact = local.isoformat(timespec="seconds")
    return f'<time datetime="{exact}" title="{exact}">{local.strftime(form)}</time>'


def _footer(data: ReportData) -> str:
    return (
        f"All times are those of {_text(str(data.query.zone))}. Drag over a chart to zoom, "
        "double-click to go back. Dotted lines stand where time without calls is left out."
    )


# In short


def _parts(data: ReportData) -> Iterator[tuple[str, str, int]]:
    status = data.status
    yield "done", "good", status.done
    yield "rejected", "bad", status.rejected
    yield "exhausted", "odd", status.exhausted
    yield "queued", "fair", status.queued


def _total(data: ReportData) -> int:
    return sum(many for _, _, many in _parts(data))


def _bar(data: ReportData) -> str:
    total = _total(data)
    return "".join(
        f'<span class="{colour}" style="width:{many / total:.2%}"></span>'
        for _, colour, many in _parts(data)
        if many
    )


def _bar_text(data: ReportData) -> str:
    return ", ".join(f"{many:,} {name}" for name, _, many in _parts(data))


def _tiles(data: ReportData) -> Iterator[str]:
    status, total = data.status, _total(data)
    share = f" ({status.done / total:.1%})" if total else ""
    waiting = f"in the queue; {status.waiting:,} wait to be retried"
    failed = f"{status.rejected:,} rejected, {status.exhausted:,} exhausted"
    yield _tile("done", f"{status.done:,}", f"of {count(total, 'note')}{share}", "good")
    yield _tile("left", f"{status.queued:,}", waiting, "fair")
    yield _tile("failed", f"{status.rejected + status.exhausted:,}", failed, "bad")
    yield _end_tile(data)
    yield _spend_tile(data)
    yield _calls_tile(data)
    yield _latency_tile(data)
    maybe = "calls that broke off may have been charged"
    yield _tile("unanswered", f"{status.unanswered:,}", maybe)


def _tile(label: str, number: str, note: str, colour: str = "") -> str:
    dot = f'<i class="{colour}"></i>' if colour else ""
    return (
        f"<li><span>{dot}{escape(label)}</span><strong>{number}</strong>"
        f"<span>{escape(note)}</span></li>"
    )


def _end_tile(data: ReportData) -> str:
    ahead, price = data.status.forecast, data.query.price
    if not data.status.queued:
        return _tile("done by", "now", "nothing is queued")
    number = "not known" if data.ends_at is None else _clock(data, data.ends_at, "%b %-d, %H:%M")
    cost = "" if price is None else f" for {ahead.cost:,.2f}"
    when = "from now" if ahead.starts_at is None else "when the next day begins"
    note = f"if calls go on {when}: about {count(ahead.calls, 'call')}{cost}"
    return _tile("done by", number, note)


def _spend_tile(data: ReportData) -> str:
    status, price = data.status, data.query.price
    if price is None:
        return _tile("charged", f"{status.charged:,}", f"calls; {status.charged_today:,} today")
    note = f"{count(status.charged, 'call')} at {price:g}; {status.cost_today:,.2f} today"
    return _tile("spent", f"{status.cost:,.2f}", note)


def _calls_tile(data: ReportData) -> str:
    calls = sum(sum(step.calls.values()) for step in data.timeline.steps)
    share = data.status.charged / calls if calls else 0.0
    return _tile("calls", f"{calls:,}", f"{share:.1%} of them brought a note")


def _latency_tile(data: ReportData) -> str:
    median, p95 = data.latency
    return _tile("median latency", _seconds(median), f"95 % within {_seconds(p95)}")


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


# The charts


def _charts(data: ReportData, figures: Mapping[str, go.Figure]) -> Iterator[str]:
    sections = {name: _chart(data, name, head, note, figures) for name, head, note in _CHARTS}
    yield from (section for name, section in sections.items() if name not in _PAIRED)
    yield '<div class="pair">' + "".join(sections[name] for name in _PAIRED) + "</div>"


def _chart(
    data: ReportData, name: str, head: str, note: str, figures: Mapping[str, go.Figure]
) -> str:
    about = note.format(
        step=_step(data.timeline.width),
        forecast=", and when it will be empty if calls go on" if data.ends_at else "",
        charged="Money" if data.query.price is not None else "Charged calls",
        zone=data.query.zone,
    )
    body = (
        f'{_legend(figures[name])}<div class="chart" id="chart-{name}"></div>'
        if name in figures
        else f'<p class="chart empty">{_EMPTY}</p>'
    )
    return f'<section><h2>{head}</h2><p class="quiet">{escape(about)}</p>{body}</section>'


def _step(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes == 1:
        return "a minute"
    hours, rest = divmod(minutes, 60)
    return f"the mean of {f'{minutes} min' if rest else f'{hours} h'}, without idle minutes"


def _legend(figure: go.Figure) -> str:
    return _colours((trace.meta, trace.name) for trace in figure.data)


def _colours(named: Iterable[tuple[str, str]]) -> str:
    """What colours mean, by name."""
    items = (f'<li><i class="{colour}"></i>{name}</li>' for colour, name in named)
    return f'<ul class="legend">{"".join(items)}</ul>'


# Failures


def _failures(data: ReportData) -> Iterator[str]:
    failures = data.failures
    if not failures.told:
        yield '<p class="empty">No note has failed.</p>'
        return
    most = max(failed.group.jobs for failed in failures.told)
    for number, failed in enumerate(failures.told):
        yield _failed(data, number, failed, most)
    if failures.others:
        yield f"<p>{count(failures.others, 'note')} more failed for other reasons.</p>"
    everything = _command(data, "failures", "--format ids")
    yield f'<p class="quiet">All ids: <code>{everything}</code></p>'


def _failed(data: ReportData, number: int, failed: FailedFor, most: int) -> str:
    group, ids = failed.group, failed.ids
    name, colour, fate = _FATES[group.state]
    code = "" if group.code is None else f" · code {group.code}"
    share = f'<span class="{colour}" style="width:{group.jobs / most:.2%}"></span>'
    return (
        f"<details{'' if number else ' open'}><summary><b>{group.jobs:,}</b> · "
        f"<bdi>{_text(group.reason) or 'other reasons'}</bdi> "
        f'<span class="quiet">{name}{code}</span><span class="share">{share}</span></summary>'
        f"{_ids(number, ids, group.jobs) if ids else ''}"
        f'<p class="quiet">{name.capitalize()}: {fate}{_way_back(data, group)}.</p></details>'
    )


def _ids(number: int, ids: list[str], notes: int) -> str:
    cut = f'<p class="quiet">The first {len(ids):,} of {notes:,}:</p>' if len(ids) < notes else ""
    listed = "\n".join(escape(sanitize(note_id, _LONGEST_REASON)) for note_id in ids)
    return (
        f'{cut}<textarea id="ids-{number}" readonly spellcheck="false" aria-label="Note ids">'
        f'\n{listed}</textarea><button type="button" data-copy="ids-{number}">'
        f"Copy {count(len(ids), 'id')}</button>"
    )


def _way_back(data: ReportData, group: FailedGroup) -> str:
    if group.code is None or group.state is State.EXHAUSTED:
        return ""
    return f": <code>{_command(data, 'retry', f'--code {group.code}')}</code>"


def _command(data: ReportData, command: str, options: str) -> str:
    return escape(f"harvester {command} {sanitize(data.target, _LONGEST_REASON)} {options}")


# Runs


def _runs(data: ReportData) -> Iterator[str]:
    runs = data.status.runs[: -_MOST_RUNS - 1 : -1]
    if not runs:
        yield '<p class="empty">No run yet.</p>'
        return
    if len(data.status.runs) > len(runs):
        everything = _command(data, "status", "--json")
        yield (
            f'<p class="quiet">The latest {len(runs)} of {len(data.status.runs):,}; '
            f"all: <code>{everything}</code></p>"
        )
    yield _table(data, runs[:_FIRST_RUNS])
    if runs[_FIRST_RUNS:]:
        earlier = count(len(runs) - _FIRST_RUNS, "earlier run")
        table = _table(data, runs[_FIRST_RUNS:])
        yield f"<details><summary>{earlier}</summary>{table}</details>"


def _table(data: ReportData, runs: Sequence[RunStatus]) -> str:
    names = [name for name, _ in _cells(data, runs[0])]
    heads = (f'<th scope="col"{_numeric(name)}>{name}</th>' for name in names)
    rows = "".join(_row(data, run) for run in runs)
    return f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table>"


def _row(data: ReportData, run: RunStatus) -> str:
    cells = (
        f'<td data-label="{name}"{_numeric(name)}><span>{value}</span></td>'
        for name, value in _cells(data, run)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _numeric(name: str) -> str:
    return "" if name in {"host", "began", "ended", "other answers"} else ' class="number"'


def _cells(data: ReportData, run: RunStatus) -> Iterator[tuple[str, str]]:
    if isinstance(run, FleetRun):
        yield "host", _text(run.host)
    yield "began", _clock(data, run.started_at)
    yield "took", duration(run.seconds)
    yield "ended", _ended(run)
    yield "calls", f"{run.calls:,}"
    yield "saved", f"{run.charged:,}"
    yield "calls/min", _NONE if run.rate is None else f"{run.rate * 60:,.1f}"
    yield "median", _seconds(run.median_seconds)
    yield "p95", _seconds(run.p95_seconds)
    yield "other answers", _others(run.by_code)


def _ended(run: RunStatus) -> str:
    if run.state == "finished":
        return _text(f"{run.reason} (exit {run.exit_code})")
    return {"running": "still going on", "killed": "killed"}.get(run.state, "going on, or killed")


def _others(by_code: Mapping[str, int]) -> str:
    others = sorted(((many, code) for code, many in by_code.items() if code != "0"), reverse=True)
    told = [
        f"{'no answer' if code == 'none' else code}: {many:,}"
        for many, code in others[:_MOST_CODES]
    ]
    more = ["…"] if len(others) > _MOST_CODES else []
    return ", ".join(told + more) or _NONE
