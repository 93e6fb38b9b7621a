"""The charts of the page as Plotly figures; the page gives them colours, by the names in `meta`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

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


def figures_of(data: ReportData) -> dict[str, go.Figure]:
    """The charts by name; those that would be empty are left out."""
    zone, timeline = data.query.zone, data.timeline
    drawn = {
        "calls": _calls(timeline, zone),
        "latency": _latency(timeline, zone),
        "backlog": _backlog(data),
        "attempts": _attempts(data.attempts),
        "spend": _spend(data.charged, data.query.price),
    }
    return {name: figure for name, figure in drawn.items() if figure.data}


def _figure(traces: Iterator[Any], **layout: Any) -> go.Figure:  # noqa: ANN401 - Plotly's own
    return go.Figure(data=list(traces), layout={"template": "none", **layout})


def _calls(timeline: Timeline, zone: ZoneInfo) -> go.Figure:
    return _figure(
        _bars_of_verdicts(timeline, zone),
        barmode="stack",
        bargap=0,
        yaxis={"tickformat": "~s"},
        **_over_time(timeline, timeline.pauses, zone),
    )


def _bars_of_verdicts(timeline: Timeline, zone: ZoneInfo) -> Iterator[Any]:
    steps = timeline.steps
    for verdict, name, colour in _VERDICTS:
        if any(step.calls.get(verdict) for step in steps):
            yield go.Bar(
                name=name,
                meta=colour,
                x=[_local(step.begins, zone) for step in steps],
                y=[step.calls.get(verdict, 0) / step.busy for step in steps],
                width=[timeline.width * 1000] * len(steps),
                offset=0,
                customdata=[step.calls.get(verdict, 0) for step in steps],
                hovertemplate="%{y:,.3~r}/min (%{customdata:,} in all)",
            )


def _latency(timeline: Timeline, zone: ZoneInfo) -> go.Figure:
    points = list(_with_gaps(timeline))
    lines = (
        ("95 % within", "fair", [step and step.p95 for _, step in points]),
        ("half within", "good", [step and step.median for _, step in points]),
    )
    x = [_local(moment, zone) for moment, _ in points]
    return _figure(
        (
            go.Scatter(
                name=name,
                meta=colour,
                x=x,
                y=y,
                mode=_mode(len(x)),
                connectgaps=False,
                hovertemplate="%{y:.3~s}s",
            )
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


def _backlog(data: ReportData) -> go.Figure:
    timeline, now = data.timeline, data.query.now
    pauses = timeline.pauses
    if timeline.steps and data.ends_at is not None:
        ended = timeline.steps[-1].begins + timeline.width
        pauses = [*pauses, (ended, now)] if ended < now else pauses
    return _figure(
        _backlog_lines(data),
        yaxis={"tickformat": "~s"},
        **_over_time(timeline, pauses, data.query.zone, data.ends_at),
    )


def _backlog_lines(data: ReportData) -> Iterator[Any]:
    zone, now = data.query.zone, data.query.now
    # A second earlier, lest the end of a step falls into the pause that is left out.
    points = [(min(moment - 1, now), queued) for moment, queued in data.timeline.backlog]
    if not points:
        return
    yield go.Scatter(
        name="queued",
        meta="good",
        x=[_local(moment, zone) for moment, _ in points],
        y=[queued for _, queued in points],
        mode=_mode(len(points)),
        fill="tozeroy",
        hovertemplate="%{y:,}",
    )
    queued, ends_at = data.status.queued, data.ends_at
    if ends_at is not None and queued:
        yield go.Scatter(
            name="forecast",
            meta="fair",
            x=[_local(points[-1][0], zone), _local(now, zone), _local(max(now, ends_at), zone)],
            y=[points[-1][1], queued, 0],
            mode="lines",
            line={"dash": "dot"},
            hovertemplate="%{y:,}",
        )


def _attempts(attempts: Mapping[int, Mapping[State, int]]) -> go.Figure:
    last = min(MOST_ATTEMPTS, max(_FEWEST_ATTEMPTS, *attempts, 0))
    numbers = range(1, last + 1)
    names = [f"{n}+" if n == MOST_ATTEMPTS else str(n) for n in numbers]
    return _figure(
        (
            go.Bar(
                name=name,
                meta=colour,
                x=names,
                y=[attempts.get(n, {}).get(state, 0) for n in numbers],
                hovertemplate="%{y:,}",
            )
            for state, name, colour in _STATES
            if any(states.get(state) for states in attempts.values())
        ),
        barmode="stack",
        bargap=0.35,
        xaxis={"type": "category", "title": {"text": "attempts"}},
        yaxis={"tickformat": "~s"},
    )


def _spend(charged: Mapping[date, int], price: float | None) -> go.Figure:
    return _figure(_spend_bars(charged, price), xaxis=_day_axis(list(charged)), yaxis={})


def _spend_bars(charged: Mapping[date, int], price: float | None) -> Iterator[Any]:
    if not charged:
        return
    calls = list(charged.values())
    per_call = "%{customdata:,} calls"
    yield go.Bar(
        name="charged",
        meta="good",
        x=[day.isoformat() for day in charged],
        y=calls if price is None else [many * price for many in calls],
        width=[_BAR_OF_DAY] * len(calls),
        customdata=calls,
        hovertemplate=per_call if price is None else "%{y:,.2f} for " + per_call,
    )


def _day_axis(days: list[date]) -> dict[str, Any]:
    if not days:
        return {}
    half = timedelta(hours=12)
    last = datetime.combine(days[-1], datetime.min.time())
    first = min(datetime.combine(days[0], datetime.min.time()), last - timedelta(_FEWEST_DAYS - 1))
    return {
        "type": "date",
        "range": [_text(first - half), _text(last + half)],
        "tickformat": "%b %-d",
    }


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
        return {"xaxis": {"type": "date"}}
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
    seams = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at}
        for at in axis["tickvals"][1:]
        if len(begins) <= _MOST_SEAMS
    ]
    return {"xaxis": axis, "shapes": seams}


def _mode(points: int) -> str:
    return "lines+markers" if points < _FEW_POINTS else "lines"


def _local(seconds: float, zone: ZoneInfo) -> str:
    """A moment as Plotly takes it: it knows no time zones, so it is told local time."""
    return _text(datetime.fromtimestamp(seconds, zone))


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
