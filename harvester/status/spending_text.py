"""What a run spent by the vendor's word, in a sentence."""

from __future__ import annotations

from harvester.formatting import amount, count
from harvester.money import Agreement, Balance, Spending, Untold

_OTHERS = "others seem to spend from it, so what these calls cost cannot be told"

_SHARED = "hosts share the account: `harvester status` tells what it paid once all have ended"


def spending_text(told: Spending) -> str:
    """One sentence, without its full stop."""
    if told.agreement is Agreement.SHARED:
        return _SHARED
    if told.spent is None:
        return _unknown(told)
    counted, difference = told.counted, told.difference or 0
    paid = f"{amount(told.spent)} {told.currency}".rstrip()
    calls = count(counted.charged, "call")
    ledger = f"the {counted.charged:,} that the ledger counted{_each(told)}"
    texts = {
        Agreement.SAME: f"the account paid {paid} for {calls}{_each(told)}; the ledger agrees",
        Agreement.FEWER: f"the account paid {paid}: {count(-difference, 'call')} fewer than "
        f"{ledger}{_why_fewer(told)}",
        Agreement.MORE: f"the account paid {paid}: {count(difference, 'call')} more than "
        f"{ledger}; the {counted.unanswered:,} unanswered explain{_s(counted.unanswered)} that",
        Agreement.OTHERS: f"the balance fell by {paid}{_too_many(told)}: {_early(told)}{_OTHERS}",
    }
    if told.spent:
        return texts[told.agreement]
    if not counted.charged:
        return "the account paid nothing; the ledger agrees"
    return f"the balance did not change, though the ledger counted {calls} as charged"


def _s(number: int) -> str:
    return "s" if number == 1 else ""


def _too_many(told: Spending) -> str:
    """How many calls more were paid for than anything here explains."""
    if not told.difference:
        return ""
    more = f", {count(told.difference, 'call')} more than the ledger counted"
    if not told.counted.unanswered:
        return more
    return f"{more}, of which at most {told.counted.unanswered:,} unanswered are explained"


def _each(told: Spending) -> str:
    return "" if told.price is None else f" ({told.price.normalize():f} each)"


def _early(told: Spending) -> str:
    """What else may be why nothing fits."""
    return "" if told.difference or not told.balances.early else f"{_under_way(told)}, or "


def _under_way(told: Spending) -> str:
    calls = "one was" if told.balances.early == 1 else f"{told.balances.early:,} were"
    return f"{calls} under way when the balance was told"


def _why_fewer(told: Spending) -> str:
    """What may explain calls that were counted and not paid for."""
    reasons = [_under_way(told)] if told.balances.early else []
    if told.counted.doubtful:
        reasons.append(f"{told.counted.doubtful:,} with code 201 may be free")
    return f"; {' and '.join(reasons)}" if reasons else ""


def _unknown(told: Spending) -> str:
    before, after = told.balances.before, told.balances.after
    if isinstance(before, Balance) and isinstance(after, Balance):
        if told.agreement is Agreement.CURRENCY:
            changed = f"the account changed from {before.currency} to {after.currency}"
            return f"{changed}: what was spent cannot be told"
        grew = amount(after.amount - before.amount)
        text = f"the balance grew by {grew} {after.currency}".rstrip()
        return f"{text}, as by a top-up: what was spent cannot be told"
    when, word = ("before", before) if not isinstance(before, Balance) else ("after", after)
    why = f": {word}" if isinstance(word, Untold) else ""
    return f"the vendor told no balance {when} the calls{why}"
