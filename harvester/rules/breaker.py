"""The breaker: tells an unhealthy upstream from unlucky notes."""

from __future__ import annotations

from harvester.model import Judgement, Verdict
from harvester.rules.codes import COLLECTION_FAILED

# The contract: 30 different notes in a row all retry; 10 failed probes in a row end the run; the
# first 20 answers tell whether the request is wrong.
TRIP_AFTER = 30
MOST_PROBES = 10
_FIRST = 20
# The vendor's "Invalid Parameters" and "Not Found", which is also said of an endpoint.
_INVALID = frozenset({400, 404})
_WRONG = "say 400 or 404: the request itself is wrong, or the endpoint is gone"


class Breaker:
    """Follows the answers of a run in the order they came.

    `is_tripped` while only probes may be sent; `is_spent` when the probes have failed too.
    """

    def __init__(self) -> None:
        self._failing: set[int] = set()
        self.is_tripped = False
        self.failed_probes = 0

    @property
    def is_spent(self) -> bool:
        """Whether so many probes failed in a row that the run should stop."""
        return self.failed_probes >= MOST_PROBES

    def see(self, seq: int, verdict: Verdict, *, probe: bool = False, again: bool = False) -> None:
        """Take note of one answer; `probe` tells whether its call was one.

        `again` is for a note that failed in this run before: its failing once more says nothing
        new of the upstream, so that a list may end in many notes that have to be requeued.
        """
        if verdict is not Verdict.RETRY:
            self._failing.clear()
            self.is_tripped = False
            self.failed_probes = 0
        elif self.is_tripped:
            self.failed_probes += probe
        elif not again:
            self._failing.add(seq)
            self.is_tripped = len(self._failing) >= TRIP_AFTER


class FirstAnswers:
    """Watches the first answers of a run: where all say the same, the request itself is wrong.

    `is_watching` while all were of one kind so far.
    `is_deprecated` tells whether the endpoint is known to give only 301 one day.
    """

    def __init__(self, *, is_deprecated: bool = False) -> None:
        self._is_deprecated = is_deprecated
        self._seen = 0
        self._kind = ""
        self.is_watching = True

    @property
    def complaint(self) -> str:
        """What is wrong with the request, once the first answers have told, else nothing."""
        return f"the first {_FIRST} answers all {self._kind}" if self._is_enough else ""

    @property
    def _is_enough(self) -> bool:
        return self._seen >= _FIRST

    def see(self, judgement: Judgement) -> None:
        """Take note of one answer."""
        if not self.is_watching or self._is_enough:
            return
        kind = self._kind_of(judgement)
        self.is_watching = kind is not None and kind == (self._kind or kind)
        self._kind = kind or ""
        self._seen += self.is_watching

    def _kind_of(self, judgement: Judgement) -> str | None:
        if judgement.is_empty:
            return "have nothing in their data, and are paid for: is it right for such notes?"
        if judgement.code == COLLECTION_FAILED and self._is_deprecated:
            return "say 301, and the endpoint is deprecated"
        return _WRONG if judgement.code in _INVALID else None
