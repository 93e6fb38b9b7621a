"""The end of a run in words: why it ended, what is left, what it cost, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from harvester.config import RunConfig
from harvester.formatting import (
    TELLING_SECONDS,
    amount,
    codes,
    count,
    duration,
    left_out,
    money,
    pace,
)
from harvester.json_text import camel, told
from harvester.model import BadLine, StopReason, Summary
from harvester.money import Balance
from harvester.rules.spending import reach_text
from harvester.sanitize import sanitize
from harvester.sides import Side
from harvester.status.runs import summary_fields
from harvester.status.verdict_text import WHY, WHY_GONE

# A harvest, and how it ended.
Ran = tuple[RunConfig, Summary]

# Longer than any path or command line that people type, so that nothing to copy is cut.
_LONGEST = 8192
_GO_ON = "go on: `{command}`"
_NEXT = {
    StopReason.DONE: "nothing is left to do",
    StopReason.FAILED: "see why with `harvester failures {output}`, "
    "queue them again with `harvester retry {output}`",
    StopReason.QUOTA: "go on when the new day has begun: `{command}`",
    StopReason.BALANCE: "top up the balance, or raise the budget, then go on: `{command}`",
    StopReason.REFUSED: "check the token, its permissions, --endpoint and --base-url, then go on: "
    "`{command}`",
    StopReason.UPSTREAM: "check the network and --base-url, then go on later: `{command}`",
    StopReason.INPUT: "mend the input and run the same command again: nothing is paid twice",
    StopReason.LOCAL_IO: "mend that, then go on: `{command}`",
}
# Where the queue was lost, what is done is not all there was.
_WHY_LOST = "nothing that is known is left to do"
_WHY_LINKS = "finished, but some links failed"
_NEXT_LINKS = "see why with `harvester failures {output}`, then run again: `{command} INPUT`"
_NEXT_LOST = "name the INPUT again: `{command} INPUT`"


def closing_line(summary: Summary, output: Path, command: str) -> str:
    """The one plain line that every stop prints; `command` is what to type to go on."""
    reason = StopReason(summary.reason)
    detail = f" ({sanitize(summary.detail, 600)})" if summary.detail else ""
    shown = sanitize(shlex.quote(str(output)), _LONGEST)
    is_lost = summary.is_queue_lost and reason is StopReason.DONE
    why, following = (
        (_WHY_LOST, _NEXT_LOST) if is_lost else (WHY[reason], _NEXT.get(reason, _GO_ON))
    )
    if reason is StopReason.FAILED and 0 < summary.failed == summary.gone:
        why, following = WHY_GONE, _NEXT[StopReason.DONE]
    if reason is StopReason.FAILED and not summary.failed:
        shown = sanitize(shlex.quote(str(Side.LINKS.of(output))), _LONGEST)
        why, following = _WHY_LINKS, _NEXT_LINKS
    advice = following.format(output=shown, command=sanitize(command, _LONGEST))
    others = summary.failed - summary.gone
    failed = f", {others:,} failed" if others else ""
    failed += f", {summary.gone:,} gone" if summary.gone else ""
    return (
        f"harvester: {why}{detail}; {summary.done:,} done, {summary.queued:,} left"
        f"{failed}; next: {advice}"
    )


def summary_told(ran: Sequence[Ran], closing: str) -> dict[str, Any]:
    """The harvests of a command as JSON has them; `closing` is the closing line.

    The last one is told of, and under `links` the one of short links before it, if there was one.
    """
    *before, last = map(_told, ran)
    return {**last, "message": closing, "links": before[0] if before else None}


def _told(ran: Ran) -> dict[str, Any]:
    config, summary = ran
    spending = summary.spending
    price = config.price or (spending.price if spending is not None else None)
    fields = {camel(name): told(held) for name, held in summary_fields(summary).items()}
    return fields | {
        "output": config.output,
        "endpoint": config.endpoint,
        "simulated": config.simulate,
        "price": price,
        "cost": None if price is None else summary.charged * price,
    }


def summary_lines(summary: Summary, output: Path, price: Decimal | None) -> Iterator[str]:
    """The summary above the closing line; without a price that of the balance is taken."""
    spending, currency = summary.spending, ""
    if spending is not None:
        price, currency = price or spending.price, spending.currency
    is_telling = summary.elapsed >= TELLING_SECONDS
    rate = f" ({summary.calls / summary.elapsed:.2f}/s)" if is_telling else ""
    by_code = f"; answers by code: {codes(dict(summary.by_code))}" if summary.by_code else ""
    yield f"{count(summary.calls, 'call')} in {duration(summary.elapsed)}{rate}{by_code}"
    yield (
        f"{count(summary.saved, 'note')} saved to {sanitize(str(output), _LONGEST)}; "
        f"{count(summary.charged, 'call')} charged{money(summary.charged, price, currency)}"
    )
    if summary.empty:
        name = sanitize(shlex.quote(str(output)), _LONGEST)
        yield (
            f"{count(summary.empty, 'note')} of them with nothing in their data; `harvester retry "
            f"{name} --empty` queues such notes again, and each is paid for again"
        )
    if spending is not None:
        yield str(spending)
        if price and spending.price and price != spending.price:
            paid, said = amount(spending.price), amount(price)
            yield f"a call costs the account {paid}, and not {said} as --price says"
        if isinstance(spending.balances.after, Balance):
            yield reach_text(spending.balances.after, spending.price or price)
    yield from _call_lines(summary)
    yield from _failed_lines(summary)
    yield from bad_line_lines(summary)


def _call_lines(summary: Summary) -> Iterator[str]:
    """What is out of the ordinary with calls."""
    if summary.sustained_rate is not None:
        sustained = pace(summary.sustained_rate)
        yield (
            f"{count(summary.by_code.get('302', 0), 'call')} refused by the rate limit: the server "
            f"sustains about {sustained}; suggested: --rate {sustained}"
        )
    if summary.adopted:
        yield f"{count(summary.adopted, 'paid line')} of an earlier run adopted"
    lost = [
        f"{count(many, 'call')} of {whose}"
        for many, whose in (
            (summary.unanswered, "this run"),
            (summary.found_unanswered, "an earlier run"),
        )
        if many
    ]
    if lost:
        yield f"{' and '.join(lost)} may have been charged without an answer"
    if summary.closed:
        yield (
            f"{count(summary.closed, 'call')} met an idle connection that the server had ended: "
            "made again, not charged"
        )


def _failed_lines(summary: Summary) -> Iterator[str]:
    """The notes that failed, and those that are gone."""
    if summary.gone:
        yield f"{count(summary.gone, 'note is', 'notes are')} gone (404): not called for again"
    if failed := summary.failed - summary.gone:
        again = " (tried again by the next run)" if summary.exhausted else ""
        yield (
            f"{count(failed, 'note')} failed: {summary.rejected - summary.gone:,} rejected, "
            f"{summary.exhausted:,} exhausted{again}"
        )


def bad_line_lines(summary: Summary) -> Iterator[str]:
    """Lines of input that name no note: how many, and the first ten."""
    if summary.differed:
        yield (
            f"{count(summary.differed, 'row')} named a note again with other columns: of each note "
            "the last row travels along"
        )
    yield from left_out_lines(summary.bad_lines, summary.bad_examples)


def left_out_lines(many: int, examples: Sequence[BadLine]) -> Iterator[str]:
    """How many lines of input name no note, and the first of them."""
    if many:
        yield f"{left_out(many)}:"
        yield from (f"  {sanitize(str(bad), 600)}" for bad in examples)
    if many > len(examples):
        yield f"  … and {many - len(examples):,} more"
