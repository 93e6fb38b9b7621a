"""Writes what there is to tell as one HTML page that asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from importlib.resources import files
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harvester.formatting import amount, count, duration
from harvester.model import State
from harvester.money import Agreement
from harvester.report.charts import figures_of
from harvester.report.data import ReportData
from harvester.sanitize import sanitize
from harvester.status.model import STATES, FleetRun, RunStatus

_MOST_CODES = 6
_MOST_RUNS = 100
_LONGEST = 8192
_NONE = "\N{EN DASH}"
_FATES = {
    State.REJECTED: ("rejected", "bad", "not sent again unless put back"),
    State.EXHAUSTED: ("exhausted", "odd", "tried again by the next run"),
}
_GONE = ("gone", "end", "not sent again unless put back")
_CAUSES = [{"name": name, "meta": hue} for name, hue, _ in (*_FATES.values(), _GONE)]
# Columns of words; those of numbers stand to the right.
_WORDS = ("host", "began", "ended", "other answers")


def page_of(data: ReportData) -> str:
    """Returns the whole page, some 5 MB of which are the charts' library."""
    status, zone = data.status, data.query.zone
    library, script = _as_is(get_plotlyjs()), _asset("page.js")
    parts = (("done", "good"), ("rejected", "bad"), ("exhausted", "odd"), ("queued", "fair"))
    told = [{"name": name, "meta": hue, "many": getattr(status, name)} for name, hue in parts]
    return _template(zone).render(
        data=data,
        parts=told,
        total=sum(part["many"] for part in told),
        calls=sum(sum(step.calls.values()) for step in data.timeline.steps),
        step=_step(data.timeline.width),
        fates=_FATES,
        gone=_GONE,
        causes=_CAUSES,
        verdict=sanitize(status.verdict.partition(": `")[0], _LONGEST),
        rows=[_cells(run, zone) for run in status.runs[: -_MOST_RUNS - 1 : -1]],
        words=_WORDS,
        figures=figures_of(data),
        policy=_policy(library, script),
        style=_asset("page.css"),
        library=library,
        script=script,
    )


def _template(zone: ZoneInfo) -> Template:
    """The page's own; whatever is put in is escaped, unless it says that it is HTML."""
    environment = Environment(
        loader=PackageLoader("harvester.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": partial(_clock, zone=zone),
        "counted": count,
        "latency": _latency,
        "money": amount,
        "number": "{:,}".format,
        "share": lambda part, whole: f"{part / whole:.2%}",
        "text": sanitize,
    }
    return environment.get_template("page.html")


def _as_is(text: str) -> Markup:
    """What is not to be escaped, with its line ends as a browser reads them, and hashes them."""
    return Markup(text.replace("\r\n", "\n").replace("\r", "\n"))  # noqa: S704 - ours, or Plotly's


def _asset(name: str) -> Markup:
    return _as_is((files("harvester.report") / "templates" / name).read_text("utf-8"))


def _policy(*scripts: str) -> str:
    """Only these very scripts run, and nothing is loaded: the browser itself holds the promise."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _clock(seconds: float, form: str = "%Y-%m-%d %H:%M", *, zone: ZoneInfo) -> Markup:
    local = datetime.fromtimestamp(seconds, zone)
    exact = local.isoformat(timespec="seconds")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, f"{local:{form}}")


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _step(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes == 1:
        return "a minute"
    hours, rest = divmod(minutes, 60)
    return f"the mean of {f'{minutes} min' if rest else f'{hours} h'}, without idle minutes"


def _cells(run: RunStatus, zone: ZoneInfo) -> dict[str, str]:
    """What stands in the columns of the table of runs."""
    host = {"host": run.host} if isinstance(run, FleetRun) else {}
    return host | {
        "began": _clock(run.started_at, zone=zone),
        "took": duration(run.seconds),
        "ended": STATES.get(run.state) or sanitize(f"{run.reason} (exit {run.exit_code})"),
        "calls": f"{run.calls:,}",
        "charged": f"{run.charged:,}",
        "calls/min": _NONE if run.rate is None else f"{run.rate * 60:,.1f}",
        "median": _latency(run.median_seconds),
        "p95": _latency(run.p95_seconds),
        "paid": _paid(run),
        "other answers": _others(run.by_code),
    }


def _paid(run: RunStatus) -> str:
    """What the vendor took for a run, and whether the ledger agrees."""
    told = run.account
    if told is None or told.spent is None:
        return _NONE
    paid = amount(told.spent, told.currency)
    if told.agreement == Agreement.OTHERS.value:
        return f"{paid} with others"
    return paid if not told.difference else f"{paid} ({told.difference:+,} calls)"


def _others(by_code: Mapping[str, int]) -> str:
    others = sorted(((many, code) for code, many in by_code.items() if code != "0"), reverse=True)
    told = [
        f"{'no answer' if code == 'none' else code}: {many:,}"
        for many, code in others[:_MOST_CODES]
    ]
    more = ["…"] if len(others) > _MOST_CODES else []
    return ", ".join(told + more) or _NONE
