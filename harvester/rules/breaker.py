"""The breaker: tells an unhealthy upstream from unlucky notes."""

from __future__ import annotations

from harvester.model import Verdict

# The contract: 30 different notes in a row all retry; 10 failed probes in a row end the run.
TRIP_AFTER = 30
MOST_PROBES = 10
# The vendor's "Invalid Parameters".
_INVALID_PARAMETERS = 400


class Breaker:
    """Follows the answers of a run in the order they came.

    `is_tripped` while only probes may be sent; `is_spent` when the probes have failed too.
    """

    def __init__(self, trip_after: int = TRIP_AFTER, most_probes: int = MOST_PROBES) -> None:
        self._trip_after = trip_after
        self._most_probes = most_probes
        self._failing: set[int] = set()
        self.is_tripped = False
        self.failed_probes = 0

    @property
    def is_spent(self) -> bool:
        """Whether so many probes failed in a row that the run should stop."""
        return self.failed_probes >= self._most_probes

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
            self.is_tripped = len(self._failing) >= self._trip_after


class FirstAnswers:
    """Watches the first answers of a run: if they are all code 400, the request itself is wrong.

    The contract: the first 20 answers. `is_watching` while all answers were 400 so far.
    """

    def __init__(self, many: int = 20) -> None:
        self._many = many
        self._refused = 0
        self.is_watching = True
        self.is_suspicious = False

    def see(self, code: int | None) -> None:
        """Take note of one answer's business code."""
        if not self.is_watching or self.is_suspicious:
            return
        self.is_watching = code == _INVALID_PARAMETERS
        self._refused += self.is_watching
        self.is_suspicious = self._refused >= self._many
