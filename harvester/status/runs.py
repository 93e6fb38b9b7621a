"""The runs of a ledger, also those of a fleet, which go on at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from msgspec.structs import asdict, replace

from harvester.ledger.hosts import RunPlace
from harvester.ledger.reader import LedgerReader, RunRow
from harvester.model import Summary
from harvester.money import Balance, Balances, Counted, Spending
from harvester.rules.codes import CHARGED, NO_CONTENT
from harvester.rules.latency import quantile
from harvester.rules.spending import in_all, last_known, spending, without_gaps
from harvester.sanitize import sanitize
from harvester.status.model import AccountStatus, FleetRun, RunStatus


def run_of(row: RunRow, until: float, state: str) -> RunStatus:
    """Returns a run; `until` is when the next one began, or now."""
    calls = sum(row.by_code.values())
    seconds = max(0.0, _end(row, until, state) - row.started_at)
    median, p95 = (quantile(row.latencies, share) for share in (0.5, 0.95))
    return RunStatus(
        started_at=row.started_at,
        finished_at=row.finished_at,
        seconds=round(seconds, 3),
        state=state,
        reason=row.reason,
        exit_code=row.exit_code,
        calls=calls,
        charged=_charged(row),
        unanswered=row.unanswered,
        closed=row.closed,
        bad_lines=row.bad_lines,
        bad_example=row.bad_example,
        by_code={"none" if c is None else str(c): many for c, many in row.by_code.items()},
        rate=round(calls / seconds, 4) if calls and seconds else None,
        asked_rate=row.rate,
        daily_cap=row.daily_cap,
        median_seconds=None if median is None else round(median, 4),
        p95_seconds=None if p95 is None else round(p95, 4),
        account=None if state == "running" else account_of(spending_of(row)),
    )


def priced(rows: Sequence[RunRow], price: Decimal | None) -> list[RunRow]:
    """The runs, oldest first, each with a price of a call to go by, and with no balance missing.

    `price` is told, or else each has what it learnt, or what the last one did.
    """
    balances = without_gaps([row.balances for row in rows])
    whole = [replace(row, balances=told) for row, told in zip(rows, balances, strict=True)]
    spent = filter(None, map(spending_of, reversed(whole)))
    learnt = price or next((told.price for told in spent if told.price), None)
    return [
        replace(row, balances=replace(row.balances, price=price or row.balances.price or learnt))
        for row in whole
    ]


def spending_of(row: RunRow) -> Spending | None:
    """What the balance tells of a run, None where it was not asked for."""
    if row.balances.before is None:
        return None
    counted = Counted(_charged(row), row.unanswered, row.by_code.get(NO_CONTENT, 0))
    return spending(row.balances, counted, row.balances.price)


def _charged(row: RunRow) -> int:
    return sum(row.by_code.get(code, 0) for code in CHARGED)


def beyond(rows: Sequence[RunRow], price: Decimal) -> Decimal:
    """What the calls of some priced runs cost more than at a price, below 0 where it was less."""
    told = ((row, spending_of(row)) for row in rows)
    each = ((row, (spent.price if spent else None) or row.balances.price) for row, spent in told)
    return sum((_charged(row) * (own - price) for row, own in each if own), Decimal(0))


def spent_in_all(reader: LedgerReader, price: Decimal | None) -> Spending | None:
    """What several runs spent together, None where but one, or none, is known of."""
    told = [*filter(None, map(spending_of, priced(reader.runs(), price)))]
    return in_all(told) if len(told) > 1 else None


def account_of(told: Spending | None) -> AccountStatus | None:
    """The same as it is told."""
    if told is None:
        return None
    before, after = (
        word.amount if isinstance(word, Balance) else None
        for word in (told.balances.before, told.balances.after)
    )
    return AccountStatus(
        before,
        after,
        told.currency or None,
        told.spent,
        told.price,
        told.agreement.value,
        told.difference,
        str(told),
    )


def summary_fields(summary: Summary) -> dict[str, Any]:
    """A summary's fields as programs are told them: with what the account paid as a ledger's."""
    fields: dict[str, Any] = asdict(summary)
    return fields | {"account": account_of(fields.pop("spending"))}


def _end(row: RunRow, until: float, state: str) -> float:
    if row.finished_at is not None:
        return row.finished_at
    return until if state == "running" else min(row.seen_at, until)


def place_alone(*, is_held: bool | None, is_leased: bool) -> RunPlace:
    """Where the last run of an OUTPUT with a ledger of its own is.

    A lock that is seen tells that it goes on. Where none is seen it may be hidden, so a lease that
    holds leaves it open: a run keeps its leases, and those of a dead one lapse.
    """
    return RunPlace(0, "", "", "", is_alive=bool(is_held), is_leased=is_leased or is_held is None)


def runs_alone(rows: Sequence[RunRow], last: RunPlace, now: float) -> list[RunStatus]:
    """Returns the runs of such an OUTPUT, oldest first; each of them held it alone."""
    places = dict.fromkeys((row.number for row in rows), last)
    return [run_of(*life) for life in _lives(rows, places, now)]


def runs_of_fleet(
    rows: Sequence[RunRow], places: Mapping[int, RunPlace], now: float
) -> list[FleetRun]:
    """Returns the runs of a fleet, oldest first."""
    return [
        FleetRun(
            **asdict(run_of(_by_itself(row, places), until, state)),
            host=sanitize(place.host),
            path=sanitize(place.path),
            part=place.part,
            session=place.session,
        )
        for row, until, state in _lives(rows, places, now)
        for place in (places[row.number],)
    ]


def _by_itself(row: RunRow, places: Mapping[int, RunPlace]) -> RunRow:
    """A run; what it paid alone is not known where others ran with it."""
    session = places[row.number].session
    is_alone = sum(place.session == session for place in places.values()) == 1
    return row if is_alone else replace(row, balances=Balances())


def _lives(
    rows: Sequence[RunRow], places: Mapping[int, RunPlace], now: float
) -> Iterator[tuple[RunRow, float, str]]:
    """Each run with the moment by which it had ended, and what became of it.

    A run ends at the latest when the next one of its part begins: each held its part alone.
    """
    began: dict[str, float] = {}
    found = []
    for row in reversed(rows):
        place = places.get(row.number)
        if place is None:
            continue
        found.append((row, began.get(place.part, now), _state(row, place, began)))
        began[place.part] = row.started_at
    yield from reversed(found)


def _state(row: RunRow, place: RunPlace, began: Mapping[str, float]) -> str:
    if row.finished_at is not None:
        return "finished"
    if place.part in began:
        return "killed"
    return "running" if place.is_alive else "unknown" if place.is_leased else "killed"


def campaigns(rows: Sequence[RunRow], places: Mapping[int, RunPlace], now: float) -> list[RunRow]:
    """Runs of a fleet added up by session, as if one host had made each, oldest first."""
    lives = sorted(_lives(rows, places, now), key=lambda life: places[life[0].number].session)
    return [
        _session(list(group))
        for _, group in groupby(lives, lambda life: places[life[0].number].session)
    ]


def _session(lives: Sequence[tuple[RunRow, float, str]]) -> RunRow:
    rows = [row for row, _, _ in lives]
    by_code, latencies = (Counter[Any](), Counter[int]())
    for row in rows:
        by_code.update(row.by_code)
        latencies.update(row.latencies)
    ends = [_end(*life) for life in lives]
    return replace(
        rows[-1],
        started_at=min(row.started_at for row in rows),
        finished_at=max(ends),
        by_code=dict(by_code),
        latencies=dict(latencies),
        unanswered=sum(row.unanswered for row in rows),
        closed=sum(row.closed for row in rows),
        bad_lines=sum(row.bad_lines for row in rows),
        bad_example=next((row.bad_example for row in rows if row.bad_example), None),
        seen_at=max(ends),
        balances=_balances(lives),
    )


def _balances(lives: Sequence[tuple[RunRow, float, str]]) -> Balances:
    """What the vendor told before the first call of all hosts and after the last, if all ended.

    The balance falls: what was told first is the highest, what was told last the lowest. Hosts with
    other tokens may have another account.
    """
    told = [row.balances for row, _, _ in lives]
    ends = [row.balances.after for row, _, _ in lives if row.by_code or row.unanswered]
    after = [word for word in ends if isinstance(word, Balance)]
    before = [one.before for one in told if isinstance(one.before, Balance)]
    is_over = all(state in {"finished", "killed"} for _, _, state in lives)
    is_of_one = len({one.tokens for one in told}) == 1
    if not (is_over and is_of_one and isinstance(told[0].before, Balance)):
        return Balances(after=last_known(reversed(told)).balance)
    return Balances(
        max(before, key=lambda word: word.amount),
        min(after, key=lambda word: word.amount) if after and len(after) == len(ends) else None,
        sum(one.early for one in told),
        next((one.price for one in told if one.price), None),
    )
