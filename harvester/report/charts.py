"""The charts of the page, as Plotly's script takes them; it colours them by the names in `meta`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from harvester.ledger.history import MOST_ATTEMPTS, Step, Timeline
from harvester.model import State, Verdict
from harvester.report.data import ReportData

# The order in which bars are piled up, what each is called, and the name of its colour.
_VERDICTS = (
    (Verdict.SAVE, "saved", "good"),
    (Verdict.RETRY, "to be retried", "fair"),
    (Verdict.SLOW_DOWN, "too fast", "odd"),
    (Verdict.REJECT, "rejected", "bad"),
    (Verdict.STOP, "stopped the run", "end"),
)
_STATES = (
    (State.DONE, "done", "good"),
    (State.QUEUED, "still queued", "fair"),
    (State.EXHAUSTED, "exhausted", "odd"),
    (State.REJECTED, "rejected", "bad"),
)
_FEWEST_DAYS = 7
_FEWEST_ATTEMPTS = 5
_FEWEST_STEPS = 10
_BAR_OF_DAY = 0.65 * 24 * 3600 * 1000  # in milliseconds
# Lines over fewer points than this show the points.
_FEW_POINTS = 30
# Pauses are left out of the axis where they would take more than half of it.
_MOST_PAUSES = 150
# More of them are not marked: nights that are a few steps long look best as one line.
_MOST_SEAMS = 32
_HOUR = 3600.0
# Over fewer seconds, hours tell more than days.
_FEW_DAYS = 3 * 24 * _HOUR

# What Plotly calls a trace, and a figure: one or more of those, and a layout.
Trace = dict[str, Any]
Figure = dict[str, Any]


def figures_of(data: ReportData) -> dict[str, Figure]:
    """Returns the charts by name; those that would be empty are left out."""
    drawn = {
        "calls": _calls(data.timeline, data.query.zone),
        "latency": _latency(data.timeline, data.query.zone),
        "backlog": _backlog(data),
        "attempts": _attempts(data),
        "spend": _spend(data),
    }
    return {name: figure for name, figure in drawn.items() if figure["data"]}


def _figure(traces: Iterable[Trace], **layout: Any) -> Figure:  # noqa: ANN401 - Plotly's own
    layout = {"xaxis": {}, "yaxis": {"tickformat": "~s"}} | layout
    return {"data": list(traces), "layout": layout}


def _bars(name: str, colour: str, y: Sequence[float], **more: Any) -> Trace:  # noqa: ANN401 - the same
    return {"type": "bar", "name": name, "meta": colour, "y": y, "hovertemplate": "%{y:,}"} | more


def _line(name: str, colour: str, y: Sequence[float | None], **more: Any) -> Trace:  # noqa: ANN401 - the same
    mode = "lines+markers" if len(y) < _FEW_POINTS else "lines"
    trace = {"type": "scatter", "name": name, "meta": colour, "y": y, "mode": mode}
    return trace | {"hovertemplate": "%{y:,}"} | more


def _calls(timeline: Timeline, zone: ZoneInfo) -> Figure:
    steps = timeline.steps
    bars = (
        _bars(
            name,
            colour,
            [step.calls.get(verdict, 0) / step.busy for step in steps],
            x=[_local(step.begins, zone) for step in steps],
            width=[timeline.width * 1000] * len(steps),
            offset=0,
            customdata=[step.calls.get(verdict, 0) for step in steps],
            hovertemplate="%{y:,.3~r}/min (%{customdata:,} in all)",
        )
        for verdict, name, colour in _VERDICTS
        if any(step.calls.get(verdict) for step in steps)
    )
    return _figure(bars, barmode="stack", bargap=0, **_over_time(timeline, timeline.pauses, zone))


def _latency(timeline: Timeline, zone: ZoneInfo) -> Figure:
    points = list(_with_gaps(timeline))
    x = [_local(moment, zone) for moment, _ in points]
    lines = (
        ("95 % within", "fair", [None if step is None else step.p95 for _, step in points]),
        ("half within", "good", [None if step is None else step.median for _, step in points]),
    )
    return _figure(
        (
            _line(name, colour, y, x=x, connectgaps=False, hovertemplate="%{y:.3~s}s")
            for name, colour, y in lines
            if any(y)
        ),
        yaxis={"tickformat": "~s", "ticksuffix": "s"},
        **_over_time(timeline, timeline.pauses, zone),
    )


def _with_gaps(timeline: Timeline) -> Iterator[tuple[float, Step | None]]:
    """Each step by its middle, and nothing where a pause begins."""
    are_few = len(timeline.pauses) < _MOST_SEAMS
    gaps = {begins for begins, _ in timeline.pauses} if are_few else set()
    for step in timeline.steps:
        yield step.begins + timeline.width / 2, step
        if step.begins + timeline.width in gaps:
            yield step.begins + timeline.width, None


def _backlog(data: ReportData) -> Figure:
    timeline, now, ends_at = data.timeline, data.query.now, data.status.forecast.ends_at
    pauses = timeline.pauses
    if timeline.steps and ends_at is not None:
        ended = timeline.steps[-1].begins + timeline.width
        pauses = [*pauses, (ended, now)] if ended < now else pauses
    lines = _backlog_lines(data, ends_at) if timeline.backlog else ()
    return _figure(lines, **_over_time(timeline, pauses, data.query.zone, ends_at))


def _backlog_lines(data: ReportData, ends_at: float | None) -> Iterator[Trace]:
    zone, now = data.query.zone, data.query.now
    # A second earlier, lest the end of a step falls into the pause that is left out.
    x = [_local(min(moment - 1, now), zone) for moment, _ in data.timeline.backlog]
    y = [queued for _, queued in data.timeline.backlog]
    yield _line("queued", "good", y, x=x, fill="tozeroy")
    if ends_at is not None and (queued := data.status.queued):
        yield _line(
            "forecast",
            "fair",
            [y[-1], queued, 0],
            x=[x[-1], _local(now, zone), _local(max(now, ends_at), zone)],
            mode="lines",
            line={"dash": "dot"},
        )


def _attempts(data: ReportData) -> Figure:
    attempts = data.attempts
    numbers = range(1, min(MOST_ATTEMPTS, max(_FEWEST_ATTEMPTS, *attempts, 0)) + 1)
    names = [f"{n}+" if n == MOST_ATTEMPTS else str(n) for n in numbers]
    bars = (
        _bars(name, colour, [attempts.get(n, {}).get(state, 0) for n in numbers], x=names)
        for state, name, colour in _STATES
        if any(states.get(state) for states in attempts.values())
    )
    xaxis = {"type": "category", "title": {"text": "attempts"}}
    return _figure(bars, barmode="stack", bargap=0.35, xaxis=xaxis)


def _spend(data: ReportData) -> Figure:
    price, days, calls = data.status.price, list(data.charged), list(data.charged.values())
    if not days:
        return _figure(())
    per_call = "%{customdata:,} calls"
    bars = _bars(
        "charged",
        "good",
        calls if price is None else [float(many * price) for many in calls],
        x=[day.isoformat() for day in days],
        width=[_BAR_OF_DAY] * len(calls),
        customdata=calls,
        hovertemplate=per_call if price is None else "%{y:,.2f} for " + per_call,
    )
    half, first = timedelta(hours=12), min(days[0], days[-1] - timedelta(_FEWEST_DAYS - 1))
    bounds = [datetime.combine(day, datetime.min.time()) for day in (first, days[-1])]
    axis = {"type": "date", "range": [_text(bounds[0] - half), _text(bounds[1] + half)]}
    return _figure([bars], xaxis=axis | {"tickformat": "%b %-d"}, yaxis={})


def _over_time(
    timeline: Timeline,
    pauses: Sequence[tuple[float, float]],
    zone: ZoneInfo,
    until: float | None = None,
) -> dict[str, Any]:
    """An axis of local time without the pauses, where they would take most of it.

    Lines stand where time is left out, and ticks where it goes on; the page thins those. `until`
    (Unix seconds) is where the axis ends, if not with the last step.
    """
    if not timeline.steps:
        return {}
    first, last = timeline.steps[0].begins, timeline.steps[-1].begins + timeline.width
    end = max(last, until or 0, first + _FEWEST_STEPS * timeline.width)
    axis: dict[str, Any] = {"type": "date", "range": [_local(first, zone), _local(end, zone)]}
    if end - first < _FEW_DAYS:
        axis["tickformat"] = "%H:%M\n%b %-d"
    idle = sum(to - at for at, to in pauses)
    if not pauses or idle < timeline.width * len(timeline.steps) or len(pauses) > _MOST_PAUSES:
        return {"xaxis": axis}
    begins = [first, *(to for _, to in pauses)]
    form = "%b %-d" if timeline.width >= _HOUR else "%H:%M<br>%b %-d"
    axis |= {
        "rangebreaks": [{"bounds": [_local(at, zone), _local(to, zone)]} for at, to in pauses],
        "tickmode": "array",
        "tickvals": [_local(at, zone) for at in begins],
        "ticktext": [datetime.fromtimestamp(at, zone).strftime(form) for at in begins],
    }
    seams = axis["tickvals"][1:] if len(begins) <= _MOST_SEAMS else ()
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1}
    return {"xaxis": axis, "shapes": [line | {"x0": at, "x1": at} for at in seams]}


def _local(seconds: float, zone: ZoneInfo) -> str:
    """A moment as Plotly takes it: it knows no time zones, so it is told local time."""
    return _text(datetime.fromtimestamp(seconds, zone))


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
